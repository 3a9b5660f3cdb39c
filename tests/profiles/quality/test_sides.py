"""The two bundles of a comparison: sizes, shares in int8, and what they are called."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from echoexport.profiles.quality.report import QualityReport, format_quality_json
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.manifest import read_manifest, write_manifest


def test_the_share_of_weights_in_int8_and_the_size_against_fp32_are_given(
    make_null_bundle: Callable[..., Path],
    open_waves: Callable[..., Bundle],
    compare: Callable[..., QualityReport],
) -> None:
    plain = make_null_bundle("plain")
    small = make_null_bundle("small")
    manifest = read_manifest(small)
    denoiser = dataclasses.replace(
        manifest.networks["denoising_unet"], precision="int8", int8_parameters=6
    )
    write_manifest(
        dataclasses.replace(manifest, networks={**manifest.networks, "denoising_unet": denoiser}),
        small,
    )
    with open_waves(plain) as one, open_waves(small) as other:
        report = compare(one, other)
    found = {network.name: network for network in report.networks}
    assert denoiser.parameters == 7
    size = manifest.files[denoiser.weights].bytes / 28
    side = found["denoising_unet"].candidate
    assert (side.int8_share, side.of_fp32) == (
        pytest.approx(6 / 7, abs=1e-4),
        pytest.approx(size, abs=1e-4),
    )
    assert (
        found["denoising_unet"].reference.int8_share
        == found["vae_decoder"].candidate.int8_share
        == 0
    )
    assert report.candidate.int8_share == pytest.approx(1 / 7, abs=1e-4)
    assert report.reference.int8_share == 0
    data = json.loads(format_quality_json(report))
    assert data["candidate"]["int8_share"] == report.candidate.int8_share


def test_an_int8_network_whose_bundle_does_not_say_how_much_of_it_is_has_no_share(
    make_null_bundle: Callable[..., Path],
    open_waves: Callable[..., Bundle],
    compare: Callable[..., QualityReport],
) -> None:
    plain = make_null_bundle("plain")
    small = make_null_bundle("small")
    manifest = read_manifest(small)
    entries = {
        name: dataclasses.replace(entry, precision="int8")
        for name, entry in manifest.networks.items()
    }
    write_manifest(dataclasses.replace(manifest, networks=entries), small)
    with open_waves(plain) as one, open_waves(small) as other:
        report = compare(one, other)
    assert report.candidate.int8_share is None
    assert {network.candidate.int8_share for network in report.networks} == {None}
