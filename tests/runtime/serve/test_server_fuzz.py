"""A thousand seeded strangers: no crash, no traceback for them, flat memory, still serving."""

from __future__ import annotations

import contextlib
import gc
import json
import socket
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from fixtures.served import TOKEN, Served, take_event
from websockets.exceptions import WebSocketException

from echoexport.runtime.live.playing import measure_resident

CONNECTS = 1000
PATHS = (
    "/",
    "/metrics",
    "/healthz",
    "/v1/sessions",
    "/v1/portraits",
    "/v1/videos",
    "/v1/realtime",
    "/v1/sessions/nobody/chunks?rate=1",
    "/v1/videos/nobody/video.mp4",
    "/v1/nothing",
    "/page/..%2f..%2fetc%2fpasswd",
    "/%00%ff",
    "//",
    "/v1/videos?portrait=" + "a" * 3000,
)
VERBS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "NONSENSE", "get")
WORDS = (
    b"{",
    b'{"type": "session.update", "session": 3}',
    b'{"type": "input_audio_buffer.append", "audio": "AAA"}',
    b'{"type": "response.cancel"}',
    b"[" * 5000,
    b'{"type": "' + b"x" * 3000 + b'"}',
    b"\xff\xfe\x00",
    b"null",
)


class Strangers:
    """Draws requests that are nearly right, or not at all."""

    def __init__(self, served: Served, seed: int) -> None:
        self.answers: list[bytes] = []
        self._served = served
        self._drawn = np.random.default_rng(seed)
        host, port = served.url.removeprefix("http://").split(":")
        self._place = (host, int(port))

    def come(self) -> None:
        """One of them."""
        kind = self._drawn.integers(12)
        if kind == 0:
            self._talk()
        elif kind < 3:
            self._send(self._drawn.bytes(int(self._drawn.integers(1, 2000))))
        else:
            self._send(self._draw_request())

    def _draw_request(self) -> bytes:
        verb = VERBS[self._drawn.integers(len(VERBS))]
        path = PATHS[self._drawn.integers(len(PATHS))]
        token = (TOKEN, TOKEN[:-1], "", "\u00fc")[self._drawn.integers(4)]
        body = self._drawn.bytes(int(self._drawn.integers(0, 3000)))
        lines = [f"{verb} {path} HTTP/1.1", "host: localhost", f"authorization: Bearer {token}"]
        told = len(body) + int(self._drawn.choice([0, 0, 1, 100, -1, 10**12]))
        lines += [f"content-length: {told}"] if self._drawn.integers(4) else []
        if not self._drawn.integers(4):
            lines.append("content-type: multipart/form-data; boundary=b")
            body = b"--b\r\ncontent-disposition: form-data; name=voice\r\n\r\n" + body + b"\r\n--b"
        if not self._drawn.integers(6):
            lines.append("x: " + "a" * int(self._drawn.integers(1, 200_000)))
        lines += ["range: bytes=9-1,-,5"] * int(self._drawn.integers(2))
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

    def _send(self, content: bytes) -> None:
        if not self._drawn.integers(8):
            content = content[: self._drawn.integers(len(content) + 1)]
        with socket.create_connection(self._place, timeout=20) as wire:
            found = b""
            with contextlib.suppress(OSError):
                wire.sendall(content)
                wire.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                while part := wire.recv(65536):
                    found += part
            self.answers.append(found)

    def _talk(self) -> None:
        """A WebSocket that says whatever comes to its mind, or joins what is not there."""
        query = ("?session=nobody", "?portrait=nobody", "?video=0")[self._drawn.integers(3)]
        with (
            contextlib.suppress(WebSocketException, OSError),
            self._served.connect(query, token=TOKEN, close_timeout=5) as wire,
        ):
            self.answers.append(str(wire.recv(timeout=20)).encode())
            for _ in range(int(self._drawn.integers(1, 4))):
                said = WORDS[self._drawn.integers(len(WORDS))]
                wire.send(said if self._drawn.integers(2) else said.decode("latin-1"))
                self.answers.append(str(wire.recv(timeout=0.5)).encode())


@pytest.mark.slow
def test_a_thousand_strangers_crash_nothing_and_see_no_traceback(
    serve: Callable[..., Served],
) -> None:
    served = serve(tokens=(TOKEN,), sessions=2)
    strangers = Strangers(served, seed=15)
    for _ in range(CONNECTS // 4):
        strangers.come()
    wait_until_empty(served)
    gc.collect()
    resident, threads = measure_resident(), threading.active_count()
    for _ in range(CONNECTS - CONNECTS // 4):
        strangers.come()
    wait_until_empty(served)
    gc.collect()
    # Resident bytes of the process after a quarter of them and after all, clients included.
    assert measure_resident() - resident < 30e6
    assert threading.active_count() <= threads + 2
    assert served.table.budget.held == 0
    for answer in strangers.answers:
        assert b"Traceback" not in answer
        assert b'File "' not in answer
    assert [line for line in served.log if "trace" in line] == []
    with served.connect(token=TOKEN) as wire:
        wire.send(json.dumps({"type": "input_audio_buffer.commit"}))
        take_event(wire, "input_audio_buffer.committed")


def wait_until_empty(served: Served) -> None:
    """What strangers with the token left open is ended; the rest ends with its connections."""
    for kind in ("sessions", "videos"):
        for one in served.request("GET", f"/v1/{kind}", token=TOKEN).json()["data"]:
            served.request("DELETE", f"/v1/{kind}/{one['id']}", token=TOKEN)
    until = time.monotonic() + 20
    while len(served.table) or served.table.budget.held:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_session_more_is_refused_with_the_reason_and_a_time(serve: Callable[..., Served]) -> None:
    served = serve(sessions=1)
    with served.connect() as holding:
        take_event(holding, "session.created")
        refused = served.request("POST", "/v1/sessions")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
        assert "1 sessions are open" in refused.json()["error"]["message"]
        with served.connect() as other:
            told = take_event(other, "error")["error"]
    assert (told["status"], told["retry_after"]) == (429, 5)
