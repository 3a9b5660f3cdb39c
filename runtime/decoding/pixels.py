"""From decoded pictures to 8-bit pixels, and pixels that hold still."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def hold_still(
    frame: NDArray[np.uint8], shown: NDArray[np.uint8] | None, *, levels: int
) -> NDArray[np.uint8]:
    """``frame`` with the pixels of ``shown`` wherever no channel differs by more than ``levels``.

    Both are (H, W, 3). A pixel is never further from its own value than ``levels``,
    however slowly it drifts.
    """
    if shown is None or not levels:
        return frame
    moved = np.maximum(frame, shown) - np.minimum(frame, shown) > levels
    either = moved[..., 0] | moved[..., 1] | moved[..., 2]
    return np.where(either[..., None], frame, shown)


def fade(one: NDArray[np.uint8], other: NDArray[np.uint8], *, share: float) -> NDArray[np.uint8]:
    """``share`` of ``other`` and the rest of ``one``, (H, W, 3) each, rounded."""
    mixed = one + np.float32(share) * (other - one.astype(np.float32))
    levels: NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    return levels


def to_pixels(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(1, 3, H, W) in about [-1, 1] to (H, W, 3) uint8.

    A value x becomes x / 2 + 0.5, clamped to [0, 1], times 255, cut (not rounded).
    """
    unit = np.clip(picture[0].astype(np.float32, copy=False) / 2 + np.float32(0.5), 0, 1)
    levels: NDArray[np.uint8] = (unit * 255).astype(np.uint8).transpose(1, 2, 0).copy()
    return levels
