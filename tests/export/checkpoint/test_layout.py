"""Where a checkpoint's files lie: the names that others give are taken, another model is named."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from echoexport.export.architecture import Architecture
from echoexport.export.checkpoint.reader import open_checkpoint
from echoexport.export.subnets.networks import build_network, wanted_shapes
from echoexport.runtime.errors import CheckpointError

DENOISING = "denoising_unet_acc.safetensors"
LOCATOR = "face_locator.pth"
WHISPER = "audio_processor/whisper_tiny.pt"

PLAIN = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k.weight"


@pytest.mark.parametrize(
    ("official", "other"),
    [
        (WHISPER, "audio_processor/tiny.pt"),
        (WHISPER, "tiny.pt"),
        (DENOISING, "denoising_unet_acc.fp16.safetensors"),
        ("sd-vae-ft-mse", "vae"),
        ("sd-image-variations-diffusers/unet", "unet"),
    ],
)
def test_other_names_of_a_file_or_a_folder_are_taken(
    draft: Any, micro: Architecture, official: str, other: str
) -> None:
    folder = draft.write()
    (folder / official).rename(folder / other)
    checkpoint = open_checkpoint(folder, "acc")
    assert checkpoint.architecture == micro
    assert all(path.is_file() for path in checkpoint.files())


def test_a_folder_of_the_second_version_is_called_so(draft: Any) -> None:
    folder = draft.write()
    (folder / LOCATOR).rename(folder / "pose_encoder.pth")
    with pytest.raises(CheckpointError, match=r"pose_encoder\.pth: this is an EchoMimic V2"):
        open_checkpoint(folder, "acc")


def test_whole_numbers_are_no_weights(draft: Any) -> None:
    table = draft.tables[DENOISING]
    table[PLAIN] = table[PLAIN].to(torch.int32)
    checkpoint = draft.open()
    wanted = wanted_shapes(build_network("denoising_unet", checkpoint.architecture))
    with pytest.raises(CheckpointError, match=f"{DENOISING}: key '{PLAIN}' is int32; wanted float"):
        checkpoint.weights("denoising_unet", wanted)
