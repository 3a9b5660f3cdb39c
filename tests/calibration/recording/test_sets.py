"""A calibration set on disk: read one sample at a time, refused where it was changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.calibration.recording.set_manifest import (
    describe_source,
    encode_manifest,
)
from echoexport.calibration.recording.set_writer import (
    SetWriter,
)
from echoexport.calibration.recording.sets import CalibrationSet, open_set
from echoexport.runtime.contract.manifest import FileEntry, Manifest, read_manifest
from echoexport.runtime.errors import CalibrationError, UnknownNameError


def test_samples_come_back_in_their_order_with_what_they_were(
    written: Path, latents: Callable[[int], np.ndarray], shared: np.ndarray
) -> None:
    found = list(open_set(written).samples("denoising_unet"))
    assert [(s.step, s.portrait) for s in found] == [
        (0, "0.png"),
        (0, "1.png"),
        (1, "0.png"),
        (1, "1.png"),
    ]
    for sample, number in zip(found, (0, 10, 1, 11), strict=True):
        np.testing.assert_array_equal(sample.inputs["latents"], latents(number))
        np.testing.assert_array_equal(sample.inputs["shared"], shared)
        assert (sample.voice, sample.steps, sample.window) == ("v.wav", 2, 0)
        assert sample.timestep == 999 - (sample.step or 0)
    assert open_set(written).count("denoising_unet") == 4
    assert open_set(written).steps == 2


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


def test_a_set_without_samples_is_refused(written: Path, rewrite: Callable[..., None]) -> None:
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
def kept_set(
    tmp_path_factory: pytest.TempPathFactory, write_set: Callable[..., CalibrationSet]
) -> Path:
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
def set_of(
    tmp_path: Path, write_set: Callable[..., CalibrationSet], rewrite: Callable[..., None]
) -> Callable[[Manifest], CalibrationSet]:
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
