"""What a bundle says of itself, by variant, target and settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echoexport.export.build.bundle import BuildSettings
from echoexport.export.build.description import describe_bundle
from echoexport.export.build.settings import settle
from echoexport.export.checkpoint.reader import open_checkpoint
from echoexport.export.checkpoint.variants import find_variant
from echoexport.export.sizes import size_networks
from echoexport.runtime.contract.manifest import Manifest
from echoexport.targets.spec import load_target

# The original's inference scripts: steps and guidance, noise clamp, window shift, face.
DEFAULTS = {
    "base": (30, 2.5, 1.5, 2, "mask"),
    "acc": (6, 1.0, 1.5, 2, "mask"),
    "pose": (30, 2.5, None, 3, "pose"),
    "pose_acc": (6, 1.0, None, 3, "pose"),
}


def describe(checkpoint: Path, variant: str, *, target: str = "cpu", **settings: Any) -> Manifest:
    """The manifest of a build, without building.

    Networks of the micro checkpoint, but windows of up to 32 frames.
    """
    board = load_target(target)
    opened = open_checkpoint(checkpoint, "acc")
    unet = opened.architecture.unet
    assert unet.motion is not None
    longer = replace(
        opened.architecture, unet=replace(unet, motion=replace(unet.motion, max_frames=32))
    )
    opened = replace(opened, variant=find_variant(variant), architecture=longer)
    settled = settle(BuildSettings(variant, **settings), target=board)
    assert settled.size is not None
    assert settled.frames is not None
    sizes = size_networks(
        longer, size=settled.size, frames=settled.frames, face=opened.variant.face
    )
    return describe_bundle(opened, sizes, {}, target=board, settings=settled)


@pytest.mark.parametrize("variant", DEFAULTS)
def test_each_variant_samples_as_the_originals_script_does(checkpoint: Path, variant: str) -> None:
    manifest = describe(checkpoint, variant)
    steps, guidance, clamp, shift, face = DEFAULTS[variant]
    assert (manifest.sampler.steps, manifest.sampler.guidance) == (steps, guidance)
    assert (manifest.sampler.noise_clamp, manifest.window.shift, manifest.face) == (
        clamp,
        shift,
        face,
    )
    assert (manifest.fps, manifest.window.frames, manifest.window.overlap) == (24.0, 12, 3)


@pytest.mark.parametrize(
    ("variant", "steps"), [("acc", 4), ("pose_acc", 4), ("base", 30), ("pose", 30)]
)
def test_a_jetson_gets_half_precision_and_fewer_steps_where_the_variant_bears_it(
    checkpoint: Path, variant: str, steps: int
) -> None:
    manifest = describe(checkpoint, variant, target="jetson-orin")
    assert (manifest.precision, manifest.sampler.steps) == ("fp16", steps)
    assert (manifest.picture.width, manifest.picture.height) == (256, 256)
    assert manifest.target == "jetson-orin"
    assert manifest.backends


def test_what_is_asked_for_wins_over_the_target(checkpoint: Path) -> None:
    manifest = describe(
        checkpoint,
        "acc",
        target="jetson-orin",
        precision="fp32",
        size=(192, 128),
        frames=8,
        steps=9,
    )
    assert (manifest.precision, manifest.sampler.steps, manifest.window.frames) == ("fp32", 9, 8)
    assert (manifest.picture.width, manifest.picture.height) == (192, 128)


@pytest.mark.parametrize(("frames", "overlap"), [(2, 1), (3, 2), (4, 3), (32, 3)])
def test_neighbouring_windows_share_three_frames_or_what_a_short_window_can_spare(
    checkpoint: Path, frames: int, overlap: int
) -> None:
    assert describe(checkpoint, "acc", frames=frames).window.overlap == overlap


@pytest.mark.slow
def test_the_manifest_is_plain_json_that_names_no_folder_of_this_machine(
    build_tiny: Callable[..., Path],
) -> None:
    data = json.loads((build_tiny() / "manifest.json").read_text())
    assert "traces" not in data["provenance"]["settings"]
    assert str(Path.home()) not in json.dumps(data)
