"""Motion modules: attention over the frames of a window, at every pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from echoexport.export.architecture import MotionArchitecture
from echoexport.export.subnets.layers import Attention, FeedForward, to_map, to_tokens


class PositionTable(nn.Module):
    """Sinusoidal positions of the frames in a window.

    Persistent, since the checkpoint carries them.
    """

    pe: Tensor

    def __init__(self, width: int, *, max_frames: int) -> None:
        super().__init__()
        self.register_buffer("pe", torch.zeros(1, max_frames, width))

    def forward(self, x: Tensor) -> Tensor:
        """(n, frames, width) plus the first ``frames`` rows."""
        return x + self.pe[:, : x.shape[1]]


class TemporalAttention(Attention):
    """Self-attention over frames; positions are in the query, the key and the value."""

    def __init__(self, width: int, *, heads: int, max_frames: int) -> None:
        super().__init__(width, heads=heads)
        self.pos_encoder = PositionTable(width, max_frames=max_frames)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(n, frames, width) in and out."""
        return super().forward(self.pos_encoder(x), context)


class TemporalBlock(nn.Module):
    """Normalized temporal attentions, then a feed-forward, each with its residual."""

    def __init__(self, width: int, motion: MotionArchitecture) -> None:
        super().__init__()
        count = motion.attention_blocks
        self.attention_blocks = nn.ModuleList(
            TemporalAttention(width, heads=motion.heads, max_frames=motion.max_frames)
            for _ in range(count)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-5) for _ in range(count))
        self.ff = FeedForward(width)
        self.ff_norm = nn.LayerNorm(width, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """(n, frames, width) in and out."""
        for attention, norm in zip(self.attention_blocks, self.norms, strict=True):
            x = attention(norm(x)) + x
        return self.ff(self.ff_norm(x)) + x


class TemporalTransformer(nn.Module):
    """GroupNorm per frame, projection, temporal blocks, projection, residual.

    The blocks go over the frames of each pixel.
    """

    def __init__(self, width: int, motion: MotionArchitecture) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(motion.norm_groups, width, eps=1e-6)
        self.proj_in = nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList(
            TemporalBlock(width, motion) for _ in range(motion.transformer_blocks)
        )
        self.proj_out = nn.Linear(width, width)

    def forward(self, x: Tensor, *, frames: int) -> Tensor:
        """(b*frames, c, h, w) in and out."""
        tokens = self.proj_in(to_tokens(self.norm(x)))
        pixels = tokens.shape[1]
        width = tokens.shape[2]
        by_pixel = (
            tokens.reshape(-1, frames, pixels, width).transpose(1, 2).reshape(-1, frames, width)
        )
        for block in self.transformer_blocks:
            by_pixel = block(by_pixel)
        by_frame = (
            by_pixel.reshape(-1, pixels, frames, width).transpose(1, 2).reshape(-1, pixels, width)
        )
        return to_map(self.proj_out(by_frame), like=x) + x


class MotionModule(nn.Module):
    """The wrapper that the checkpoint's names have."""

    def __init__(self, width: int, motion: MotionArchitecture) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer(width, motion)

    def forward(self, x: Tensor, *, frames: int) -> Tensor:
        """(b*frames, c, h, w) in and out."""
        return self.temporal_transformer(x, frames=frames)
