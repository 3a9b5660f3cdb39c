"""The audio encoder against the golden arrays of the original, and its table of positions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from echoexport.export.architecture import Architecture
from echoexport.export.checkpoint.reader import Checkpoint
from echoexport.export.subnets.audio_encoder import (
    AudioEncoder,
    SelfAttention,
    position_sinusoids,
)

TOLERANCE = 1e-4  # of each array's largest value; the official code in fp32 against ours


def test_the_audio_encoder_gives_the_golden_features(
    tiny_acc: Checkpoint, load_network: Any, goldens_tiny: Any, relative_error: Any
) -> None:
    mel = goldens_tiny["audio/log_mel"]
    padded = np.zeros((1, mel.shape[0], 3000), np.float32)
    padded[0, :, : mel.shape[1]] = mel
    with torch.no_grad():
        states = load_network(tiny_acc, "audio_encoder")(torch.from_numpy(padded)).numpy()[0]
    found = states[:, : mel.shape[1] // 2].swapaxes(0, 1)
    assert relative_error(found, goldens_tiny["audio/features"]) < TOLERANCE


def test_positions_alternate_sine_and_cosine_of_ever_longer_waves() -> None:
    table = position_sinusoids((3, 4))
    wanted = [[np.sin(p), np.cos(p), np.sin(p / 100), np.cos(p / 100)] for p in range(3)]
    np.testing.assert_allclose(table, wanted, rtol=1e-6)
    assert table.dtype == np.float32


def test_a_table_may_have_axes_before_its_positions() -> None:
    np.testing.assert_array_equal(position_sinusoids((1, 5, 6))[0], position_sinusoids((5, 6)))


def test_the_states_are_the_embedding_and_one_of_each_layer(micro: Architecture, fill: Any) -> None:
    audio = micro.audio
    encoder = fill(AudioEncoder(audio), 1)
    mel = torch.zeros(1, audio.mels, 2 * audio.context)
    with torch.no_grad():
        states = encoder(mel)
        deeper = encoder.encoder.blocks[0](states[:, 0])
    assert states.shape == (1, audio.layers + 1, audio.context, audio.width)
    torch.testing.assert_close(states[:, 1], deeper)


def test_whispers_key_projection_has_no_bias() -> None:
    attention = SelfAttention(8, heads=2)
    assert attention.key.bias is None
    assert all(layer.bias is not None for layer in (attention.query, attention.value))
