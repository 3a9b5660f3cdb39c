"""A thousand connects, and whatever strangers send: one line back, and the server goes on."""

from __future__ import annotations

import contextlib
import gc
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixtures.served import TOKEN, Served, take_event

from echoexport.runtime.errors import SettingError
from echoexport.runtime.live.playing import measure_resident
from echoexport.runtime.serve.log import ServeLog
from echoexport.runtime.serve.server import LiveServer
from echoexport.runtime.serve.settings import ServeSettings


def send_raw(served: Served, content: bytes) -> bytes:
    """What comes back for bytes that need not be HTTP."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as wire:
        found = b""
        with contextlib.suppress(OSError):  # a server may hang up before it has all
            wire.sendall(content)
            wire.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            while part := wire.recv(65536):
                found += part
        return found


def damage_message(drawn: np.random.Generator) -> str | bytes:
    """A message of the protocol that was cut, mixed up or replaced."""
    whole = json.dumps(
        {"type": "session.update", "session": {"audio": {"input": {"format": {"rate": 16000}}}}}
    )
    kind = drawn.integers(4)
    if kind == 0:
        return whole[: drawn.integers(len(whole))]
    if kind == 1:
        letters = list(whole)
        for place in drawn.integers(len(letters), size=3):
            letters[place] = chr(drawn.integers(32, 1000))
        return "".join(letters)
    if kind == 2:
        return drawn.bytes(int(drawn.integers(1, 99)) | 1)
    return json.dumps({"type": "input_audio_buffer.append", "audio": [None, 1, {}][kind % 3]})


def test_damaged_messages_end_nothing(served: Served) -> None:
    drawn = np.random.default_rng(7)
    with served.connect() as wire:
        take_event(wire, "session.created")
        for _ in range(200):
            wire.send(damage_message(drawn))
            wire.recv(timeout=20)
        wire.send(json.dumps({"type": "input_audio_buffer.commit"}))
        take_event(wire, "input_audio_buffer.committed", most=2000)
    assert not any("trace" in line for line in served.log)


@pytest.mark.parametrize(
    "content",
    [
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 200_000 + b"\r\n\r\n",
        b"POST /v1/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999\r\n\r\n",
        b"POST /v1/portraits HTTP/1.1\r\nhost: localhost\r\ncontent-length: 500\r\n\r\n" + b"a" * 9,
        b"GET /v1/realtime HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n"
        b"connection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: no\r\n\r\n",
    ],
)
def test_what_is_no_request_is_answered_shortly(served: Served, content: bytes) -> None:
    answer = send_raw(served, content)
    assert b"Traceback" not in answer
    assert len(answer) < 4000
    assert served.request("GET", "/healthz").status_code == 200


def test_a_thousand_connects_leave_nothing_behind(serve: Callable[..., Served]) -> None:
    served = serve(tokens=(TOKEN,))
    for _ in range(100):
        send_raw(served, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    gc.collect()
    before = measure_resident()
    threads = threading.active_count()
    for _ in range(900):
        send_raw(served, b"GET /v1/realtime HTTP/1.1\r\nhost: a\r\nauthorization: Bearer x\r\n\r\n")
    gc.collect()
    time.sleep(0.2)
    assert measure_resident() - before < 20e6
    assert threading.active_count() <= threads + 1
    assert len(served.table) == 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="nothing here makes a certificate")
def test_with_a_certificate_it_speaks_https_alone(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    certificate = tmp_path / "cert.pem"
    key = tmp_path / "key.pem"
    made = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost")
    subprocess.run(
        ["openssl", *made, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    served = serve(certificate=certificate, key=key, tokens=(TOKEN,))
    assert served.url.startswith("https://")
    page = served.request("GET", f"/?token={TOKEN}", verify=False)
    assert page.status_code == 200
    assert "Secure" in page.headers["set-cookie"]
    host, port = served.url.removeprefix("https://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert not wire.recv(100).startswith(b"HTTP")


def test_an_address_that_is_taken_is_told(serve: Callable[..., Served]) -> None:
    served = serve()
    port = int(served.url.rpartition(":")[2])
    with (
        pytest.raises(SettingError, match=f"port {port}"),
        LiveServer(served.table, ServeSettings(port=port), log=ServeLog()),
    ):
        pass


def test_an_unsafe_address_is_refused_before_anything_listens(served: Served) -> None:
    with pytest.raises(SettingError, match="--token-file"):
        LiveServer(served.table, ServeSettings(host="0.0.0.0"), log=ServeLog())


@pytest.mark.parametrize(
    "path", ["/v1/portraits", "/v1/videos", "/v1/sessions", "/v2/models/vae_decoder/infer"]
)
def test_an_upload_that_is_cut_off_is_one_short_line_of_the_log(
    serve: Callable[..., Served], path: str
) -> None:
    served = serve(inference=True)
    host, port = served.url.removeprefix("http://").split(":")
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 100000\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=5) as wire:
        wire.sendall(head.encode() + bytes(1000))
        until = time.monotonic() + 5
        while served.table.budget.held != 1000:
            assert time.monotonic() < until
            time.sleep(0.01)
    while served.table.budget.held:
        assert time.monotonic() < until
        time.sleep(0.01)
    told = [line for line in served.log if line["event"] not in ("ready",)]
    assert [(line["event"], line["path"], line["bytes"]) for line in told] == [
        ("cut off", path, 1000)
    ]
    if path.startswith("/v2"):
        counted = served.table.figures.write().decode()
        assert 'inference_seconds_count{network="vae_decoder",outcome="left"} 1.0' in counted
