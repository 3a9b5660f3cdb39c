"""Commands killed at any moment: what has its final name is whole, and the rest is cleared.

A few moments in every run of the tests; ``make kills`` tries forty.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

KILLS = int(os.environ.get("ECHOEXPORT_KILLS", "1"))
"""Of each command."""
SEED = int(os.environ.get("ECHOEXPORT_KILLS_SEED", "0"))
SIGNALS = ("SIGKILL", "SIGKILL", "SIGHUP", "SIGTERM", "SIGINT", "SIGQUIT")
KEPT = ".set.part"
"""An interrupted recording goes on from there."""

Start = Callable[..., "subprocess.Popen[bytes]"]


@dataclass(frozen=True)
class Work:
    """A command in a folder of its own."""

    words: tuple[object, ...]
    """With the output last."""
    check: Callable[[Path], None]
    """Fails where what has the final name is not whole."""

    @property
    def output(self) -> Path:
        """What has the final name."""
        return Path(str(self.words[-1]))


def check_bundle(folder: Path) -> None:
    from echoexport.runtime.bundle.files import check_files
    from echoexport.runtime.contract.manifest import read_manifest

    assert len(list(check_files(folder, read_manifest(folder)))) > 6


def check_video(file: Path) -> None:
    import av

    with av.open(str(file)) as video:
        assert sum(1 for _ in video.decode(video=0)) == 6


def check_set(folder: Path) -> None:
    from echoexport.calibration.recording.sets import open_set

    found = open_set(folder)
    for network in found.manifest.counts:
        assert len(list(found.samples(network))) == found.count(network)


@pytest.fixture
def works(
    build_tiny: Callable[..., Path],
    tiny_checkpoint: Path,
    trace_folder: Path,
    tmp_path: Path,
    portrait_file: Path,
    make_voice: Callable[..., Path],
) -> dict[str, Work]:
    """The four commands that write what takes time."""
    pytest.importorskip("onnxruntime")
    bundle = build_tiny("acc")
    voice = make_voice()
    here = tmp_path / "here"
    here.mkdir()
    size = ("--size", "128x128", "--frames", 12, "--target", "cpu", "--check", "none")
    clip = ("-p", portrait_file, "-v", voice, "--frames", 6, "--steps", 1, "--backend", "ort")
    media = ("--portraits", portrait_file, "--voice", voice, "--seconds", 0.5, "--backend", "ort")
    few = ("--steps", 1, "--samples", 2, "-o", here / "set")
    return {
        "build": Work(
            ("build", tiny_checkpoint, *size, "--trace-cache", trace_folder, "-o", here / "b"),
            check_bundle,
        ),
        "run": Work(("run", bundle, *clip, "-o", here / "out.mp4"), check_video),
        "compile": Work(
            ("compile", bundle, "--backend", "ort", "-o", here / "compiled"), check_bundle
        ),
        "calibrate": Work(("calibrate", bundle, *media, *few), check_set),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["build", "run", "compile", "calibrate"])
def test_a_kill_at_any_moment_leaves_the_old_or_the_new_and_the_next_start_clears(
    works: dict[str, Work],
    start_command: Start,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    work = works[name]
    draw = random.Random(f"{SEED} {name}")
    honest = finish(start_command(*work.words), 1e9, signal.SIGKILL)
    work.check(work.output)
    for number in range(KILLS):
        ending = signal.Signals[draw.choice(SIGNALS)]
        share = draw.random()
        dirty = list_hidden(tmp_path)
        if draw.random() < 0.5 and work.output.exists():  # over an older one, or anew
            work.output.rename(tmp_path / f"older-{number}")
        finish(start_command(*work.words), share * honest, ending)
        told = (number, ending, share)
        if work.output.exists():
            work.check(work.output)
        if ending != signal.SIGKILL:
            assert list_hidden(tmp_path, but=KEPT) - dirty == set(), told
    process = start_command(*work.words)
    assert process.communicate(timeout=500)[1] is not None
    assert process.returncode == 0
    work.check(work.output)
    assert list_hidden(tmp_path) == set()
    assert list(temporary.iterdir()) == []


def finish(process: subprocess.Popen[bytes], seconds: float, ending: signal.Signals) -> float:
    """Let a command use so many seconds of processor, then end it; how many it used."""
    used = 0.0
    while process.poll() is None and used < seconds:
        used = max(used, measure_processor(process.pid))
        time.sleep(0.005)
    if process.poll() is None:
        process.send_signal(ending)
    error = process.communicate(timeout=300)[1].decode()
    assert "Traceback" not in error, error
    wanted = {0, -ending, 128 + ending} if ending != signal.SIGKILL else {0, -ending}
    assert process.returncode in wanted, (process.returncode, error)
    return used


def measure_processor(pid: int) -> float:
    """Seconds of a process, all its threads; 0 of one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def list_hidden(folder: Path, *, but: str = "") -> set[str]:
    """Hidden files and folders wherever they are, but for one and what is in it."""

    def look() -> Iterator[str]:
        for path in folder.rglob(".*"):
            if but not in path.relative_to(folder).parts:
                yield path.relative_to(folder).as_posix()

    return set(look())
