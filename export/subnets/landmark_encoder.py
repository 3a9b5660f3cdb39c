"""The face locator: where the face is (mask) or how it is posed (maps), at the latents' size."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from echoexport.export.architecture import LandmarkArchitecture


class LandmarkEncoder(nn.Module):
    """3x3 convolutions with SiLU between them; blocks 1, 3, 5, ... halve the sides."""

    def __init__(self, a: LandmarkArchitecture) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(a.in_channels, a.stem, 3, padding=1)
        sources = (a.stem, *a.channels)
        self.blocks = nn.ModuleList(
            nn.Conv2d(source, width, 3, padding=1, stride=1 + i % 2)
            for i, (source, width) in enumerate(zip(sources, a.channels, strict=False))
        )
        self.conv_out = nn.Conv2d(a.channels[-1], a.out_channels, 3, padding=1)

    def forward(self, face_map: Tensor) -> Tensor:
        """(n, 1 or 3, H, W) in [0, 1] to (n, C0, H/8, W/8)."""
        x = F.silu(self.conv_in(face_map))
        for block in self.blocks:
            x = F.silu(block(x))
        return self.conv_out(x)
