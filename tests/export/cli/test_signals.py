"""Signals that end a command: real ones, to real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ENDING = ("SIGHUP", "SIGQUIT", "SIGXCPU", "SIGTERM", "SIGUSR1", "SIGINT")

# Writes a folder and a file for as long as nobody ends it.
WRITING = """
import sys, time
from pathlib import Path
from echoexport.export.cli.signals import terminated_cleanly
from echoexport.runtime.files.aside import replaced_file, replaced_folder

place = Path(sys.argv[1])
with terminated_cleanly(), replaced_folder(place / "bundle") as folder:
    with replaced_file(place / "out.mp4") as file:
        (folder / "half").write_text("half")
        file.write_text("half")
        print("there", flush=True)
        while True:
            time.sleep(0.05)
"""

# A child that inherited the handlers, as one that a library forks.
FORKING = """
import os, signal, sys, time
from echoexport.export.cli.signals import terminated_cleanly

with terminated_cleanly():
    child = os.fork()
    if not child:
        try:
            for _ in range(999):
                time.sleep(0.05)
        finally:
            print("unwound", flush=True)
    time.sleep(0.5)
    os.kill(child, int(sys.argv[1]))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.parametrize("name", ENDING)
def test_whatever_signal_ends_a_command_nothing_half_written_is_left(
    tmp_path: Path, name: str
) -> None:
    number = getattr(signal, name)
    line = [sys.executable, "-c", WRITING, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        assert len(list(tmp_path.iterdir())) == 2
        process.send_signal(number)
        assert process.wait(timeout=60) == (
            -number if name == "SIGINT" else 128 + number
        )  # Python's own end after an interrupt that nobody caught
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    line = ["nohup", sys.executable, "-c", WRITING, str(tmp_path)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
        process.terminate()
        assert process.wait(timeout=60) == 128 + signal.SIGTERM


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_forked_child_does_not_keep_the_handlers(name: str) -> None:
    number = getattr(signal, name)
    line = [sys.executable, "-c", FORKING, str(int(number))]
    outcome = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    assert outcome.stdout == f"{-number}\n"


def test_what_a_killed_command_left_is_gone_at_the_next_start(
    start_command: Callable[..., subprocess.Popen[bytes]],
    null_bundle: Path,
    portrait_file: Path,
    voice_file: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    given = ("-p", portrait_file, "-v", voice_file, "-o", folder / "out.mp4", "--no-cache")
    dying = start_command("run", null_bundle, *given)
    while not list(folder.iterdir()):
        assert dying.poll() is None
        time.sleep(0.01)
    dying.kill()
    dying.communicate(timeout=60)
    assert [path.name[:9] for path in folder.iterdir()] == [".out.mp4."]
    again = start_command("run", null_bundle, *given, "--frames", 2)
    again.communicate(timeout=99)
    assert (again.returncode, [path.name for path in folder.iterdir()]) == (0, ["out.mp4"])


def test_a_working_folder_that_was_removed_is_named(
    null_bundle: Path,
    portrait_file: Path,
    voice_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The installed command looks for no modules in the working folder, and neither may
    # this one: Python 3.13.0 fails at its first missing attribute where that is gone.
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    gone = tmp_path / "gone"
    gone.mkdir()
    removing = ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh"]
    command = [sys.executable, "-c", "from echoexport.export.cli import main; main()"]
    given = ["run", null_bundle, "-p", portrait_file, "-v", voice_file, "-o", "out.mp4"]
    outcome = subprocess.run(
        [*removing, *command, *given],
        cwd=gone,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (outcome.returncode, outcome.stderr.splitlines()) == (
        1,
        ["echoexport: error: the working folder was removed: change to another one"],
    )
