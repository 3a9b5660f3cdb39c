"""Nothing leaves the machine, and nothing is written but outputs and caches, by any command."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fixtures.served import open_socket, take_event

# Imported by Python itself before anything else: what it sees of connections and forks
# goes to a file, and so does what its children see.
GUARD = """
import os, sys

def watch(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], (str, bytes)):
        return  # a socket of this machine, by path
    if event in ("socket.connect", "socket.getaddrinfo", "os.fork"):
        with open(os.environ["SEEN"], "a") as file:
            file.write(f"{event} {arguments!r}\\n")

sys.addaudithook(watch)
"""

PROGRAM = "import sys; from echoexport.export.cli import main; main(sys.argv[1:])"
ENGINES = ("openvino", "ort")
PACKAGES = {"openvino": "openvino", "ort": "onnxruntime"}
FACE = ("--face-box", "10,10,90,90")


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[object]]]:
    """The address of a proxy, and who came to it."""
    came: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, address = server.accept()
                except OSError:
                    return
                came.append(address)
                connection.close()

        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", came
        server.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class Watched:
    """Runs commands, and fails where one connects, forks or writes elsewhere."""

    folder: Path
    environment: dict[str, str]
    came: list[object]

    def __call__(
        self, *arguments: object, writes: set[str] | None = None, reaches: int | None = None
    ) -> None:
        """``writes`` are what may lie in its folder, ``reaches`` a port that it is sent to."""
        with self.start(*arguments) as running:
            _, said = running.communicate(timeout=550)
        assert running.returncode == 0, said
        self.check(writes, reaches)

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)],
            env=self.environment,
            cwd=self.folder / "here",
            text=True,
            **pipes,
        )

    def check(self, writes: set[str] | None = None, reaches: int | None = None) -> None:
        home = self.folder / "home"
        seen = self.folder / "seen"
        lines = seen.read_text().splitlines() if seen.exists() else []
        known = f"('127.0.0.1', {reaches}))"
        lines = [
            line
            for line in lines
            if not (line.startswith("socket.connect") and line.endswith(known))
        ]
        assert (self.came, lines) == ([], [])
        written = {path.relative_to(home).as_posix() for path in files_in(home)}
        assert {name for name in written if not name.startswith(".cache/echoexport/")} == set()
        assert {path.name for path in (self.folder / "here").iterdir()} == (writes or set())
        assert list((self.folder / "temporary").iterdir()) == []


@pytest.fixture
def watched(proxy: tuple[str, list[object]], tmp_path: Path) -> Watched:
    address, came = proxy
    places = {name: tmp_path / name for name in ("guard", "home", "temporary", "here")}
    for place in places.values():
        place.mkdir()
    (places["guard"] / "sitecustomize.py").write_text(GUARD)
    unwanted = ("ECHOEXPORT_CACHE", "XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY", "CI", "no_proxy")
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    ways = os.pathsep.join([str(places["guard"]), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment |= {"HOME": str(places["home"]), "TMPDIR": str(places["temporary"])}
    environment |= {"PYTHONPATH": ways, "SEEN": str(tmp_path / "seen")}
    environment |= {f"{scheme}_proxy": address for scheme in ("http", "https", "all")}
    return Watched(tmp_path, environment, came)


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()]


def test_a_connection_and_a_file_elsewhere_would_be_seen(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    calling = "import os, urllib.request as u\ntry: u.urlopen('http://example.invalid/')\n"
    monkeypatch.setitem(globals(), "PROGRAM", f"{calling}except OSError: pass\n")
    with pytest.raises(AssertionError, match="127"):
        watched()
    writing = "from pathlib import Path; (Path.home() / 'number').touch()"
    monkeypatch.setitem(globals(), "PROGRAM", writing)
    with pytest.raises(AssertionError):
        watched()


@pytest.mark.parametrize(
    "arguments", [("doctor",), ("targets",), ("cache", "list"), ("--help",)], ids=" ".join
)
def test_nothing_is_sent_by_what_only_looks(watched: Watched, arguments: tuple[str, ...]) -> None:
    watched(*arguments)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ENGINES)
def test_nothing_is_sent_by_what_uses_a_bundle(
    watched: Watched,
    build_tiny: Callable[..., Path],
    portrait_file: Path,
    voice_file: Path,
    backend: str,
) -> None:
    pytest.importorskip(PACKAGES[backend])
    bundle = build_tiny("acc")
    clip = ("-p", portrait_file, *FACE, "--steps", 1, "--backend", backend)
    watched("inspect", bundle)
    watched("verify", bundle, "--backend", backend)
    watched("run", bundle, *clip, "-v", voice_file, "--frames", 2, "-o", "a.mp4", writes={"a.mp4"})
    watched("compile", bundle, "--backend", backend, "-o", "c", writes={"a.mp4", "c"})
    effort = ("--duration", 0.1, "--warmup", 0, "--repeats", 1)
    given = ("--portrait", portrait_file, *FACE, "--audio", voice_file, "--steps", 1)
    watched(
        "profile",
        bundle,
        *given,
        *effort,
        "--backend",
        backend,
        "-o",
        "p",
        writes={"a.mp4", "c", "p"},
    )
    watched(
        *("compare", bundle, bundle, "--backend", backend, "--seconds", 0.5, "--steps", 1),
        *("-p", portrait_file, *FACE, "-v", voice_file, "--json", "q.json"),
        writes={"a.mp4", "c", "p", "q.json"},
    )


@pytest.mark.slow
def test_nothing_is_sent_by_what_builds(watched: Watched) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("openvino")
    watched("build", "--target", "cpu-openvino", "--check", "none", "-o", "b", writes={"b"})
    record = ("--steps", 1, "--samples", 1)
    watched("calibrate", "b", *record, "-o", "s", writes={"b", "s"})
    watched("demo", "-o", "d.mp4", writes={"b", "s", "d.mp4"})


def test_nothing_is_sent_by_what_is_live(
    watched: Watched, null_bundle: Path, portrait_file: Path, voice_file: Path
) -> None:
    given = ("-p", portrait_file, "-v", voice_file)
    watched("live", null_bundle, *given, "-o", "l.mp4", writes={"l.mp4"})
    effort = ("--duration", 1, "--warmup", 0, "--repeats", 1)
    watched("profile", null_bundle, *given, *effort, "--live", "-o", "p", writes={"l.mp4", "p"})


def test_nothing_is_sent_by_a_server_nor_by_a_crowd_but_to_each_other(
    watched: Watched, null_bundle: Path, portrait_file: Path, voice_file: Path
) -> None:
    httpx = pytest.importorskip("httpx")
    for package in ("starlette", "uvicorn", "websockets", "prometheus_client"):
        pytest.importorskip(package)
    words = ("-p", portrait_file, "--port", 0, "--inference")
    with watched.start("serve", null_bundle, *words) as running:
        try:
            url = running.stdout.readline().split()[1]
            with open_socket(f"{url.replace('http', 'ws', 1)}v1/realtime") as socket:
                take_event(socket, "session.created")
                socket.send(b"\x00\x20\x00\xe0" * 2400)
                socket.send('{"type": "input_audio_buffer.commit"}')
                take_event(socket, "output_video.first_frame")
                socket.send('{"type": "response.cancel"}')
                take_event(socket, "response.cancelled")
            with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
                sent = client.post("v1/videos", content=voice_file.read_bytes()).json()
                until = time.monotonic() + 60
                while (job := client.get(f"v1/videos/{sent['id']}").json())["progress"] < 100:
                    assert job["status"] != "failed" and time.monotonic() < until, job
                    time.sleep(0.1)
                assert client.get(f"v1/videos/{sent['id']}/video.mp4").content[4:8] == b"ftyp"
                assert client.get("v2").status_code == client.get("metrics").status_code == 200
            port = int(url.rstrip("/").rpartition(":")[2])
            crowd = ("load", url, "--duration", 2, "-v", voice_file)
            with watched.start(*crowd) as loading:
                assert loading.communicate(timeout=60)[1].count("ended early") == 0
            assert loading.returncode == 0
        finally:
            running.terminate()
            _, log = running.communicate(timeout=60)
    assert running.returncode == 0, log
    watched.check(reaches=port)
