"""The denoiser for live: new frames alone, with past ones as their motion features.

Frames meet in the motion modules only. What a past frame gives them at a step is its
normed features, before positions, which move; they are kept from the call in which it
was new. Source: Xing et al. 2024, Live2Diff, whose cache holds keys and values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from echoexport.export.subnets.layers import attend, to_map, to_tokens
from echoexport.export.subnets.motion import (
    MotionModule,
    TemporalAttention,
    TemporalBlock,
    TemporalTransformer,
)
from echoexport.export.subnets.unet import DenoisingUNet

_CLOSED = 256.0
"""Taken from a score, it leaves no weight, and the others all the digits of fp16."""


class LiveDenoisingUNet(DenoisingUNet):
    """The denoising UNet taking the past's gate and features as trailing arguments."""

    def forward(  # type: ignore[override]
        self,
        latents: Tensor,
        sinusoid: Tensor,
        audio: Tensor,
        face: Tensor,
        gate: Tensor,
        *rest: Tensor,
    ) -> tuple[Tensor, ...]:
        """As :class:`DenoisingUNet` for one batch of new frames.

        The reference comes as key, value, key, value, ... in the order of paths; then
        past_gate (1, p), 1 where a past frame is there, and each temporal
        attention's features of past frames (1, p, h*w, c), in the order they run. After
        the velocity come the same features for the next call.
        """
        count = 2 * len(self.paths)
        past_gate, *past = rest[count:]
        motion = _LiveMotion(past_gate, past, frames=latents.shape[2])
        velocity = super().forward(
            latents,
            sinusoid,
            audio,
            face,
            gate,
            self.pair_reference(rest[:count]),
            move=motion.move,
        )
        return (velocity, *motion.kept)


class _LiveMotion:
    """One call's motion modules, which take the past as they come to it and keep the new."""

    def __init__(self, past_gate: Tensor, past: Iterable[Tensor], *, frames: int) -> None:
        self.past: Iterator[Tensor] = iter(past)
        self.kept: list[Tensor] = []
        closed = (past_gate - 1.0) * _CLOSED
        mask = torch.cat([closed, past_gate.new_zeros(1, frames)], dim=1)
        self.mask = mask.reshape(1, 1, 1, mask.shape[1])

    def move(self, module: MotionModule, x: Tensor) -> Tensor:
        """(frames, c, h, w) in and out."""
        transformer: TemporalTransformer = module.temporal_transformer
        tokens = transformer.proj_in(to_tokens(transformer.norm(x)))
        for block in transformer.transformer_blocks:
            tokens = self._run_block(block, tokens)  # type: ignore[arg-type]
        return to_map(transformer.proj_out(tokens), like=x) + x

    def _run_block(self, block: TemporalBlock, x: Tensor) -> Tensor:
        """(frames, h*w, c) in and out."""
        for attention, norm in zip(block.attention_blocks, block.norms, strict=True):
            x = self._attend(attention, norm(x)) + x  # type: ignore[arg-type]
        return block.ff(block.ff_norm(x)) + x

    def _attend(self, attention: TemporalAttention, own: Tensor) -> Tensor:
        past = next(self.past)
        frames = past.shape[1]
        window = torch.cat([past.squeeze(0), own], dim=0)
        self.kept.append(window[-frames:][None])
        by_pixel = attention.pos_encoder(window.transpose(0, 1))
        y = attend(
            attention.to_q(by_pixel[:, frames:]),
            attention.to_k(by_pixel),
            attention.to_v(by_pixel),
            heads=attention.heads,
            mask=self.mask,
        )
        return attention.to_out[0](y).transpose(0, 1)
