"""The writer of sets: whole or not at all, alone, gone on with, and replacing sets alone."""

from __future__ import annotations

import errno
import fcntl
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from echoexport.calibration.recording.set_manifest import (
    SetManifest,
)
from echoexport.calibration.recording.set_writer import (
    SetWriter,
    check_set_place,
    recorded_alone,
)
from echoexport.calibration.recording.sets import CalibrationSet, open_set
from echoexport.runtime.errors import OutputError


def test_an_array_that_samples_share_is_stored_once(written: Path) -> None:
    assert len(list((written / "arrays").iterdir())) == 5


def test_nothing_of_the_recording_is_left_beside_the_set(written: Path) -> None:
    assert [path.name for path in written.parent.iterdir()] == ["set"]
    assert sorted(path.name for path in written.iterdir()) == ["arrays", "set.json"]


def test_renderings_that_were_done_are_found_again(
    tmp_path: Path,
    latents: Callable[[int], np.ndarray],
    write_samples: Callable[..., None],
    describe: Callable[..., SetManifest],
    write_set: Callable[..., CalibrationSet],
) -> None:
    first = SetWriter(tmp_path / "set", fingerprint="one")
    write_samples(first, 0)
    first.write_array(latents(77))  # of a rendering that was interrupted
    again = SetWriter(tmp_path / "set", fingerprint="one")
    assert list(again.done) == [0]
    write_samples(again, 1)
    again.publish(describe(again))
    write_set(tmp_path / "whole")
    for path in (tmp_path / "whole").rglob("*.*"):
        assert (
            path.read_bytes()
            == (tmp_path / "set" / path.relative_to(tmp_path / "whole")).read_bytes()
        )
    assert len(list((tmp_path / "set" / "arrays").iterdir())) == 5


def test_a_recording_of_something_else_begins_anew(
    tmp_path: Path, write_samples: Callable[..., None]
) -> None:
    write_samples(SetWriter(tmp_path / "set", fingerprint="one"), 0)
    other = SetWriter(tmp_path / "set", fingerprint="two")
    assert (other.done, list((other.part / "arrays").iterdir())) == ({}, [])


def test_a_rendering_whose_arrays_were_spoilt_is_done_again(
    tmp_path: Path,
    latents: Callable[[int], np.ndarray],
    write_samples: Callable[..., None],
    describe: Callable[..., SetManifest],
) -> None:
    first = SetWriter(tmp_path / "set", fingerprint="one")
    write_samples(first, 0)
    write_samples(first, 1)
    name = first.write_array(latents(10))
    (first.part / "arrays" / f"{name}.npy").write_bytes(b"")
    again = SetWriter(tmp_path / "set", fingerprint="one")
    assert list(again.done) == [0]
    write_samples(again, 1)
    again.publish(describe(again))
    assert open_set(tmp_path / "set").count("denoising_unet") == 4


def test_what_is_no_set_is_never_replaced(tmp_path: Path, written: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file: is a file"):
        check_set_place(tmp_path / "file")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(OutputError, match="mine: a folder with other things in it"):
        SetWriter(tmp_path / "mine", fingerprint="one")
    (written / "notes.txt").touch()
    with pytest.raises(OutputError, match=r"set/notes\.txt: not a part of the old set"):
        check_set_place(written)
    (tmp_path / ".new.part").mkdir()
    (tmp_path / ".new.part" / "notes.txt").touch()
    with pytest.raises(OutputError, match=r"\.new\.part/notes\.txt: not of an earlier recording"):
        SetWriter(tmp_path / "new", fingerprint="one")


def test_an_older_set_is_replaced_only_when_the_new_one_is_whole(
    written: Path, write_samples: Callable[..., None], describe: Callable[..., SetManifest]
) -> None:
    before = open_set(written).digest
    writer = SetWriter(written, fingerprint="two")
    write_samples(writer, 0)
    assert open_set(written).digest == before
    writer.publish(describe(writer, seed=9))
    assert open_set(written).manifest.sampling.seed == 9
    assert [path.name for path in written.parent.iterdir()] == ["set"]


def test_a_disk_without_room_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 0, 200 * 10**6))
    writer = SetWriter(tmp_path / "set", fingerprint="one")
    writer.require_room(100 * 10**6)
    with pytest.raises(
        OutputError, match=r"the set may take 150 MB, the disk has 200 MB free; make room"
    ):
        writer.require_room(150 * 10**6)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/set: cannot write the set: Not a directory"):
        SetWriter(tmp_path / "file" / "set", fingerprint="one")


def test_a_set_that_is_being_recorded_is_recorded_by_nobody_else(
    tmp_path: Path, write_samples: Callable[..., None]
) -> None:
    with recorded_alone(tmp_path / "set"):
        write_samples(SetWriter(tmp_path / "set", fingerprint="one"), 0)
        with (
            pytest.raises(
                OutputError,
                match=r"set: another recording of it is at work; wait, or name another folder",
            ),
            recorded_alone(tmp_path / "set"),
        ):
            pytest.fail("it was let in")
        with recorded_alone(tmp_path / "other"):
            pass
    with recorded_alone(tmp_path / "set"):
        assert list(SetWriter(tmp_path / "set", fingerprint="one").done) == [0]


def test_a_recording_that_begins_anew_is_still_alone(
    tmp_path: Path, write_samples: Callable[..., None]
) -> None:
    write_samples(SetWriter(tmp_path / "set", fingerprint="one"), 0)
    with recorded_alone(tmp_path / "set"):
        SetWriter(tmp_path / "set", fingerprint="two")
        with (
            pytest.raises(OutputError, match="another recording"),
            recorded_alone(tmp_path / "set"),
        ):
            pytest.fail("it was let in")


def test_a_set_in_its_place_may_be_recorded_again(
    tmp_path: Path, write_samples: Callable[..., None], describe: Callable[..., SetManifest]
) -> None:
    with recorded_alone(tmp_path / "set"):
        writer = SetWriter(tmp_path / "set", fingerprint="one")
        write_samples(writer, 0)
        writer.publish(describe(writer))
        with recorded_alone(tmp_path / "set"):
            SetWriter(tmp_path / "set", fingerprint="two")
        assert open_set(tmp_path / "set").count("denoising_unet") == 2


def test_a_recording_that_is_refused_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(OutputError, match="other things in it"), recorded_alone(tmp_path / "mine"):
        SetWriter(tmp_path / "mine", fingerprint="one")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_file_system_without_locks_is_no_reason_to_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_set: Callable[..., CalibrationSet]
) -> None:
    def refuse(number: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with recorded_alone(tmp_path / "set"):
        write_set(tmp_path / "set")
    assert open_set(tmp_path / "set").count("denoising_unet") > 0
