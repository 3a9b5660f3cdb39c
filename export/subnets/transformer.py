"""Spatial transformers.

The reference UNet writes keys and values, the denoising UNet reads them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from echoexport.export.subnets.layers import Attention, FeedForward, to_map, to_tokens


@dataclass
class BlockTap:
    """Keys and values of one reference block, each (1, h*w, c)."""

    bank: Tensor
    key: Tensor
    value: Tensor


class Reader(nn.Module):
    """The denoising UNet's own key and value projections of a reference bank.

    They are applied once per portrait.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)

    def forward(self, bank: Tensor) -> BlockTap:
        """(1, h*w, c) bank to its keys and values."""
        return BlockTap(bank, self.to_k(bank), self.to_v(bank))


class ReferenceBlock(nn.Module):
    """norm1 (which is the bank), self-attention, feed-forward; no cross-attention."""

    def __init__(self, width: int, *, heads: int, path: str) -> None:
        super().__init__()
        self.path = path
        self.norm1 = nn.LayerNorm(width, eps=1e-5)
        self.attn1 = Attention(width, heads=heads)
        self.norm3 = nn.LayerNorm(width, eps=1e-5)
        self.ff = FeedForward(width)
        self.reader = Reader(width)

    def forward(self, x: Tensor) -> tuple[Tensor, BlockTap]:
        """(1, h*w, c) in and out, and what the denoiser will read."""
        normed = self.norm1(x)
        x = self.attn1(normed) + x
        return self.ff(self.norm3(x)) + x, self.reader(normed)


@dataclass
class DenoisingContext:
    """What every denoising block needs besides its tokens."""

    batch: int
    frames: int
    audio: Tensor
    """(b*f, tokens, audio width)."""
    gate: Tensor
    """(b,), 1 where the reference is read, 0 for the unconditional half."""
    reference: dict[str, tuple[Tensor, Tensor]]
    """Block path to its (1 or b, h*w, c) key and value."""

    def with_reference(self, own: Tensor, given: Tensor) -> Tensor:
        """Own keys (or values), followed by the reference's: (b*f, 2*h*w, c).

        Where the gate is closed, the own tokens stand in for the reference's: softmax
        over every token twice is softmax over every token once, so this is plain
        self-attention, exactly, with one graph for both.
        """
        own4 = own.reshape(self.batch, self.frames, own.shape[1], own.shape[2])
        reads = (self.gate > 0.5).reshape(self.batch, 1, 1, 1)
        other = torch.where(reads, given[:, None], own4)
        return torch.cat([own4, other], dim=2).reshape(own.shape[0], 2 * own.shape[1], own.shape[2])


class DenoisingBlock(nn.Module):
    """Self-attention over own and reference tokens, audio cross-attention, feed-forward.

    What the audio adds is multiplied by a ratio.
    """

    def __init__(
        self, width: int, *, heads: int, audio_width: int, audio_ratio: float, path: str
    ) -> None:
        super().__init__()
        self.path = path
        self.audio_ratio = audio_ratio
        self.norm1 = nn.LayerNorm(width, eps=1e-5)
        self.attn1 = Attention(width, heads=heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-5)
        self.attn2 = Attention(width, heads=heads, context_width=audio_width)
        self.norm3 = nn.LayerNorm(width, eps=1e-5)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, context: DenoisingContext) -> Tensor:
        """(b*f, h*w, c) in and out."""
        normed = self.norm1(x)
        key, value = context.reference[self.path]
        keys = context.with_reference(self.attn1.to_k(normed), key)
        values = context.with_reference(self.attn1.to_v(normed), value)
        x = self.attn1.attend_to(normed, keys, values) + x
        x = self.attn2(self.norm2(x), context.audio) * self.audio_ratio + x
        return self.ff(self.norm3(x)) + x


class SpatialTransformer(nn.Module):
    """GroupNorm, projection to tokens, one block, projection back, residual."""

    def __init__(
        self, width: int, block: nn.Module, *, groups: int, linear_projection: bool
    ) -> None:
        super().__init__()
        self.linear_projection = linear_projection
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.proj_in = nn.Linear(width, width) if linear_projection else nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList([block])
        self.proj_out = nn.Linear(width, width) if linear_projection else nn.Conv2d(width, width, 1)

    def enter(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to the block's (n, h*w, c) tokens."""
        x = self.norm(x)
        return self.proj_in(to_tokens(x)) if self.linear_projection else to_tokens(self.proj_in(x))

    def leave(self, tokens: Tensor, x: Tensor) -> Tensor:
        """The block's tokens back to a map, plus the residual ``x``."""
        if self.linear_projection:
            return to_map(self.proj_out(tokens), like=x) + x
        return self.proj_out(to_map(tokens, like=x)) + x
