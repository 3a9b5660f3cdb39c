"""Who sends a head or a body too slowly, or reads too slowly, is cut; who does not is served."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.served import TOKEN, Served

from echoexport.runtime.serve.limits import patience

BEGIN = b"POST /v1/portraits HTTP/1.1\r\nhost: localhost\r\n"


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the tests need not wait as long as strangers may."""
    for name in ("HEAD_SECONDS", "BODY_SECONDS", "READER_SECONDS"):
        monkeypatch.setattr(patience, name, 1.0)


def connect(served: Served) -> socket.socket:
    host, port = served.url.partition("://")[2].split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def wait_for_end(wire: socket.socket) -> tuple[bytes, float]:
    """What comes until the server hangs up, and after how many seconds."""
    begun = time.monotonic()
    found = b""
    try:
        while part := wire.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found, time.monotonic() - begun


def dribble(wire: socket.socket, content: bytes, *, every: float) -> float:
    """Seconds until the server wants no more of what comes byte by byte."""
    begun = time.monotonic()
    for byte in content:
        try:
            wire.sendall(bytes([byte]))
        except OSError:
            break
        time.sleep(every)
    return time.monotonic() - begun


@pytest.mark.parametrize("sent", [b"", b"GE", BEGIN])
def test_a_head_that_does_not_end_is_not_waited_for(served: Served, sent: bytes) -> None:
    with connect(served) as wire:
        wire.sendall(sent)
        answer, seconds = wait_for_end(wire)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"did not come in time" in answer
    assert 0.5 < seconds < 4


def test_a_head_that_comes_byte_by_byte_is_not_waited_for(served: Served) -> None:
    with connect(served) as wire:
        assert dribble(wire, BEGIN + b"x: " + b"y" * 200, every=0.05) < 5


def test_a_second_head_is_waited_for_no_longer_than_the_first(served: Served) -> None:
    with connect(served) as wire:
        wire.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nGET /hea")
        answer, seconds = wait_for_end(wire)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert seconds < 4


@pytest.mark.parametrize("body", [b"", b"a" * 9])
def test_a_body_that_stops_is_not_waited_for(served: Served, body: bytes) -> None:
    with connect(served) as wire:
        wire.sendall(BEGIN + b"content-length: 100000\r\n\r\n" + body)
        answer, seconds = wait_for_end(wire)
    assert answer == b""
    assert seconds < 4


def test_a_body_that_comes_byte_by_byte_is_not_waited_for(served: Served) -> None:
    with connect(served) as wire:
        wire.sendall(BEGIN + b"content-length: 100000\r\n\r\n")
        assert dribble(wire, b"a" * 200, every=0.05) < 6


def test_a_body_that_is_slow_but_comes_is_taken(served: Served, portrait_file: Path) -> None:
    content = portrait_file.read_bytes() + b"\0" * 30_000
    with connect(served) as wire:
        wire.sendall(BEGIN + b"content-length: %d\r\nconnection: close\r\n\r\n" % len(content))
        for start in range(0, len(content), 4_000):
            wire.sendall(content[start : start + 4_000])
            time.sleep(0.3)
        answer, _ = wait_for_end(wire)
    assert answer.startswith(b"HTTP/1.1 201 ")


def test_who_reads_nothing_is_cut(served: Served) -> None:
    asked = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with connect(served) as wire:
        wire.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:  # until neither side takes any more
                wire.sendall(asked * 100)
        time.sleep(3)
        with pytest.raises(ConnectionError):
            while True:
                wire.sendall(asked)
                time.sleep(0.05)


def test_a_live_stream_is_longer_than_any_of_these(served: Served) -> None:
    session = served.request("POST", "/v1/sessions").json()["id"]
    with connect(served) as wire:
        address = f"GET /v1/sessions/{session}/stream.mp4 HTTP/1.1\r\nhost: localhost\r\n\r\n"
        wire.sendall(address.encode())
        until = time.monotonic() + 4
        while time.monotonic() < until:
            assert wire.recv(65536)


def test_a_hundred_slow_strangers_leave_room(served: Served) -> None:
    slow = [connect(served) for _ in range(250)]
    for wire in slow:
        wire.sendall(b"GET / HT")
    time.sleep(3)
    assert served.request("GET", "/healthz").status_code == 200
    for wire in slow:
        wire.close()


def test_with_tls_it_is_the_same(serve: Callable[..., Served], tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost")
    out = ("-keyout", str(key), "-out", str(certificate))
    try:
        subprocess.run(["openssl", *made, *out], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("nothing here makes a certificate")
    served = serve(certificate=certificate, key=key, tokens=(TOKEN,))
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    with connect(served) as plain, context.wrap_socket(plain) as wire:
        wire.sendall(BEGIN)
        answer, seconds = wait_for_end(wire)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert seconds < 4
