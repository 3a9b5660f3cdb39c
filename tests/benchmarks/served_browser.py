"""A served bundle with a real browser before it, and a program that speaks to both."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any

import numpy as np

RATE = 16_000
CHUNK = 320  # samples, 20 ms
PROBE = Path(__file__).parent / "browser_probe.mjs"
PATIENCE = 120.0  # seconds
Frames = np.ndarray
"""Rows of what was shown: milliseconds since 1970, levels the mouth differs by from rest,
seconds that the picture is ahead of the sound, loudness, its place in the video in seconds,
and how far the page has laid the face at rest over it, 0 to 1."""


KEEP_PEERS = """
window.peers = [];
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...given) {
    super(...given);
    window.peers.push(this);
  }
};
"""


def write_pcm(voice: np.ndarray) -> bytes:
    """Samples in [-1, 1] as signed 16-bit little-endian PCM."""
    return np.clip(np.round(voice * 32767), -32768, 32767).astype("<i2").tobytes()


class ServerProcess:
    """``echoexport serve`` in a process of its own."""

    def __init__(self, words: list[str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.words = words
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Seconds until it said that it is ready."""
        command = [sys.executable, "-c", "from echoexport.export.cli import main; main()"]
        command += ["serve", *self.words, "--port", str(self.port)]
        begun = time.monotonic()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(b"ready"):
                return time.monotonic() - begun
        raise SystemExit(f"the server ended with code {self.process.wait()}")

    def kill(self) -> None:
        """As a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """As a service manager would."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)

    def count(self) -> dict[str, int]:
        """Bytes of resident memory, open files and threads."""
        assert self.process is not None
        folder = Path("/proc") / str(self.process.pid)
        pages = int((folder / "statm").read_text().split()[1])
        return {
            "rss": pages * os.sysconf("SC_PAGE_SIZE"),
            "files": len(list((folder / "fd").iterdir())),
            "threads": len(list((folder / "task").iterdir())),
        }

    def read_figures(self) -> dict[str, float]:
        """What ``/metrics`` says, by name with labels."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in lines)
            if not name.startswith("#")
        }

    def connect(self, query: str = "") -> Any:
        """A WebSocket to it."""
        from websockets.sync.client import connect

        address = f"ws://127.0.0.1:{self.port}/v1/realtime{query}"
        return connect(address, open_timeout=PATIENCE, proxy=None, max_size=None)


class Speaker:
    """A program that speaks to the session of a page."""

    def __init__(self, server: ServerProcess) -> None:
        with urllib.request.urlopen(f"{server.url}/v1/sessions", timeout=10) as answer:
            sessions = json.load(answer)["data"]
        if len(sessions) != 1:
            raise SystemExit(f"{len(sessions)} sessions where the page's alone was expected")
        self.socket = server.connect(f"?session={sessions[0]['id']}&video=0")
        self.told = SimpleQueue[dict[str, Any]]()
        threading.Thread(target=self._hear, daemon=True).start()
        self.tell("session.update", session={"audio": {"input": {"format": {"rate": RATE}}}})
        self.wait_for("session.updated")

    def tell(self, kind: str, **more: Any) -> None:
        """An event."""
        self.socket.send(json.dumps({"type": kind, **more}))

    def _hear(self) -> None:
        for message in self.socket:
            self.told.put(json.loads(message))

    def forget(self) -> None:
        """What was told so far is of no more interest."""
        while not self.told.empty():
            self.told.get()

    def wait_for(self, kind: str) -> dict[str, Any]:
        """The next event of a kind."""
        while True:
            event = self.told.get(timeout=PATIENCE)
            if event["type"] == "error":
                raise SystemExit(event["error"]["message"])
            if event["type"] == kind:
                return dict(event)

    def say(self, voice: np.ndarray, *, until: float = float("inf")) -> float:
        """Sound at its own pace in chunks of 20 ms; the moment of the first, of ``time.time``."""
        pcm = write_pcm(voice)
        begun, moment = time.monotonic(), time.time()
        for start in range(0, len(pcm) // 2, CHUNK):
            time.sleep(max(0.0, begun + (start + CHUNK) / RATE - time.monotonic()))
            if time.monotonic() - begun > until:
                return moment
            self.socket.send(pcm[2 * start : 2 * (start + CHUNK)])
        self.tell("input_audio_buffer.commit")
        return moment

    def close(self) -> None:
        """Leave."""
        self.socket.close()


class Browser:
    """A headless Chromium with the page open and each shown frame noted."""

    def __init__(self, url: str, *, query: str = "", side: int = 512) -> None:
        from playwright.sync_api import sync_playwright

        program = shutil.which("chromium") or shutil.which("google-chrome")
        if program is None:
            raise SystemExit("a Chromium is needed: Debian's package is chromium")
        self._play = sync_playwright().start()
        options = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        self._browser = self._play.chromium.launch(executable_path=program, args=options)
        self.page = self._browser.new_page(viewport={"width": side, "height": side})
        self.version = self._browser.version
        self.page.add_init_script(KEEP_PEERS)
        self.page.goto(url + query)
        self.wait_for("!face.paused && face.currentTime > 1")
        self.page.evaluate(PROBE.read_text(encoding="utf-8"))

    def wait_for(self, expression: str, *, patience: float = PATIENCE) -> None:
        """Until it is true of the page."""
        until = time.monotonic() + patience
        while not self.page.evaluate(expression):
            if time.monotonic() > until:
                raise SystemExit(f"the page did not come to: {expression}")
            self.page.wait_for_timeout(20)

    def rest(self) -> None:
        """Take the picture as it is now for the mouth at rest, and forget what was shown."""
        self.page.evaluate("probe.begin()")

    def take(self) -> Frames:
        """What was shown since."""
        return np.array(self.page.evaluate("probe.take()"), np.float64).reshape(-1, 6)

    def take_offsets(self) -> list[list[float]]:
        """By WebRTC: milliseconds since 1970, and by which the picture is ahead now; else []."""
        return [list(pair) for pair in self.page.evaluate("probe.compareTracks()")]

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._browser.close()
        self._play.stop()
