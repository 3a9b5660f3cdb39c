"""Hidden names: locked while their process lives, cleared once it is dead, never too long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from echoexport.runtime.files.staging import (
    clear_left,
    hide_name,
    name_staging,
    staged_file,
    staged_folder,
)

HOLDING = """
import sys, time
from pathlib import Path
from echoexport.runtime.files import staging

with getattr(staging, sys.argv[1])(Path(sys.argv[2])) as aside:
    (aside / "half" if aside.is_dir() else aside).write_text("half")
    print(aside.name, flush=True)
    time.sleep(99)
"""


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("form", ["staged_file", "staged_folder"])
def test_what_a_process_writes_to_is_cleared_once_it_is_dead_and_not_before(
    tmp_path: Path, form: str
) -> None:
    line = [sys.executable, "-c", HOLDING, form, str(tmp_path / "out.mp4")]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            name = process.stdout.readline().strip()
            clear_left(tmp_path)
            assert names_in(tmp_path) == [name]
        finally:
            process.send_signal(signal.SIGKILL)
    assert names_in(tmp_path) == [name]
    with staged_file(tmp_path / "another"):
        assert len(names_in(tmp_path)) == 1
    assert names_in(tmp_path) == []


def test_what_is_not_of_ours_is_never_cleared(tmp_path: Path) -> None:
    others = [".out.part", ".out.part-0123456789ab", ".out.part-echoexport-1", "out.mp4"]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / name_staging(Path("link")).name).symlink_to(tmp_path / "out.mp4")
    before = names_in(tmp_path)
    clear_left(tmp_path)
    assert names_in(tmp_path) == before


def test_nothing_is_cleared_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    left = name_staging(tmp_path / "out")
    left.touch()

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with staged_folder(tmp_path / "other") as aside:
        assert names_in(tmp_path) == sorted([aside.name, left.name])
    assert names_in(tmp_path) == [left.name]


@pytest.mark.parametrize("name", ["a" * 244, "\u00e9" * 122, "\U0001f600" * 63, "\udcff" * 250])
def test_long_names_have_hidden_ones_that_the_disk_takes_and_tells_apart(
    tmp_path: Path, name: str
) -> None:
    hidden = hide_name(name, ".part-echoexport-0123456789ab")
    assert len(os.fsencode(hidden)) <= 255
    assert hidden != hide_name(name[:-1] + "b", ".part-echoexport-0123456789ab")
    (tmp_path / hidden).touch()
    clear_left(tmp_path)
    assert names_in(tmp_path) == []
