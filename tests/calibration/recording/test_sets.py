"""A calibration set on disk.

Written whole, read one sample at a time, refused where it is not what was written.
"""

from __future__ import annotations

import errno
import fcntl
import json
import shutil
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.calibration.recording.set_manifest import (
    SET_FORMAT,
    SET_SCHEMA,
    SampleEntry,
    SetManifest,
    SetSampling,
    SetSource,
    describe_source,
    encode_manifest,
)
from echoexport.calibration.recording.set_writer import (
    SetWriter,
    check_set_place,
    count_samples,
    recorded_alone,
)
from echoexport.calibration.recording.sets import CalibrationSet, open_set
from echoexport.runtime.contract.manifest import FileEntry, Manifest, read_manifest
from echoexport.runtime.errors import CalibrationError, OutputError, UnknownNameError

WEIGHTS = {"denoising_unet": "22", "vae_encoder": "23"}
SOURCE = SetSource("acc", "weights", {"a.pth": "11"}, WEIGHTS, 32, 32, 4, "mask")
SHARED = np.arange(6, dtype=np.float32).reshape(1, 2, 3)


def latents(number: int) -> np.ndarray:
    return np.full((1, 4, 2), number, np.float32)


def write_samples(writer: SetWriter, number: int, *, count: int = 2) -> None:
    samples = {}
    for step in range(count):
        inputs = {
            "latents": writer.write_array(latents(10 * number + step)),
            "shared": writer.write_array(SHARED),
        }
        entry = SampleEntry("denoising_unet", f"{number}.png", "v.wav", step, 999 - step, 0, inputs)
        samples[2 * step + number] = entry
    writer.finish_rendering(number, samples)


def describe(writer: SetWriter, *, seed: int = 0, made: str = "an engine") -> SetManifest:
    samples, arrays = writer.list_samples()
    sampling = SetSampling(seed, 2, 1.0, 1, 24.0, 2.0)
    return SetManifest(
        SET_FORMAT,
        SET_SCHEMA,
        made,
        SOURCE,
        sampling,
        {"0.png": "33"},
        {"v.wav": "44"},
        {},
        count_samples(samples),
        0.1,
        arrays,
        samples,
    )


def write_set(folder: Path, **changes: object) -> CalibrationSet:
    writer = SetWriter(folder, fingerprint="one")
    for number in range(2):
        write_samples(writer, number)
    writer.publish(describe(writer, **changes))  # type: ignore[arg-type]
    return open_set(folder)


def rewrite(folder: Path, **changes: object) -> None:
    """Change the description, with a digest that holds."""
    manifest = replace(open_set(folder).manifest, **changes)  # type: ignore[arg-type]
    (folder / "set.json").write_bytes(encode_manifest(manifest))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    write_set(tmp_path / "set")
    return tmp_path / "set"


def test_samples_come_back_in_their_order_with_what_they_were(written: Path) -> None:
    found = list(open_set(written).samples("denoising_unet"))
    assert [(s.step, s.portrait) for s in found] == [
        (0, "0.png"),
        (0, "1.png"),
        (1, "0.png"),
        (1, "1.png"),
    ]
    for sample, number in zip(found, (0, 10, 1, 11), strict=True):
        np.testing.assert_array_equal(sample.inputs["latents"], latents(number))
        np.testing.assert_array_equal(sample.inputs["shared"], SHARED)
        assert (sample.voice, sample.steps, sample.window) == ("v.wav", 2, 0)
        assert sample.timestep == 999 - (sample.step or 0)
    assert open_set(written).count("denoising_unet") == 4
    assert open_set(written).steps == 2


def test_an_array_that_samples_share_is_stored_once(written: Path) -> None:
    assert len(list((written / "arrays").iterdir())) == 5


def test_samples_are_read_one_at_a_time(written: Path) -> None:
    opened = open_set(written)
    stream = opened.samples("denoising_unet")
    assert isinstance(stream, Iterator)
    next(stream)
    shutil.rmtree(written / "arrays")
    with pytest.raises(
        CalibrationError, match=r"arrays/[0-9a-f]{32}\.npy: cannot be read.*record it again"
    ):
        next(stream)


def test_a_network_without_samples_gives_none_and_one_that_is_none_is_refused(
    written: Path,
) -> None:
    opened = open_set(written)
    assert (opened.count("vae_encoder"), list(opened.samples("vae_encoder"))) == (0, [])
    with pytest.raises(UnknownNameError, match="denoising_unet"):
        opened.samples("denoising_unett")


def test_the_digest_is_of_the_samples_and_not_of_the_engine_that_made_them(tmp_path: Path) -> None:
    first = write_set(tmp_path / "a").digest
    assert write_set(tmp_path / "b", made="another engine").digest == first
    assert write_set(tmp_path / "c", seed=1).digest != first


def test_nothing_of_the_recording_is_left_beside_the_set(written: Path) -> None:
    assert [path.name for path in written.parent.iterdir()] == ["set"]
    assert sorted(path.name for path in written.iterdir()) == ["arrays", "set.json"]


def test_a_missing_an_unfinished_and_an_empty_set_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(
        CalibrationError, match=r"none/set\.json: no such file; echoexport calibrate records a set"
    ):
        open_set(tmp_path / "none")
    SetWriter(tmp_path / "half", fingerprint="one")
    with pytest.raises(
        CalibrationError, match=r"half: its recording was interrupted; the same .* finishes it"
    ):
        open_set(tmp_path / "half")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "set.json").touch()
    with pytest.raises(CalibrationError, match=r"empty/set\.json: not readable JSON"):
        open_set(tmp_path / "empty")


def test_a_set_without_samples_is_refused(written: Path) -> None:
    rewrite(written, samples=(), counts={})
    with pytest.raises(CalibrationError, match=r"set\.json: the set is empty"):
        open_set(written)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "not the description of a calibration set"),
        ({"schema": 2}, "schema 2; this release reads 1"),
        ({"colour": 1}, "unknown key 'colour'"),
        ({"megabytes": "many"}, "megabytes: wanted a float"),
        ({"megabytes": 7.0}, "its digest is not that of its content"),
        ({"digest": "0"}, "its digest is not that of its content"),
    ],
)
def test_a_description_that_was_changed_is_refused(
    written: Path, change: dict[str, object], message: str
) -> None:
    data = json.loads((written / "set.json").read_text())
    (written / "set.json").write_text(json.dumps({**data, **change}))
    with pytest.raises(CalibrationError, match=rf"set\.json: .*{message}"):
        open_set(written)


def test_a_description_that_cannot_be_is_refused_though_its_digest_holds(written: Path) -> None:
    manifest = open_set(written).manifest
    first = manifest.samples[0]
    others = manifest.samples[1:]
    wrong = {
        "unknown network 'unet'": {"samples": (replace(first, network="unet"), *others)},
        "no array for": {"samples": (replace(first, inputs={"latents": "0" * 32}), *others)},
        "is none that a recording writes": {"arrays": {**manifest.arrays, "../../etc/passwd": 9}},
        "are not those of its samples": {"counts": {"denoising_unet": 3}},
    }
    for message, change in wrong.items():
        (written / "set.json").write_bytes(encode_manifest(replace(manifest, **change)))  # type: ignore[arg-type]
        with pytest.raises(CalibrationError, match=message):
            open_set(written)


def test_arrays_that_are_missing_cut_or_damaged_are_named(written: Path) -> None:
    path = sorted((written / "arrays").iterdir())[0]
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(
        CalibrationError, match=rf"{path.name}: {len(content) - 1} bytes, wanted {len(content)}"
    ):
        open_set(written)
    path.unlink()
    with pytest.raises(
        CalibrationError, match=rf"{path.name}: cannot be read: No such file.*copy the set again"
    ):
        open_set(written)


@pytest.fixture(scope="module")
def kept_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "set"
    write_set(folder)
    return folder


@given(place=st.integers(0), flip=st.integers(1, 255))
def test_any_changed_byte_of_an_array_is_noticed(kept_set: Path, place: int, flip: int) -> None:
    files = sorted((kept_set / "arrays").iterdir())
    path = files[place % len(files)]
    before = path.read_bytes()
    content = bytearray(before)
    content[place % len(content)] ^= flip
    path.write_bytes(content)
    try:
        with pytest.raises(CalibrationError, match="damaged, its sha256 is not its name"):
            open_set(kept_set)
    finally:
        path.write_bytes(before)


@pytest.fixture
def bundle_manifest(null_bundle: Path) -> Manifest:
    manifest = read_manifest(null_bundle)
    files = {"denoising_unet.pth": FileEntry("55", 7)}
    return replace(manifest, provenance=replace(manifest.provenance, checkpoint_files=files))


@pytest.fixture
def set_of(tmp_path: Path) -> Callable[[Manifest], CalibrationSet]:
    def make(manifest: Manifest) -> CalibrationSet:
        write_set(tmp_path / "set")
        rewrite(tmp_path / "set", source=describe_source(manifest))
        return open_set(tmp_path / "set")

    return make


def test_a_set_fits_the_bundle_it_was_recorded_from(
    bundle_manifest: Manifest, set_of: Callable[[Manifest], CalibrationSet]
) -> None:
    recorded = set_of(bundle_manifest)
    recorded.require_of(bundle_manifest)
    assert recorded.manifest.source == describe_source(bundle_manifest)


def change_weights(manifest: Manifest) -> Manifest:
    """As in another checkpoint, or another precision."""
    return replace(
        manifest, files={name: replace(file, sha256="99") for name, file in manifest.files.items()}
    )


def test_a_bundle_of_another_precision_is_known_by_the_checkpoints_files(
    bundle_manifest: Manifest, set_of: Callable[[Manifest], CalibrationSet]
) -> None:
    recorded = set_of(bundle_manifest)
    recorded.require_of(change_weights(bundle_manifest))
    other = replace(
        bundle_manifest.provenance, checkpoint_files={"denoising_unet.pth": FileEntry("56", 7)}
    )
    with pytest.raises(
        CalibrationError,
        match=r"recorded from another checkpoint .*weights of audio_encoder are not",
    ):
        recorded.require_of(replace(change_weights(bundle_manifest), provenance=other))


def test_no_files_of_a_checkpoint_are_not_the_same_files(
    bundle_manifest: Manifest, set_of: Callable[[Manifest], CalibrationSet]
) -> None:
    nameless = replace(
        bundle_manifest, provenance=replace(bundle_manifest.provenance, checkpoint_files={})
    )
    with pytest.raises(CalibrationError, match="another checkpoint"):
        set_of(nameless).require_of(change_weights(nameless))


def test_a_set_of_another_size_window_or_variant_is_refused(
    bundle_manifest: Manifest, set_of: Callable[[Manifest], CalibrationSet]
) -> None:
    recorded = set_of(bundle_manifest)
    others = {
        "width 32, the bundle has 64": replace(
            bundle_manifest, picture=replace(bundle_manifest.picture, width=64)
        ),
        "frames 4, the bundle has 8": replace(
            bundle_manifest, window=replace(bundle_manifest.window, frames=8)
        ),
        "variant acc, the bundle has base": replace(bundle_manifest, variant="base"),
    }
    for message, other in others.items():
        with pytest.raises(CalibrationError, match=f"recorded with {message}; record it again"):
            recorded.require_of(other)


def test_renderings_that_were_done_are_found_again(tmp_path: Path) -> None:
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


def test_a_recording_of_something_else_begins_anew(tmp_path: Path) -> None:
    write_samples(SetWriter(tmp_path / "set", fingerprint="one"), 0)
    other = SetWriter(tmp_path / "set", fingerprint="two")
    assert (other.done, list((other.part / "arrays").iterdir())) == ({}, [])


def test_a_rendering_whose_arrays_were_spoilt_is_done_again(tmp_path: Path) -> None:
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


def test_an_older_set_is_replaced_only_when_the_new_one_is_whole(written: Path) -> None:
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


def test_a_set_that_is_being_recorded_is_recorded_by_nobody_else(tmp_path: Path) -> None:
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


def test_a_recording_that_begins_anew_is_still_alone(tmp_path: Path) -> None:
    write_samples(SetWriter(tmp_path / "set", fingerprint="one"), 0)
    with recorded_alone(tmp_path / "set"):
        SetWriter(tmp_path / "set", fingerprint="two")
        with (
            pytest.raises(OutputError, match="another recording"),
            recorded_alone(tmp_path / "set"),
        ):
            pytest.fail("it was let in")


def test_a_set_in_its_place_may_be_recorded_again(tmp_path: Path) -> None:
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(number: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with recorded_alone(tmp_path / "set"):
        write_set(tmp_path / "set")
    assert open_set(tmp_path / "set").count("denoising_unet") > 0
