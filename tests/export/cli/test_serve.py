"""``echoexport serve``: ready when it says so, one line for what cannot be, a clean end."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixtures.served import open_socket

PACKAGES = ("starlette", "uvicorn", "websockets", "prometheus_client", "httpx")


@pytest.fixture(autouse=True)
def _extra() -> None:
    for package in PACKAGES:
        pytest.importorskip(package)


@pytest.fixture
def serve(
    command: Callable[..., Any], null_bundle: Path, portrait_file: Path
) -> Callable[..., Any]:
    """A function that runs the command on the null bundle."""
    return lambda *options: command("serve", null_bundle, "-p", portrait_file, *options)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_and_tells_its_sessions(
    start_command: Callable[..., Any], null_bundle: Path, portrait_file: Path, number: int
) -> None:
    running = start_command(
        "serve",
        null_bundle,
        *("-p", portrait_file, "--port", "0"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        ready = running.stdout.readline().decode()
        found = re.match(r"ready: (http://127\.0\.0\.1:\d+/)", ready)
        assert found is not None, (ready, running.stderr.read() if not ready else "")
        address = found[1].replace("http", "ws", 1) + "v1/realtime?video=0"
        with open_socket(address, open_timeout=30) as socket:
            assert "session.created" in str(socket.recv(timeout=30))
            running.send_signal(number)
            said = [str(message) for message in socket]
        assert "the server stops" in said[-1]
        _, log = running.communicate(timeout=30)
    finally:
        running.kill()
    assert running.returncode == 0, log
    assert b"Traceback" not in log
    assert b"failed" not in log


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--host", "0.0.0.0"), "--token-file"),
        (("--sessions", "0"), "neither a number from 1 to 256 nor auto"),
        (("--sessions", "many"), "neither a number from 1 to 256 nor auto"),
        (("--tls-cert", "a.pem"), "go together"),
        (("--token-file", "missing"), "missing"),
        (("--port", "65536"), "65536"),
        (("-p", "nobody.png"), "nobody.png"),
        (("--tts", "no-such-program --loud"), "no-such-program"),
        (("--tts", "cat"), "no WAV"),
        (("--tts", "espeak-ng 'never ends"), "No closing quotation"),
    ],
)
def test_what_cannot_be_served_is_one_line(
    serve: Callable[..., Any], options: tuple[str, ...], words: str
) -> None:
    outcome = serve(*options)
    assert outcome.code == 1
    assert words in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_port_that_is_taken_is_told(serve: Callable[..., Any]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = serve("--port", port)
    assert outcome.code == 1
    assert f"port {port}" in outcome.err
    assert "--port" in outcome.err


def test_a_certificate_that_is_none_is_told(serve: Callable[..., Any], tmp_path: Path) -> None:
    words = tmp_path / "words.pem"
    words.write_text("no certificate")
    outcome = serve("--port", "0", "--tls-cert", words, "--tls-key", words)
    assert outcome.code == 1
    assert "words.pem" in outcome.err


def test_a_bundle_without_a_face_is_refused(command: Callable[..., Any], null_bundle: Path) -> None:
    outcome = command("serve", null_bundle)
    assert outcome.code == 1
    assert "--portrait" in outcome.err
