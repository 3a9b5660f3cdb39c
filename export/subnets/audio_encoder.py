"""Whisper's encoder, with the states of all its layers stacked as the denoiser wants them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoexport.export.architecture import AudioArchitecture
from echoexport.export.subnets.layers import attend


class SelfAttention(nn.Module):
    """Whisper's attention: the key has no bias."""

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(1, rows, width) in and out."""
        return self.out(attend(self.query(x), self.key(x), self.value(x), heads=self.heads))


class AudioLayer(nn.Module):
    """Pre-normalized attention and a four times wider MLP."""

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.attn = SelfAttention(width, heads=heads)
        self.attn_ln = nn.LayerNorm(width, eps=1e-5)
        self.mlp = nn.ModuleList(
            [nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)]
        )
        self.mlp_ln = nn.LayerNorm(width, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """(1, rows, width) in and out."""
        return self.run_mlp(x + self.attn(self.attn_ln(x)))

    def run_mlp(self, x: Tensor) -> Tensor:
        """The second half: (1, rows, width) in and out."""
        y = self.mlp_ln(x)
        for layer in self.mlp:
            y = layer(y)
        return x + y


class AudioLayers(nn.Module):
    """Two convolutions, positions, and the layers. The final norm of Whisper is not used here."""

    positional_embedding: Tensor

    def __init__(self, a: AudioArchitecture) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(a.mels, a.width, 3, padding=1)
        self.conv2 = nn.Conv1d(a.width, a.width, 3, stride=2, padding=1)
        self.register_buffer("positional_embedding", torch.zeros(a.context, a.width))
        self.blocks = nn.ModuleList(AudioLayer(a.width, heads=a.heads) for _ in range(a.layers))

    def forward(self, mel: Tensor) -> Tensor:
        """(1, mels, 2*context) to (1, layers + 1, context, width)."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2) + self.positional_embedding
        states = [x]
        for block in self.blocks:
            states.append(block(states[-1]))
        return torch.stack(states, dim=1)


class AudioEncoder(nn.Module):
    """The wrapper that the checkpoint's names have."""

    def __init__(self, a: AudioArchitecture) -> None:
        super().__init__()
        self.encoder = AudioLayers(a)

    def forward(self, mel: Tensor) -> Tensor:
        """(1, mels, 2*context) log-mel to (1, layers + 1, context, width).

        The input embedding, then each layer.
        """
        return self.encoder(mel)


def position_sinusoids(shape: tuple[int, ...]) -> np.ndarray:
    """Rows of alternating sine and cosine, wavelengths from 2 pi to 10000 * 2 pi.

    ``shape`` ends with (positions, width). Trained position tables hold such values.
    """
    length, width = shape[-2:]
    angle = np.arange(length)[:, None] * np.exp(-math.log(10000.0) * np.arange(0, width, 2) / width)
    table = np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(length, -1)[:, :width]
    return table.reshape(shape).astype(np.float32)
