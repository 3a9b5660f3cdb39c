"""The audio encoder for live: some seconds of sound, and a padding that is constant.

The checkpoint's encoder hears 30 s, most of it padding where sound is short. Every row
attends to that padding, so a short encoder without it gives other states. Its keys and
values depend little on the sound before it: here they are constants. Sound that is
shorter than what the encoder takes is followed by zeros, as in the checkpoint's, so which
rows are a frame's is told by an input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoexport.export.architecture import AudioArchitecture
from echoexport.export.subnets.audio_encoder import (
    AudioEncoder,
    AudioLayer,
    AudioLayers,
    SelfAttention,
)
from echoexport.export.subnets.layers import attend
from echoexport.runtime.contract.families.echomimic_v1 import LIVE_ROWS

__all__ = ["LiveAudioEncoder", "average_padding"]


class LiveSelfAttention(SelfAttention):
    """Attention that also sees the padding, whose keys and values are buffers."""

    padding_key: Tensor
    padding_value: Tensor

    def __init__(self, width: int, *, heads: int, padding: int) -> None:
        super().__init__(width, heads=heads)
        # not persistent: no checkpoint has them
        for name in ("padding_key", "padding_value"):
            self.register_buffer(name, torch.zeros(1, padding, width), persistent=False)

    def forward(self, x: Tensor, *, chosen: Tensor | None) -> Tensor:  # type: ignore[override]
        """(1, rows, width) to all rows, or to those that ``chosen`` (1, kept, rows) picks."""
        key = self.key(x)
        value = self.value(x)
        if self.padding_key.shape[1]:
            key = torch.cat([key, self.padding_key], dim=1)
            value = torch.cat([value, self.padding_value], dim=1)
        asking = x if chosen is None else chosen @ x
        return self.out(attend(self.query(asking), key, value, heads=self.heads))


class LiveAudioLayer(AudioLayer):
    """The same layer, of which some rows may be all that is wanted."""

    def __init__(self, width: int, *, heads: int, padding: int) -> None:
        super().__init__(width, heads=heads)
        self.attn = LiveSelfAttention(width, heads=heads, padding=padding)

    def forward(self, x: Tensor, *, chosen: Tensor | None) -> Tensor:  # type: ignore[override]
        """(1, rows, width) to all rows, or to those that ``chosen`` (1, kept, rows) picks."""
        before = x if chosen is None else chosen @ x
        return self.run_mlp(before + self.attn(self.attn_ln(x), chosen=chosen))


class LiveAudioLayers(AudioLayers):
    """The layers on the first rows of the position table."""

    def __init__(self, a: AudioArchitecture) -> None:
        super().__init__(a)
        self.rows = min(LIVE_ROWS, a.context)
        self.blocks = nn.ModuleList(
            LiveAudioLayer(a.width, heads=a.heads, padding=a.context - self.rows)
            for _ in range(a.layers)
        )

    def forward(self, mel: Tensor, chosen: Tensor) -> Tensor:  # type: ignore[override]
        """(1, mels, 2*rows + 1) to (1, layers + 1, kept, width).

        ``chosen`` (1, kept, rows) is 1 where a row is to be kept, and 0 elsewhere.
        """
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)[:, : self.rows]
        x = x + self.positional_embedding[: self.rows]
        states = [chosen @ x]
        *inner, last = self.blocks
        for block in inner:
            x = block(x, chosen=None)
            states.append(chosen @ x)
        states.append(last(x, chosen=chosen))  # nobody reads its other rows
        return torch.stack(states, dim=1)


class LiveAudioEncoder(AudioEncoder):
    """The wrapper that the checkpoint's names have."""

    def __init__(self, a: AudioArchitecture) -> None:
        nn.Module.__init__(self)
        self.encoder = LiveAudioLayers(a)

    def forward(self, mel: Tensor, chosen: Tensor) -> Tensor:  # type: ignore[override]
        """See :meth:`LiveAudioLayers.forward`."""
        states: Tensor = self.encoder(mel, chosen)
        return states


def average_padding(
    encoder: AudioEncoder, pieces: Iterable[np.ndarray]
) -> Mapping[str, np.ndarray]:
    """The padding's keys and values by the names of the live encoder's buffers.

    They are the mean over pieces of sound, each a log-mel (mels, 2*rows + 1), in the
    place that the live encoder's sound has, with zeros after it.
    """
    layers = encoder.encoder
    sums: dict[str, Tensor] = {}
    count = 0
    with torch.no_grad():
        for piece in pieces:
            count += 1
            for name, values in _project_padding(layers, piece):
                sums[name] = sums[name] + values if name in sums else values
    return {name: (values / count).float().numpy() for name, values in sums.items()}


def _project_padding(layers: AudioLayers, piece: np.ndarray) -> Iterable[tuple[str, Tensor]]:
    context = layers.positional_embedding.shape[0]
    padded = torch.zeros(1, piece.shape[0], 2 * context)
    length = min(piece.shape[1], 2 * context)
    padded[0, :, :length] = torch.from_numpy(piece[:, :length])
    states = layers(padded)
    first = min(LIVE_ROWS, context)
    for number, block in enumerate(cast("Iterable[AudioLayer]", layers.blocks)):
        normed = block.attn_ln(states[:, number, first:])
        stem = f"encoder.blocks.{number}.attn.padding"
        yield f"{stem}_key", block.attn.key(normed).double()
        yield f"{stem}_value", block.attn.value(normed).double()
