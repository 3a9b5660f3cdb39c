"""A set's description: its digest, its source, and the same bytes for the same set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from echoexport.calibration.recording.set_manifest import (
    SetManifest,
    describe_source,
    encode_manifest,
)
from echoexport.calibration.recording.sets import CalibrationSet, open_set
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.schema import parse


def test_the_digest_is_of_the_samples_and_not_of_the_engine_that_made_them(
    tmp_path: Path, write_set: Callable[..., CalibrationSet]
) -> None:
    first = write_set(tmp_path / "a").digest
    assert write_set(tmp_path / "b", made="another engine").digest == first
    assert write_set(tmp_path / "c", seed=1).digest != first


def test_a_description_is_written_in_the_same_bytes_and_read_back(written: Path) -> None:
    manifest = open_set(written).manifest
    content = encode_manifest(manifest)
    assert content == (written / "set.json").read_bytes() == encode_manifest(manifest)
    data = json.loads(content)
    assert data.pop("digest") == manifest.digest
    assert parse(SetManifest, data, where="set") == manifest


def test_a_source_is_the_bundle_s_checkpoint_and_sizes(null_bundle: Path) -> None:
    manifest = read_manifest(null_bundle)
    source = describe_source(manifest)
    assert (source.variant, source.face) == (manifest.variant, manifest.face)
    assert (source.width, source.height) == (manifest.picture.width, manifest.picture.height)
    assert source.frames == manifest.window.frames
    assert list(source.weights) == sorted(manifest.networks)
    for name, digest in source.weights.items():
        assert digest == manifest.files[manifest.networks[name].weights].sha256


def test_networks_that_share_weights_make_it_no_other_source(
    make_null_bundle: Callable[..., Path],
) -> None:
    plain = describe_source(read_manifest(make_null_bundle("plain")))
    live = describe_source(read_manifest(make_null_bundle("live", live=True)))
    assert live.weights == plain.weights
