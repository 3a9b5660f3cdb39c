"""Files and folders written whole or not at all; what cannot become a file is refused."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from echoexport.runtime.errors import OutputError
from echoexport.runtime.files import aside as aside_module
from echoexport.runtime.files.aside import (
    check_output,
    mend_place,
    refuse_briefly,
    refuse_output,
    replaced_file,
    replaced_folder,
    require_writable,
    take_place,
    write_whole,
)
from echoexport.runtime.files.staging import lock_path


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("old")
    write_whole(tmp_path / "report.json", "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [
        ("report.json", "new")
    ]


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OutputError, match="pipe: is no plain file"):
        write_whole(pipe, "text")
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    "name", ["/dev/null", "/dev/stdout", "/dev/../dev/null", "/proc/self/fd/1"]
)
def test_devices_are_refused(name: str) -> None:
    with pytest.raises(OutputError, match="is no plain file"):
        require_writable(Path(name))


def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(OutputError, match="is no plain file"):
        write_whole(tmp_path / "link", "text")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("before", [None, "old"])
def test_a_file_takes_its_place_after_a_clean_block_and_not_before(
    tmp_path: Path, before: str | None
) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_text(before)
    with replaced_file(path) as aside:
        aside.write_text("new")
        assert (path.read_text() if path.exists() else None) == before
        assert (aside.parent, aside.name[:6]) == (tmp_path, ".file.")
    assert (path.read_text(), names_in(tmp_path)) == ("new", ["file"])


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_what_ends_a_file_early_leaves_the_old_one_alone(
    tmp_path: Path, error: type[BaseException]
) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(error), replaced_file(tmp_path / "file") as aside:
        aside.write_text("half")
        raise error
    assert ((tmp_path / "file").read_text(), names_in(tmp_path)) == ("old", ["file"])


def test_a_failure_to_write_a_file_is_told_in_the_words_that_are_asked_for(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "file"
    with pytest.raises(FileNotFoundError), replaced_file(missing) as aside:
        aside.write_text("new")
    with (
        pytest.raises(OutputError, match=r"missing/file: cannot be written: No such file"),
        replaced_file(missing, refuse=refuse_briefly) as aside,
    ):
        aside.write_text("new")
    with (
        pytest.raises(OutputError, match=r"missing/file: its folder does not exist; make it first"),
        replaced_file(missing, refuse=refuse_output) as aside,
    ):
        aside.write_text("new")
    assert names_in(tmp_path) == []


def test_the_folders_above_a_file_are_made_where_that_is_asked_for(tmp_path: Path) -> None:
    with replaced_file(tmp_path / "a" / "b" / "file", parents=True) as aside:
        aside.write_text("new")
    assert (tmp_path / "a" / "b" / "file").read_text() == "new"


def test_a_file_may_be_written_elsewhere_on_its_disk(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    elsewhere = tmp_path / ".elsewhere"
    with replaced_file(tmp_path / "bundle" / "file", aside=elsewhere) as aside:
        aside.write_text("new")
        assert (aside, names_in(tmp_path / "bundle")) == (elsewhere, [])
    assert names_in(tmp_path) == ["bundle"]
    with pytest.raises(ValueError), replaced_file(tmp_path / "file", aside=elsewhere):
        elsewhere.write_text("half")
        raise ValueError
    assert names_in(tmp_path) == ["bundle"]


def test_a_link_to_a_file_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other")
    (tmp_path / "file").symlink_to("other")
    with replaced_file(tmp_path / "file") as aside:
        aside.write_text("new")
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "other").read_text() == "other"


@pytest.mark.parametrize("before", [None, "old"])
def test_a_folder_takes_its_place_after_a_clean_block_and_not_before(
    tmp_path: Path, before: str | None
) -> None:
    folder = tmp_path / "deep" / "folder"
    if before is not None:
        folder.mkdir(parents=True)
        (folder / before).touch()
    with replaced_folder(folder) as aside:
        (aside / "new").touch()
        assert (names_in(folder) if folder.exists() else None) == (before and [before])
        assert (aside.parent, aside.name[:13]) == (folder.parent, ".folder.part-")
    assert (names_in(folder), names_in(folder.parent)) == (["new"], ["folder"])


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_what_ends_a_folder_early_leaves_the_old_one_alone(
    tmp_path: Path, error: type[BaseException]
) -> None:
    (tmp_path / "folder" / "old").mkdir(parents=True)
    with pytest.raises(error), replaced_folder(tmp_path / "folder") as aside:
        (aside / "half").touch()
        raise error
    assert (names_in(tmp_path / "folder"), names_in(tmp_path)) == (["old"], ["folder"])


def test_a_replaced_folder_is_kept_in_place_of_the_one_kept_before(tmp_path: Path) -> None:
    for name in ("first", "second", "third"):
        with replaced_folder(tmp_path / "folder", keep=tmp_path / "kept") as aside:
            (aside / name).touch()
    assert names_in(tmp_path / "folder") == ["third"]
    assert names_in(tmp_path / "kept") == ["second"]
    assert names_in(tmp_path) == ["folder", "kept"]


def test_two_folders_change_places(tmp_path: Path) -> None:
    for name in ("folder", "kept"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"was-{name}").touch()
    take_place(tmp_path / "kept", tmp_path / "folder", keep=tmp_path / "kept")
    assert names_in(tmp_path / "folder") == ["was-kept"]
    assert names_in(tmp_path / "kept") == ["was-folder"]
    assert names_in(tmp_path) == ["folder", "kept"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupt_between_the_two_renames_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    (tmp_path / "folder" / "old").mkdir(parents=True)
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if ".part-" in self.name:
            raise error
        return rename(self, target)

    monkeypatch.setattr(aside_module, "exchange_names", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(error), replaced_folder(tmp_path / "folder"):
        pass
    assert (names_in(tmp_path / "folder"), names_in(tmp_path)) == (["old"], ["folder"])


def write_in_turns(path: Path, text: str, *, folder: bool) -> None:
    for _ in range(50):
        if folder:
            try:
                with replaced_folder(path) as aside:
                    for name in ("a", "b"):
                        (aside / name).write_text(text)
            except OSError:
                continue  # the other one's folder came into the gap: this one is given up whole
        else:
            with replaced_file(path) as aside:
                aside.write_text(text * 1000)


@pytest.mark.parametrize("folder", [False, True])
def test_of_two_processes_at_once_one_is_there_whole(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "place"
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=write_in_turns, args=(path, text), kwargs={"folder": folder})
        for text in "xy"
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    if folder:
        assert {file.read_text() for file in path.iterdir()} in ({"x"}, {"y"})
        assert names_in(path) == ["a", "b"]
    else:
        assert path.read_text() in ("x" * 1000, "y" * 1000)
    assert [name for name in names_in(tmp_path) if "part" in name] == []


def test_only_what_is_ours_alone_may_be_replaced(tmp_path: Path) -> None:
    def own_files(folder: Path) -> set[str] | None:
        return {"mark", "part/file"} if (folder / "mark").exists() else None

    output = tmp_path / "output"
    check_output(output, own_files, what="thing")
    output.mkdir()
    check_output(output, own_files, what="thing")
    (output / "part").mkdir()
    (output / "part" / "file").touch()
    with pytest.raises(OutputError, match="other things in it; name a new folder or an old thing"):
        check_output(output, own_files, what="thing")
    (output / "mark").touch()
    check_output(output, own_files, what="thing")
    (output / "part" / "notes").symlink_to("nowhere")
    with pytest.raises(OutputError, match="output/part/notes: not a part of the old thing"):
        check_output(output, own_files, what="thing")
    with pytest.raises(OutputError, match="mark: is a file; name a folder"):
        check_output(output / "mark", own_files, what="thing")


@pytest.mark.parametrize("at_once", [True, False])
def test_a_folder_is_never_missing_while_another_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    if not at_once:
        monkeypatch.setattr(aside_module, "exchange_names", lambda one, other: False)
    for keep in (None, tmp_path / "kept"):
        for name in ("one", "two", "three"):
            with replaced_folder(tmp_path / "folder", keep=keep) as aside:
                (aside / name).touch()
            assert names_in(tmp_path / "folder") == [name]
    assert names_in(tmp_path / "kept") == ["two"]
    take_place(tmp_path / "kept", tmp_path / "folder", keep=tmp_path / "kept")
    assert (names_in(tmp_path / "folder"), names_in(tmp_path / "kept")) == (["two"], ["three"])
    assert names_in(tmp_path) == ["folder", "kept"]


# A process that dies, as a kill would have it, at one of the renames it comes to.
DYING = """
import os, sys
from pathlib import Path
from echoexport.runtime.files import aside

rename = Path.rename
left = [int(sys.argv[2])]

def dying(self, target):
    if not left[0]:
        os._exit(9)
    left[0] -= 1
    return rename(self, target)

Path.rename = dying
aside.exchange_names = lambda one, other: False
folder, kept = Path(sys.argv[1]) / "folder", Path(sys.argv[1]) / "kept"
aside.take_place(kept, folder, keep=kept)
"""


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_what_a_kill_between_two_renames_left_is_mended_and_nothing_is_lost(
    tmp_path: Path, renames: int
) -> None:
    for name in ("folder", "kept"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"was-{name}").touch()
    line = [sys.executable, "-c", DYING, str(tmp_path), str(renames)]
    assert subprocess.run(line, check=False, timeout=99).returncode == 9
    mend_place(tmp_path / "folder", keep=tmp_path / "kept")
    assert names_in(tmp_path) == ["folder", "kept"]
    both = names_in(tmp_path / "folder") + names_in(tmp_path / "kept")
    assert both == (["was-kept", "was-folder"] if renames == 2 else ["was-folder", "was-kept"])


def test_what_a_living_process_moved_away_is_not_mended(tmp_path: Path) -> None:
    old = tmp_path / ".folder.old-echoexport-0123456789ab"
    old.mkdir()
    held = lock_path(old)
    mend_place(tmp_path / "folder")
    assert names_in(tmp_path) == [old.name]
    assert held is not None
    os.close(held)
    mend_place(tmp_path / "folder")
    assert names_in(tmp_path) == ["folder"]
