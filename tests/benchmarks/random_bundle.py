"""Bundles of seeded random weights at benchmark sizes, made once and kept.

Nobody has to download a checkpoint.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

import numpy as np

from echoexport.export.architecture import (
    Architecture,
    AudioArchitecture,
    LandmarkArchitecture,
    MotionArchitecture,
    UNetArchitecture,
    VAEArchitecture,
)
from echoexport.export.build.bundle import BuildSettings, build_bundle
from echoexport.export.graphs.traces import trace_key
from echoexport.export.sizes import size_networks
from echoexport.export.subnets.random_checkpoint import write_random_checkpoint
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY, describe_networks
from echoexport.runtime.inputs.voice import voice_from_samples
from echoexport.runtime.rendering.settings import RenderInputs
from echoexport.targets.spec import load_target

WIDTHS = {
    "tiny": ((32, 32, 64, 64), (32, 32, 64, 64)),
    "half": ((160, 320, 640, 640), (64, 128, 256, 256)),
}
"""UNet and VAE widths by name; the published networks have 320, 640, 1280, 1280 and
128, 256, 512, 512."""


def default_folder() -> Path:
    """``$ECHOEXPORT_CACHE/benchmarks``, else under the user's cache folder."""
    own = os.environ.get("ECHOEXPORT_CACHE")
    base = (
        Path(own)
        if own
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "echoexport"
    )
    return base / "benchmarks"


def describe_architecture(size: str) -> Architecture:
    """The six networks with the published layers and other widths."""
    unet, vae = WIDTHS[size]
    motion = MotionArchitecture(8, 32, 32, 2, 1, (True,) * 4, True, (True,) * 4)
    return Architecture(
        unet=UNetArchitecture(
            widths=unet,
            heads=(8,) * 4,
            layers_per_block=2,
            down_attention=(True, True, True, False),
            up_attention=(False, True, True, True),
            in_channels=4,
            out_channels=4,
            norm_groups=32,
            norm_eps=1e-5,
            audio_width=384,
            audio_ratio=3.0,
            linear_projection=False,
            motion=motion,
        ),
        vae=VAEArchitecture(vae, 2, 3, 4, 32, 0.18215),
        audio=AudioArchitecture(80, 1500, 384, 6, 4),
        landmark=LandmarkArchitecture(1, 16, (16, 32, 32, 96, 96, 256), unet[0]),
    )


def make_bundle(
    size: str, *, pixels: int, frames: int, precision: str = "fp32", folder: Path
) -> tuple[Path, Path]:
    """A checkpoint and its bundle under ``folder``.

    Both are made where they are missing or our export code has changed.
    """
    architecture = describe_architecture(size)
    checkpoint = folder / f"checkpoint-{size}"
    if not checkpoint.is_dir():
        say(f"writing a random checkpoint, {size} widths, to {checkpoint}")
        write_random_checkpoint(checkpoint, architecture=architecture)
    sizes = size_networks(architecture, size=(pixels, pixels), frames=frames, face="mask")
    specs = describe_networks(sizes, precision=precision)
    keys = "".join(trace_key(specs[name], architecture) for name in FAMILY.required)
    stem = f"bundle-{size}-{pixels}-{frames}-{precision}-"
    bundle = folder / (stem + hashlib.sha256(keys.encode()).hexdigest()[:12])
    if not bundle.is_dir():
        for older in folder.glob(f"{stem}*"):  # from other code; nobody reads it any more
            shutil.rmtree(older)
        settings = BuildSettings(
            "acc", (pixels, pixels), frames, precision, traces=folder / "traces", check="none"
        )
        build_bundle(
            checkpoint,
            bundle,
            target=load_target("cpu-openvino"),
            settings=settings,
            report=lambda what, done, total: say(f"build {done}/{total} {what}"),
        )
    return checkpoint, bundle


def draw_inputs(width: int, height: int) -> RenderInputs:
    """A seeded picture, a mask in its middle, and a second of a voice-like sound."""
    draw = np.random.default_rng(3)
    picture = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = 255
    seconds = np.arange(16_000) / 16_000
    sound = np.sin(2 * np.pi * 140 * seconds) * np.sin(2 * np.pi * 3 * seconds) * 0.4
    return RenderInputs(picture, voice_from_samples(sound.astype(np.float32)), mask=mask)


def say(line: str) -> None:
    """Progress, beside the result on stdout."""
    sys.stderr.write(line + "\n")
