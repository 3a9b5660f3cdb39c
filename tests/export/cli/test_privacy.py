"""Nothing leaves the machine, and nothing is written but outputs and caches, by any command."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

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


@pytest.fixture
def watched(proxy: tuple[str, list[object]], tmp_path: Path) -> Callable[..., None]:
    """A function that runs a command, and fails where it connects, forks or writes elsewhere."""
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

    def run(*arguments: object, writes: set[str] | None = None) -> None:
        outcome = subprocess.run(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)],
            env=environment,
            cwd=places["here"],
            capture_output=True,
            text=True,
            check=False,
            timeout=550,
        )
        assert outcome.returncode == 0, outcome.stderr
        assert (came, (tmp_path / "seen").exists()) == ([], False)
        written = {path.relative_to(places["home"]).as_posix() for path in files_in(places["home"])}
        assert {name for name in written if not name.startswith(".cache/echoexport/")} == set()
        assert {path.name for path in places["here"].iterdir()} == (writes or set())
        assert list(places["temporary"].iterdir()) == []

    return run


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_dir()]


def test_a_connection_and_a_file_elsewhere_would_be_seen(
    watched: Callable[..., None], monkeypatch: pytest.MonkeyPatch
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
def test_nothing_is_sent_by_what_only_looks(
    watched: Callable[..., None], arguments: tuple[str, ...]
) -> None:
    watched(*arguments)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ENGINES)
def test_nothing_is_sent_by_what_uses_a_bundle(
    watched: Callable[..., None],
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
def test_nothing_is_sent_by_what_builds(watched: Callable[..., None]) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("openvino")
    watched("build", "--target", "cpu-openvino", "--check", "none", "-o", "b", writes={"b"})
    record = ("--steps", 1, "--samples", 1)
    watched("calibrate", "b", *record, "-o", "s", writes={"b", "s"})
    watched("demo", "-o", "d.mp4", writes={"b", "s", "d.mp4"})
