"""A bundle's plan of its layers: what it says, and what it may not say."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoexport.profiles.quality.report import QualityReport
from echoexport.runtime.bundle.files import hash_file
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.manifest import FileEntry, read_manifest, write_manifest
from echoexport.runtime.errors import (
    BundleError,
    UnknownNameError,
)


def add_plan(folder: Path, plan: Any) -> Path:
    """Put a plan into a bundle and its manifest."""
    (folder / "quantization.json").write_text(plan if isinstance(plan, str) else json.dumps(plan))
    manifest = read_manifest(folder)
    path = folder / "quantization.json"
    files = {**manifest.files, "quantization.json": FileEntry(hash_file(path), path.stat().st_size)}
    write_manifest(dataclasses.replace(manifest, files=files), folder)
    return folder


PLAN = {
    "schema": 1,
    "method": "percentile",
    "calibration": "0" * 64,
    "networks": {
        "denoising_unet": {
            "precision": "int8",
            "layers": {
                "conv_in": {"mode": "float", "amax": None, "reason": "policy: conv_in"},
                "mid": {"mode": "int8", "amax": 2.5, "reason": ""},
            },
            "smoothing": {"x": {"alpha": 0.5, "factors": [1.0, 2.0]}},
            "float32_nodes": [],
            "skips": {},
        }
    },
}


def test_layers_come_from_the_plan_that_travels_with_the_candidate(
    make_null_bundle: Callable[..., Path],
    open_waves: Callable[..., Bundle],
    compare: Callable[..., QualityReport],
) -> None:
    plain = make_null_bundle("plain")
    planned = add_plan(make_null_bundle("planned"), PLAN)
    with open_waves(plain) as one, open_waves(planned) as other:
        report = compare(one, other, damage={"denoising_unet": {"mid": 1.25}})
    assert (report.reference.label, report.candidate.label) == ("fp32", "int8")
    assert [(one.layer, one.mode, one.reason, one.damage) for one in report.layers] == [
        ("conv_in", "float", "policy: conv_in", None),
        ("mid", "int8", "", 1.25),
    ]
    precisions = {network.name: network.candidate.precision for network in report.networks}
    assert precisions["denoising_unet"] == "int8" and precisions["vae_decoder"] == "fp32"


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ("{", "not a readable quantization plan"),
        ({**PLAN, "more": 1}, "unknown key 'more'"),
        ({**PLAN, "schema": 9}, "schema 9"),
        (json.dumps(PLAN).replace('"int8", "amax"', '"int4", "amax"'), "layer mid: mode 'int4'"),
    ],
)
def test_a_plan_that_breaks_its_schema_is_named(
    make_null_bundle: Callable[..., Path],
    plan: Any,
    told: str,
    open_waves: Callable[..., Bundle],
    compare: Callable[..., QualityReport],
) -> None:
    plain = make_null_bundle("plain")
    planned = add_plan(make_null_bundle("planned"), plan)
    with (
        open_waves(plain) as one,
        open_waves(planned) as other,
        pytest.raises(BundleError, match=told),
    ):
        compare(one, other)


def test_damage_of_a_layer_that_the_plan_lacks_is_refused(
    make_null_bundle: Callable[..., Path],
    open_waves: Callable[..., Bundle],
    compare: Callable[..., QualityReport],
) -> None:
    plain = make_null_bundle("plain")
    planned = add_plan(make_null_bundle("planned"), PLAN)
    with (
        open_waves(plain) as one,
        open_waves(planned) as other,
        pytest.raises(UnknownNameError, match="'midd'"),
    ):
        compare(one, other, damage={"denoising_unet": {"midd": 1.0}})
