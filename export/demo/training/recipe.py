"""What is trained and for how long.

Sizes of the networks, of the data and of each stage, as data.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from echoexport.export.architecture import (
    Architecture,
    AudioArchitecture,
    LandmarkArchitecture,
    MotionArchitecture,
    UNetArchitecture,
    VAEArchitecture,
)
from echoexport.runtime.errors import UnknownNameError

# One group in every norm: with few channels a group, a group norm is an instance norm,
# which removes both the timestep and the colours; with one it keeps what channels say
# against each other. It is also the fastest on a CPU.
CHARACTER = Architecture(
    unet=UNetArchitecture(
        widths=(48, 64, 96),
        heads=(2, 2, 2),
        layers_per_block=1,
        down_attention=(False, True, True),
        up_attention=(True, True, True),
        in_channels=4,
        out_channels=4,
        norm_groups=1,
        norm_eps=1e-5,
        audio_width=384,
        audio_ratio=3.0,
        linear_projection=False,
        motion=MotionArchitecture(
            heads=2,
            norm_groups=1,
            max_frames=32,
            attention_blocks=1,
            transformer_blocks=1,
            down=(False, True, True),
            mid=True,
            up=(True, True, False),
        ),
    ),
    vae=VAEArchitecture(
        widths=(16, 16, 32, 64),
        layers_per_block=1,
        picture_channels=3,
        latent_channels=4,
        norm_groups=1,
        scaling=0.18215,
    ),
    audio=AudioArchitecture(mels=80, context=1500, width=384, heads=6, layers=1),
    landmark=LandmarkArchitecture(
        in_channels=1, stem=16, channels=(16, 16, 16, 32, 32, 48), out_channels=48
    ),
)
"""The shipped character: three levels (16, 8 and 4 latents a side at 128 px), 11
million parameters in all."""


@dataclass(frozen=True)
class StagePlan:
    """One optimization: ``steps`` of AdamW.

    The rate is warmed up, then falls along a cosine to 2 % of ``learning_rate``.
    """

    steps: int
    batch: int
    learning_rate: float
    warmup: int = 300
    average: float = 0.998
    """Decay of the exponential moving average of the weights, which is what the stage
    leaves behind."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what comes out, but for the device."""

    name: str
    """What it is called on the command line."""
    architecture: Architecture = CHARACTER
    """The networks' sizes."""
    seed: int = 1
    """Of weights, data and batches."""
    size: int = 128
    """Side of the pictures in pixels."""
    window: int = 12
    """Frames of a training window."""
    voices: int = 600
    """Clips of speech."""
    faces: int = 24_000
    """Pictures for the VAE."""
    clips: int = 8_000
    """Moving people for the UNets."""
    clip_frames: int = 24
    """How long each of those people moves."""
    independent_noise: float = 0.2
    """Share of the windows whose frames have noise of their own; the others share one
    noise, as the checkpoint's sampler does."""
    audio: StagePlan = field(default_factory=lambda: StagePlan(2_500, 16, 1e-3, average=0.99))
    """The audio encoder's stage."""
    vae: StagePlan = field(default_factory=lambda: StagePlan(9_000, 64, 2e-3))
    """The picture networks' stage."""
    unets: StagePlan = field(
        default_factory=lambda: StagePlan(20_000, 32, 8e-4, warmup=500, average=0.9995)
    )
    """The talker's stage."""

    @property
    def digest(self) -> str:
        """Names the data and states that belong to this recipe."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]


_FULL = Recipe("full")
RECIPES = {
    "full": _FULL,
    # Every stage for a few steps: shows in a minute that all of it runs on this
    # machine.
    "smoke": replace(
        _FULL,
        name="smoke",
        voices=8,
        faces=64,
        clips=8,
        audio=StagePlan(4, 2, 1e-3, warmup=2),
        vae=StagePlan(6, 4, 1e-3, warmup=2),
        unets=StagePlan(6, 2, 1e-3, warmup=2),
    ),
}


def find_recipe(name: str) -> Recipe:
    """The recipe called ``name``.

    Raises:
        UnknownNameError: no recipe goes by that name.
    """
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, known=RECIPES)
    return RECIPES[name]
