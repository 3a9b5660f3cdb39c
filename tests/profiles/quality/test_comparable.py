"""Bundles that can be compared, and those that cannot."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from echoexport.profiles.quality.report import QualityReport
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.contract.manifest import FileEntry, read_manifest, write_manifest
from echoexport.runtime.errors import (
    InputError,
)


def test_bundles_that_cannot_render_the_same_clip_are_refused(
    make_null_bundle: Callable[..., Path], compare: Callable[..., QualityReport]
) -> None:
    small = make_null_bundle("small")
    large = make_null_bundle("large", side=64)
    with (
        open_bundle(small) as one,
        open_bundle(large) as other,
        pytest.raises(InputError, match="picture size"),
    ):
        compare(one, other)
    longer = make_null_bundle("longer", frames=5)
    with (
        open_bundle(small) as one,
        open_bundle(longer) as other,
        pytest.raises(InputError, match="window"),
    ):
        compare(one, other)


def test_another_checkpoint_is_noted(
    make_null_bundle: Callable[..., Path],
    open_waves: Callable[..., Bundle],
    compare: Callable[..., QualityReport],
) -> None:
    plain = make_null_bundle("plain")
    other_folder = make_null_bundle("other")
    manifest = read_manifest(other_folder)
    made = dataclasses.replace(
        manifest.provenance, checkpoint_files={"a.pth": FileEntry("0" * 64, 1)}
    )
    write_manifest(dataclasses.replace(manifest, provenance=made), other_folder)
    with open_waves(plain) as one, open_waves(other_folder) as other:
        assert "different checkpoints" in compare(one, other).notes[0]
