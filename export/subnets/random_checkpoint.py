"""A checkpoint of random weights in the official layout, for the demo, tests and benchmarks."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import torch

from echoexport.export.architecture import (
    Architecture,
    AudioArchitecture,
    LandmarkArchitecture,
    MotionArchitecture,
    UNetArchitecture,
    VAEArchitecture,
)
from echoexport.export.checkpoint.writer import CheckpointContents, write_checkpoint
from echoexport.export.subnets.audio_encoder import position_sinusoids
from echoexport.export.subnets.networks import build_network, wanted_shapes

TINY = Architecture(
    unet=UNetArchitecture(
        widths=(32, 32, 64, 64),
        heads=(2, 2, 2, 2),
        layers_per_block=2,
        down_attention=(True, True, True, False),
        up_attention=(False, True, True, True),
        in_channels=4,
        out_channels=4,
        norm_groups=8,
        norm_eps=1e-5,
        audio_width=96,
        audio_ratio=3.0,
        linear_projection=False,
        motion=MotionArchitecture(
            heads=2,
            norm_groups=8,
            max_frames=32,
            attention_blocks=2,
            transformer_blocks=1,
            down=(True,) * 4,
            mid=True,
            up=(True,) * 4,
        ),
    ),
    vae=VAEArchitecture(
        widths=(16, 32, 32, 64),
        layers_per_block=1,
        picture_channels=3,
        latent_channels=4,
        norm_groups=8,
        scaling=0.18215,
    ),
    audio=AudioArchitecture(mels=80, context=1500, width=96, heads=2, layers=2),
    landmark=LandmarkArchitecture(
        in_channels=1, stem=16, channels=(16, 32, 32, 64, 64, 64), out_channels=32
    ),
)

_MARK = "# Random weights, made by echoexport to try the whole path: not a trained checkpoint."


def write_random_checkpoint(
    folder: Path, *, architecture: Architecture = TINY, variant: str = "acc", seed: int = 0
) -> Path:
    """Write every file that one variant needs.

    An older folder of random weights is replaced, at the end.

    Weights are normal, scaled by fan-in so that values keep their size from layer to
    layer; gains are about 1, position tables are the sinusoids that trained checkpoints
    carry. Returns ``folder``.

    Raises:
        OutputError: the folder holds anything but random weights, or cannot be written.
    """
    wanted = CheckpointContents(architecture, variant, mark=_MARK)
    return write_checkpoint(
        folder, wanted, lambda network: _random_tensors(architecture, network, seed=seed)
    )


def _random_tensors(a: Architecture, network: str, *, seed: int) -> dict[str, torch.Tensor]:
    shapes = wanted_shapes(build_network(network, a))
    return {
        key: torch.from_numpy(_random_values(f"{seed}:{network}:{key}", key, shape))
        for key, shape in shapes.items()
    }


def _random_values(name: str, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """One tensor, a function of its name and shape alone."""
    if key.endswith((".pe", "positional_embedding")):
        return position_sinusoids(shape)
    words = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    values = np.random.Generator(np.random.PCG64(words)).standard_normal(shape, dtype=np.float32)
    if len(shape) > 1:
        values /= np.float32(math.sqrt(math.prod(shape[1:])))
        return values
    return np.asarray(values * np.float32(0.05) + np.float32(key.endswith("weight")))
