"""Layers that the UNets, the VAE and the motion modules share.

Parameter names are the checkpoint's.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def attend(
    query: Tensor, key: Tensor, value: Tensor, *, heads: int, mask: Tensor | None = None
) -> Tensor:
    """Multi-head attention of (batch, tokens, width) tensors.

    Scale is head_width ** -0.5. A mask is added to the scores, (batch, heads, queries,
    keys) or what spreads to that.
    """
    batch, tokens, width = query.shape
    q, k, v = (
        t.reshape(batch, t.shape[1], heads, width // heads).transpose(1, 2)
        for t in (query, key, value)
    )
    y = F.scaled_dot_product_attention(q, k, v, mask)
    return y.transpose(1, 2).reshape(batch, tokens, width)


class Attention(nn.Module):
    """Projections around :func:`attend`; ``context`` defaults to the input itself."""

    def __init__(
        self, width: int, *, heads: int, context_width: int | None = None, bias: bool = False
    ) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=bias)
        self.to_k = nn.Linear(context_width or width, width, bias=bias)
        self.to_v = nn.Linear(context_width or width, width, bias=bias)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(batch, tokens, width) in and out; ``context`` is (batch, tokens, context width)."""
        context = x if context is None else context
        return self.attend_to(x, self.to_k(context), self.to_v(context))

    def attend_to(self, x: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention over keys and values that are projected already."""
        return self.to_out[0](attend(self.to_q(x), key, value, heads=self.heads))


class GatedGELU(nn.Module):
    """One projection to a value and a gate: value * gelu(gate), with the exact (erf) gelu."""

    def __init__(self, width: int, *, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to (..., hidden)."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """Gated feed-forward of four times the width.

    ``net.1`` is the dropout of the original, which is idle.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.ModuleList(
            [GatedGELU(width, hidden=4 * width), nn.Identity(), nn.Linear(4 * width, width)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) to (..., width)."""
        for layer in self.net:
            x = layer(x)
        return x


class Resnet(nn.Module):
    """Two normalized convolutions with a shortcut.

    ``time_width`` adds a projected time embedding between them.
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        *,
        groups: int,
        eps: float,
        time_width: int | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, width_in, eps=eps)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_width, width_out) if time_width else None
        self.norm2 = nn.GroupNorm(groups, width_out, eps=eps)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(width_in, width_out, 1) if width_in != width_out else None

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """(n, width_in, h, w) to (n, width_out, h, w); ``time`` is (1 or n, time_width)."""
        y = self.conv1(F.silu(self.norm1(x)))
        if self.time_emb_proj is not None and time is not None:
            y = y + self.time_emb_proj(F.silu(time))[:, :, None, None]
        y = self.conv2(F.silu(self.norm2(y)))
        return y + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Downsample(nn.Module):
    """Halves the sides.

    The VAE pads right and bottom only (``asymmetric``), the UNets all round.
    """

    def __init__(self, width: int, *, asymmetric: bool = False) -> None:
        super().__init__()
        self.asymmetric = asymmetric
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=0 if asymmetric else 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, width, h, w) to about half the sides."""
        if self.asymmetric:
            x = F.pad(x, (0, 1, 0, 1))
        return self.conv(x)


class Upsample(nn.Module):
    """Nearest neighbour to twice the sides, then 3x3.

    Or to ``size``, the skip's, where a side was odd.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """(n, width, h, w) to (n, width, *size)."""
        doubled = (2 * x.shape[2], 2 * x.shape[3])
        if size is None or tuple(size) == doubled:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        else:
            x = F.interpolate(x, size=size, mode="nearest")
        return self.conv(x)


class TimestepMLP(nn.Module):
    """The learned half of the timestep embedding; the sinusoid is computed by the caller."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, hidden)
        self.linear_2 = nn.Linear(hidden, hidden)

    def forward(self, sinusoid: Tensor) -> Tensor:
        """(n, width) to (n, hidden)."""
        return self.linear_2(F.silu(self.linear_1(sinusoid)))


def to_tokens(x: Tensor) -> Tensor:
    """(n, c, h, w) to (n, h*w, c)."""
    return x.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, *, like: Tensor) -> Tensor:
    """(n, h*w, c) to (n, c, h, w) with the sides of ``like``."""
    return tokens.transpose(1, 2).reshape(
        tokens.shape[0], tokens.shape[2], like.shape[2], like.shape[3]
    )
