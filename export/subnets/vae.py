"""The VAE's two halves, each a network of its own."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from echoexport.export.architecture import VAEArchitecture
from echoexport.export.subnets.layers import (
    Attention,
    Downsample,
    Resnet,
    Upsample,
    to_map,
    to_tokens,
)

_EPS = 1e-6


def _resnet(width_in: int, width_out: int, a: VAEArchitecture) -> Resnet:
    return Resnet(width_in, width_out, groups=a.norm_groups, eps=_EPS)


class PictureAttention(Attention):
    """Single-head attention over all pixels, with its own norm and residual."""

    def __init__(self, width: int, *, groups: int) -> None:
        super().__init__(width, heads=1, bias=True)
        self.group_norm = nn.GroupNorm(groups, width, eps=_EPS)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(n, c, h, w) in and out."""
        return to_map(super().forward(to_tokens(self.group_norm(x)), context), like=x) + x


class MidBlock(nn.Module):
    """resnet, attention, resnet."""

    def __init__(self, a: VAEArchitecture) -> None:
        super().__init__()
        width = a.widths[-1]
        self.attentions = nn.ModuleList([PictureAttention(width, groups=a.norm_groups)])
        self.resnets = nn.ModuleList([_resnet(width, width, a), _resnet(width, width, a)])

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) in and out."""
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Level(nn.Module):
    """Resnets, then an optional resampler under the checkpoint's name for it."""

    def __init__(
        self, resnets: list[Resnet], *, down: Downsample | None = None, up: Upsample | None = None
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        if down is not None:
            self.downsamplers = nn.ModuleList([down])
        if up is not None:
            self.upsamplers = nn.ModuleList([up])

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) to the level's width and sides."""
        for layer in [
            *self.resnets,
            *getattr(self, "downsamplers", []),
            *getattr(self, "upsamplers", []),
        ]:
            x = layer(x)
        return x


class Encoder(nn.Module):
    """Picture to twice the latent channels (mean and log-variance), before ``quant_conv``."""

    def __init__(self, a: VAEArchitecture) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(a.picture_channels, a.widths[0], 3, padding=1)
        levels = []
        source = a.widths[0]
        for i, width in enumerate(a.widths):
            resnets = [
                _resnet(source if j == 0 else width, width, a) for j in range(a.layers_per_block)
            ]
            last = i + 1 == len(a.widths)
            levels.append(Level(resnets, down=None if last else Downsample(width, asymmetric=True)))
            source = width
        self.down_blocks = nn.ModuleList(levels)
        self.mid_block = MidBlock(a)
        self.conv_norm_out = nn.GroupNorm(a.norm_groups, source, eps=_EPS)
        self.conv_out = nn.Conv2d(source, 2 * a.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, H, W) to (n, 2*latent, H/8, W/8)."""
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nn.Module):
    """Latents (after ``post_quant_conv``) to a picture."""

    def __init__(self, a: VAEArchitecture) -> None:
        super().__init__()
        widths = a.widths[::-1]
        self.conv_in = nn.Conv2d(a.latent_channels, widths[0], 3, padding=1)
        self.mid_block = MidBlock(a)
        levels = []
        source = widths[0]
        for i, width in enumerate(widths):
            resnets = [
                _resnet(source if j == 0 else width, width, a)
                for j in range(a.layers_per_block + 1)
            ]
            last = i + 1 == len(widths)
            levels.append(Level(resnets, up=None if last else Upsample(width)))
            source = width
        self.up_blocks = nn.ModuleList(levels)
        self.conv_norm_out = nn.GroupNorm(a.norm_groups, source, eps=_EPS)
        self.conv_out = nn.Conv2d(source, a.picture_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, latent, h, w) to (n, 3, 8h, 8w)."""
        x = self.mid_block(self.conv_in(x))
        for level in self.up_blocks:
            x = level(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class VAEEncoder(nn.Module):
    """A picture's latents: the mean times the scaling factor; the log-variance is not used."""

    def __init__(self, a: VAEArchitecture) -> None:
        super().__init__()
        self.scaling = a.scaling
        self.latent_channels = a.latent_channels
        self.encoder = Encoder(a)
        self.quant_conv = nn.Conv2d(2 * a.latent_channels, 2 * a.latent_channels, 1)

    def moments(self, picture: Tensor) -> Tensor:
        """Mean, then log-variance (not clamped): (1, 2*latent, h, w)."""
        return self.quant_conv(self.encoder(picture))

    def forward(self, picture: Tensor) -> Tensor:
        """(1, 3, H, W) in [-1, 1] to scaled latents (1, latent, h, w)."""
        return self.moments(picture)[:, : self.latent_channels] * self.scaling


class VAEDecoder(nn.Module):
    """A picture from scaled latents; values are not clamped."""

    def __init__(self, a: VAEArchitecture) -> None:
        super().__init__()
        self.scaling = a.scaling
        self.post_quant_conv = nn.Conv2d(a.latent_channels, a.latent_channels, 1)
        self.decoder = Decoder(a)

    def forward(self, latents: Tensor) -> Tensor:
        """(1, latent, h, w) to (1, 3, H, W), about [-1, 1]."""
        return self.decoder(self.post_quant_conv(latents / self.scaling))
