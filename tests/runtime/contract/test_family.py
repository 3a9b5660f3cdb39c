"""A family: what a bundle of it must hold and may lack, and what drives its faces."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixtures.manifests import edit_manifest

from echoexport.runtime import open_bundle
from echoexport.runtime.contract.family import Drive, Family
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.errors import BundleError, UnknownNameError

MASK = Drive("mask", network="face", channels=1, every_frame=False)
POSE = Drive("pose", network="face", channels=3, every_frame=True)


@pytest.fixture
def singer_bundle(null_bundle: Path, singer: Family) -> Callable[..., Path]:
    """A function that makes the null bundle one of the planted family, with these networks."""

    def make(*networks: str, **changes: Any) -> Path:
        def edit(data: dict[str, Any]) -> None:
            entries = data["networks"]
            entries["upscaler"] = entries["vae_decoder"]
            data["networks"] = {name: entries[name] for name in networks}
            data |= {"family": singer.name, "face": "hands", **changes}

        edit_manifest(null_bundle, edit)
        return null_bundle

    return make


def test_what_is_not_optional_is_required_in_the_familys_order() -> None:
    family = Family("some", ("c", "upscaler", "a", "tiny"), (), frozenset({"tiny", "upscaler"}))
    assert family.required == ("c", "a")


def test_a_drive_is_found_by_its_name() -> None:
    assert Family("some", ("face",), (MASK, POSE)).find_drive("pose") is POSE


def test_an_unknown_drive_is_refused_with_those_that_the_family_takes() -> None:
    with pytest.raises(UnknownNameError, match="unknown drive 'hands'; known: mask, pose"):
        Family("some", ("face",), (MASK, POSE)).find_drive("hands")


def test_a_bundle_may_hold_an_optional_network(
    singer: Family, singer_bundle: Callable[..., Path]
) -> None:
    manifest = read_manifest(singer_bundle(*singer.networks))
    assert tuple(manifest.networks) == singer.networks
    assert (manifest.drive.name, manifest.drive.every_frame) == ("hands", True)


def test_a_bundle_may_lack_an_optional_network_and_runs_with_the_others(
    singer: Family, singer_bundle: Callable[..., Path]
) -> None:
    with open_bundle(singer_bundle(*singer.required)) as bundle:
        assert tuple(bundle.manifest.networks) == singer.required
        assert set(bundle.calls()) == set(bundle.arithmetic()) == set(singer.required)
        assert all(bundle.self_test(name).passed for name in singer.required)
        with pytest.raises(UnknownNameError, match="unknown network 'upscaler'"):
            bundle.network("upscaler")


def test_a_bundle_may_not_lack_a_required_network(
    singer: Family, singer_bundle: Callable[..., Path]
) -> None:
    folder = singer_bundle("audio_encoder", "denoising_unet", "upscaler")
    with pytest.raises(BundleError, match=r"networks: missing \['vae_decoder'\], unknown none"):
        read_manifest(folder)


def test_a_network_or_drive_of_another_family_is_refused(
    singer: Family, singer_bundle: Callable[..., Path]
) -> None:
    foreign = re.escape("missing none, unknown ['reference_unet']")
    with pytest.raises(BundleError, match=foreign):
        read_manifest(singer_bundle(*singer.required, "reference_unet"))
    with pytest.raises(BundleError, match="face is 'mask'; known: hands"):
        read_manifest(singer_bundle(*singer.required, face="mask"))
