"""The two UNets: one skeleton, walked by the reference (writer) and the denoiser (reader)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoexport.export.architecture import UNetArchitecture
from echoexport.export.subnets.layers import Downsample, Resnet, TimestepMLP, Upsample
from echoexport.export.subnets.motion import MotionModule
from echoexport.export.subnets.transformer import (
    BlockTap,
    DenoisingBlock,
    DenoisingContext,
    ReferenceBlock,
    SpatialTransformer,
)

MakeBlock = Callable[[int, int, str], nn.Module]
ApplyMotion = Callable[[MotionModule, Tensor], Tensor]


@dataclass(frozen=True)
class UNetLevel:
    """What one block of the skeleton is made of.

    Resnet widths (in, out), attention and motion or not.
    """

    resnets: tuple[tuple[int, int], ...]
    width: int
    heads: int
    attention: bool
    motion: bool
    resample: bool


def plan_down(a: UNetArchitecture) -> Iterator[UNetLevel]:
    """The down blocks, finest first."""
    source = a.widths[0]
    for i, width in enumerate(a.widths):
        pairs = tuple((source if j == 0 else width, width) for j in range(a.layers_per_block))
        motion = a.motion is not None and a.motion.down[i]
        yield UNetLevel(
            pairs, width, a.heads[i], a.down_attention[i], motion, resample=i + 1 < len(a.widths)
        )
        source = width


def plan_up(a: UNetArchitecture) -> Iterator[UNetLevel]:
    """The up blocks, coarsest first; each resnet also takes a skip."""
    widths = a.widths[::-1]
    heads = a.heads[::-1]
    previous = widths[0]
    for i, width in enumerate(widths):
        skips = [width] * a.layers_per_block + [widths[min(i + 1, len(widths) - 1)]]
        pairs = tuple(
            ((previous if j == 0 else width) + skip, width) for j, skip in enumerate(skips)
        )
        motion = a.motion is not None and a.motion.up[i]
        yield UNetLevel(
            pairs, width, heads[i], a.up_attention[i], motion, resample=i + 1 < len(widths)
        )
        previous = width


class Block(nn.Module):
    """Resnets, each followed by a transformer and a motion module where the level has them."""

    def __init__(
        self, a: UNetArchitecture, level: UNetLevel, path: str, *, make: MakeBlock
    ) -> None:
        super().__init__()
        time_width = 4 * a.time_width
        self.resnets = nn.ModuleList(
            Resnet(i, o, groups=a.norm_groups, eps=a.norm_eps, time_width=time_width)
            for i, o in level.resnets
        )
        if level.attention:
            self.attentions = nn.ModuleList(
                spatial_transformer(a, level, f"{path}.attentions.{j}", make=make)
                for j in range(len(level.resnets))
            )
        if level.motion and a.motion is not None:
            self.motion_modules = nn.ModuleList(
                MotionModule(level.width, a.motion) for _ in level.resnets
            )

    def layers(self) -> Iterator[tuple[nn.Module, nn.Module | None, nn.Module | None]]:
        """(resnet, transformer or None, motion module or None) in the order they run."""
        attentions = getattr(self, "attentions", None)
        motions = getattr(self, "motion_modules", None)
        for j, resnet in enumerate(self.resnets):
            yield resnet, attentions[j] if attentions else None, motions[j] if motions else None


class DownBlock(Block):
    """A level on the way down."""

    def __init__(
        self, a: UNetArchitecture, level: UNetLevel, path: str, *, make: MakeBlock
    ) -> None:
        super().__init__(a, level, path, make=make)
        if level.resample:
            self.downsamplers = nn.ModuleList([Downsample(level.width)])


class UpBlock(Block):
    """A level on the way up."""

    def __init__(
        self, a: UNetArchitecture, level: UNetLevel, path: str, *, make: MakeBlock
    ) -> None:
        super().__init__(a, level, path, make=make)
        if level.resample:
            self.upsamplers = nn.ModuleList([Upsample(level.width)])


class UNetMidBlock(nn.Module):
    """resnet, transformer, motion module, resnet at the coarsest level."""

    def __init__(self, a: UNetArchitecture, *, make: MakeBlock) -> None:
        super().__init__()
        width = a.widths[-1]
        time_width = 4 * a.time_width
        motion = a.motion is not None and a.motion.mid
        level = UNetLevel(
            ((width, width),), width, a.heads[-1], attention=True, motion=motion, resample=False
        )
        self.resnets = nn.ModuleList(
            Resnet(width, width, groups=a.norm_groups, eps=a.norm_eps, time_width=time_width)
            for _ in range(2)
        )
        self.attentions = nn.ModuleList(
            [spatial_transformer(a, level, "mid_block.attentions.0", make=make)]
        )
        if motion and a.motion is not None:
            self.motion_modules = nn.ModuleList([MotionModule(width, a.motion)])


def spatial_transformer(
    a: UNetArchitecture, level: UNetLevel, path: str, *, make: MakeBlock
) -> SpatialTransformer:
    """A transformer whose block comes from ``make(width, heads, path)``."""
    block = make(level.width, level.heads, path)
    return SpatialTransformer(
        level.width, block, groups=a.norm_groups, linear_projection=a.linear_projection
    )


class UNet(nn.Module):
    """The shared skeleton. A subclass says how a transformer and a motion module are applied."""

    def __init__(self, a: UNetArchitecture, *, make: MakeBlock) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(a.in_channels, a.widths[0], 3, padding=1)
        self.time_embedding = TimestepMLP(a.time_width, 4 * a.time_width)
        self.down_blocks = nn.ModuleList(
            DownBlock(a, level, f"down_blocks.{i}", make=make)
            for i, level in enumerate(plan_down(a))
        )
        self.mid_block = UNetMidBlock(a, make=make)
        self.up_blocks = nn.ModuleList(
            UpBlock(a, level, f"up_blocks.{i}", make=make) for i, level in enumerate(plan_up(a))
        )

    def walk(
        self, x: Tensor, time: Tensor, *, transform: Callable[[nn.Module, Tensor], Tensor]
    ) -> Tensor:
        """Down, mid and up; ``x`` is conv_in's output.

        ``transform`` applies a transformer or motion module.
        """

        def run(layer: tuple[nn.Module, nn.Module | None, nn.Module | None], x: Tensor) -> Tensor:
            resnet, *others = layer
            x = resnet(x, time)
            for module in others:
                x = x if module is None else transform(module, x)
            return x

        skips = [x]
        for down in cast("Iterable[DownBlock]", self.down_blocks):
            for layer in down.layers():
                x = run(layer, x)
                skips.append(x)
            if hasattr(down, "downsamplers"):
                x = down.downsamplers[0](x)
                skips.append(x)
        mid = self.mid_block
        motions = getattr(mid, "motion_modules", [None])
        x = run((mid.resnets[0], mid.attentions[0], motions[0]), x)
        x = mid.resnets[1](x, time)
        for up in cast("Iterable[UpBlock]", self.up_blocks):
            for layer in up.layers():
                x = run(layer, torch.cat([x, skips.pop()], dim=1))
            if hasattr(up, "upsamplers"):
                x = up.upsamplers[0](x, (skips[-1].shape[2], skips[-1].shape[3]))
        return x


class ReferenceUNet(UNet):
    """Runs once per portrait, at timestep 0, and gives each transformer's keys and values."""

    def __init__(self, a: UNetArchitecture) -> None:
        def make(width: int, heads: int, path: str) -> nn.Module:
            return ReferenceBlock(width, heads=heads, path=path)

        super().__init__(replace(a, motion=None), make=make)
        self.time_width = a.time_width

    def forward(self, latents: Tensor) -> tuple[Tensor, dict[str, BlockTap]]:
        """(1, 4, h, w) latents to the last up block's output and every block's tap, in order.

        The output itself is not used by the pipeline; it is there to be compared.
        """
        taps: dict[str, BlockTap] = {}

        def transform(module: nn.Module, x: Tensor) -> Tensor:
            if not isinstance(module, SpatialTransformer):
                raise TypeError(f"a reference UNet holds no {type(module).__name__}")
            block = cast("ReferenceBlock", module.transformer_blocks[0])
            tokens, taps[block.path] = block(module.enter(x))
            return module.leave(tokens, x)

        # timestep 0: cos(0) = 1 comes first, then sin(0) = 0
        half = self.time_width // 2
        sinusoid = torch.cat([latents.new_ones(1, half), latents.new_zeros(1, half)], dim=1)
        x = self.walk(self.conv_in(latents), self.time_embedding(sinusoid), transform=transform)
        return x, taps


class DenoisingUNet(UNet):
    """Velocity of noisy latents, given a reference, audio tokens and a face feature.

    The reference is there as its keys and values.
    """

    def __init__(self, a: UNetArchitecture) -> None:
        def make(width: int, heads: int, path: str) -> nn.Module:
            return DenoisingBlock(
                width, heads=heads, audio_width=a.audio_width, audio_ratio=a.audio_ratio, path=path
            )

        super().__init__(a, make=make)
        self.conv_norm_out = nn.GroupNorm(a.norm_groups, a.widths[0], eps=a.norm_eps)
        self.conv_out = nn.Conv2d(a.widths[0], a.out_channels, 3, padding=1)

    @property
    def paths(self) -> list[str]:
        """Module paths of the transformers, in registration order."""
        return [m.path for m in self.modules() if isinstance(m, DenoisingBlock)]

    def pair_reference(self, reference: Sequence[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Key and value by path, of key, value, key, value, ... in the order of paths."""
        pairs = zip(reference[::2], reference[1::2], strict=True)
        return dict(zip(self.paths, pairs, strict=True))

    def forward(
        self,
        latents: Tensor,
        sinusoid: Tensor,
        audio_tokens: Tensor,
        face_feature: Tensor,
        reference_gate: Tensor,
        reference: Mapping[str, tuple[Tensor, Tensor]],
        *,
        move: ApplyMotion | None = None,
    ) -> Tensor:
        """Velocity, shaped as ``latents``.

        latents (b, 4, f, h, w); sinusoid (1 or b, C0); audio_tokens (b, f, tokens,
        audio width); face_feature (b, C0, 1 or f, h, w); reference_gate (b,): 1 reads
        the reference, 0 does not; reference: block path to key and value, each (1 or b,
        h*w, c). ``move`` applies a motion module to (b*f, c, h, w) in place of the
        module's own way.
        """
        batch, channels, frames, height, width = latents.shape
        audio = audio_tokens.reshape(batch * frames, audio_tokens.shape[2], audio_tokens.shape[3])
        context = DenoisingContext(batch, frames, audio, reference_gate, dict(reference))
        time = self.time_embedding(sinusoid)
        if time.shape[0] > 1:
            time = time.repeat_interleave(frames, dim=0)

        def transform(module: nn.Module, x: Tensor) -> Tensor:
            if isinstance(module, SpatialTransformer):
                return module.leave(module.transformer_blocks[0](module.enter(x), context), x)
            motion = cast("MotionModule", module)
            return motion(x, frames=frames) if move is None else move(motion, x)

        x = self.conv_in(latents.transpose(1, 2).reshape(batch * frames, channels, height, width))
        x = self._add_face(x, face_feature, frames=frames)
        x = self.walk(x, time, transform=transform)
        x = self.conv_out(F.silu(self.conv_norm_out(x)))
        return x.reshape(batch, frames, -1, height, width).transpose(1, 2)

    @staticmethod
    def _add_face(x: Tensor, face_feature: Tensor, *, frames: int) -> Tensor:
        feature = face_feature.transpose(1, 2)
        x5 = x.reshape(-1, frames, *x.shape[1:]) + feature
        return x5.reshape(x.shape)
