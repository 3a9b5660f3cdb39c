"""From trained modules to a checkpoint folder in the official layout, in fp16."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from echoexport.export.checkpoint.writer import CheckpointContents, write_checkpoint
from echoexport.export.demo.training.recipe import Recipe

MARK = (
    "# EchoExport's demo character: trained on drawings and synthetic speech by "
    "echoexport.export.demo.training."
)
SAMPLER = {"shared_noise": 1.0, "overlap": 1, "hold": 1}
"""Every frame starts from the same noise, as most training windows did, so that what
should stand still nearly does; what is left of its motion, a tenth of a level, is held
back. Windows that agree so well need little overlap."""


def publish_checkpoint(folder: Path, recipe: Recipe, *, modules: Mapping[str, nn.Module]) -> Path:
    """Write the six ``modules``, by the names of the networks, as an acc checkpoint.

    Raises:
        OutputError: the folder holds anything but an earlier checkpoint of this kind,
            or cannot be written.
    """
    wanted = CheckpointContents(recipe.architecture, "acc", mark=MARK, sampler=SAMPLER)
    return write_checkpoint(folder, wanted, lambda network: halve(modules[network].state_dict()))


def halve(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """fp16 copies that hold nothing but their own values."""
    return {
        key: value.detach().to("cpu", torch.float16).contiguous().clone()
        for key, value in tensors.items()
    }
