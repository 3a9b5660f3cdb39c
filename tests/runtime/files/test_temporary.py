"""Temporary folders: gone afterwards, private, and named where they fail."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest

from echoexport.runtime.errors import OutputError
from echoexport.runtime.files.temporary import temporary_folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders lie."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_temporary_folder_is_private_and_gone_at_the_end(place: Path) -> None:
    with temporary_folder("test") as folder:
        assert (folder.parent, folder.stat().st_mode & 0o777) == (place, 0o700)
        (folder / "file").touch()
    assert list(place.iterdir()) == []


def test_a_temporary_place_that_is_no_folder_is_named(place: Path) -> None:
    (place / "file").touch()
    tempfile.tempdir = str(place / "file")
    with (
        pytest.raises(OutputError, match=r"temporary folder .*/file: cannot be used: Not a dir.*;"),
        temporary_folder("test"),
    ):
        pytest.fail("there is no such folder")


def test_where_nothing_can_be_written_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", refuse)
    with (
        pytest.raises(OutputError, match=r"temporary folder: neither .* set TMPDIR to another"),
        temporary_folder("test"),
    ):
        pytest.fail("there is no such folder")


def test_a_full_disk_is_told_as_the_temporary_folders(place: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"temporary folder .*: cannot be used: No space left"),
        temporary_folder("test"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OutputError, match="temporary folder"), temporary_folder("test") as folder:
        (folder / "missing" / "file").write_text("text")


def test_what_fails_elsewhere_stays_what_it_was(place: Path) -> None:
    with pytest.raises(BrokenPipeError), temporary_folder("test"):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
    with pytest.raises(FileNotFoundError, match="elsewhere"), temporary_folder("test"):
        (place / "elsewhere" / "file").write_text("text")
    assert list(place.iterdir()) == []


def test_where_there_is_no_such_place_another_does_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", refuse)
    nowhere = tmp_path / "nowhere"
    with temporary_folder("test", instead=(nowhere, tmp_path)) as folder:
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="neither"), temporary_folder("test", instead=(nowhere,)):
        pytest.fail("there is no such folder")
