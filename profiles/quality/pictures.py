"""How close pictures are to others: PSNR, SSIM and colour difference, each over a mask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from echoexport.profiles.quality.colour import ciede2000, rgb_to_lab
from echoexport.runtime.errors import InputError

__all__ = [
    "Match",
    "compare_pictures",
    "delta_e",
    "grow_mask",
    "mean_square",
    "psnr",
    "ssim",
    "ssim_map",
]

Pictures = NDArray[np.uint8]
"""(H, W, 3) or (n, H, W, 3) sRGB levels."""

Mask = NDArray[np.bool_]
"""(H, W), True where pixels count."""

# Equal pictures would have infinitely many, which no mean survives and JSON cannot
# write.
MOST_PSNR = 60.0
# of SSIM's Gaussian window
_TAPS = 11
_SIGMA = 1.5
_K1 = 0.01
_K2 = 0.03
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True)
class Match:
    """How close pictures are, as means over pictures."""

    ssim: float
    """Up to 1."""
    psnr: float
    """In dB."""
    delta_e: float
    """CIEDE2000, from 0."""


def compare_pictures(pictures: Pictures, reference: Pictures, mask: Mask | None = None) -> Match:
    """All three measures of pictures (n, H, W, 3) against one reference or as many.

    See each for what it means.
    """
    return Match(
        ssim=float(ssim(pictures, reference, mask).mean()),
        psnr=float(psnr(pictures, reference, mask).mean()),
        delta_e=float(delta_e(pictures, reference, mask).mean()),
    )


def psnr(pictures: Pictures, reference: Pictures, mask: Mask | None = None) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio in dB, one a picture (n,); at most 60.

    It is over the mask's pixels and all channels. ``reference`` is one picture for all
    or one for each. Raises InputError for shapes that do not fit.
    """
    error = np.maximum(mean_square(pictures, reference, mask), 1e-12)
    return np.asarray(np.minimum(10 * np.log10(255.0**2 / error), MOST_PSNR))


def mean_square(
    pictures: Pictures, reference: Pictures, mask: Mask | None = None
) -> NDArray[np.float64]:
    """The mean squared difference in levels, one a picture (n,), as :func:`psnr` takes it."""
    pairs = _choose_pixels(*_line_up(pictures, reference, mask))
    squares = (np.square(one.astype(np.float32) - other) for one, other in pairs)
    return np.array([square.mean(dtype=np.float64) for square in squares])


def ssim(pictures: Pictures, reference: Pictures, mask: Mask | None = None) -> NDArray[np.float64]:
    """Structural similarity of the luma, one a picture (n,).

    It is the mean of :func:`ssim_map` over the mask's pixels. Windows of pixels near
    the mask's edge reach five pixels across it: grow what is masked out where that
    matters.
    """
    several, others, where = _line_up(pictures, reference, mask)
    maps = (ssim_map(one, others[index % len(others)]) for index, one in enumerate(several))
    return np.array([found.reshape(-1)[where].mean(dtype=np.float64) for found in maps])


def ssim_map(one: Pictures, other: Pictures) -> NDArray[np.float32]:
    """Structural similarity around each pixel of two pictures (H, W, 3): (H, W) float32, up to 1.

    Formula: Z. Wang et al., "Image quality assessment: from error visibility to
    structural similarity", IEEE Trans. Image Processing 13 (2004), equation 13;
    Gaussian window of 11 x 11 pixels, sigma 1.5, K 0.01 and 0.03. At the picture's edge
    the window is cut and its weights made to add up to one again.
    """
    x = _read_luma(one)
    y = _read_luma(other)
    mean_x = _blur(x)
    mean_y = _blur(y)
    floor_mean = np.float32((_K1 * 255) ** 2)
    floor_spread = np.float32((_K2 * 255) ** 2)
    product = mean_x * mean_y
    powers = mean_x**2 + mean_y**2
    shared = _blur(x * y) - product
    spread = _blur(x * x + y * y) - powers
    found: NDArray[np.float32] = ((2 * product + floor_mean) * (2 * shared + floor_spread)) / (
        (powers + floor_mean) * (spread + floor_spread)
    )
    return found


def delta_e(
    pictures: Pictures, reference: Pictures, mask: Mask | None = None
) -> NDArray[np.float64]:
    """The mean CIEDE2000 colour difference, one a picture (n,), over the mask's pixels.

    A difference of 1 is just about seen.
    """
    several, others, where = _line_up(pictures, reference, mask)
    if len(others) == 1:  # read its colours once
        fixed = rgb_to_lab(others.reshape(-1, 3)[where])
        pairs = ((rgb_to_lab(picture.reshape(-1, 3)[where]), fixed) for picture in several)
    else:
        pairs = (
            (rgb_to_lab(one), rgb_to_lab(other))
            for one, other in _choose_pixels(several, others, where)
        )
    return np.array([ciede2000(one, other).mean(dtype=np.float64) for one, other in pairs])


def grow_mask(mask: Mask, *, pixels: int) -> Mask:
    """The mask (H, W) with every pixel that is at most so many rows and columns from it."""
    grown = mask.astype(bool, copy=True)
    for axis in (0, 1):
        source = grown.copy()
        for step in range(1, min(pixels, mask.shape[axis] - 1) + 1):
            ahead = [slice(None)] * 2
            behind = [slice(None)] * 2
            ahead[axis] = slice(step, None)
            behind[axis] = slice(None, -step)
            grown[tuple(ahead)] |= source[tuple(behind)]
            grown[tuple(behind)] |= source[tuple(ahead)]
    return grown


def _line_up(
    pictures: Pictures, reference: Pictures, mask: Mask | None
) -> tuple[Pictures, Pictures, NDArray[np.intp]]:
    """Both as batches, and the mask's pixels by their place in a flattened picture."""
    several = pictures if pictures.ndim == 4 else pictures[None]
    others = reference if reference.ndim == 4 else reference[None]
    shape = several.shape[1:]
    if (
        len(shape) != 3
        or shape[2] != 3
        or others.shape[1:] != shape
        or len(others) not in (1, len(several))
    ):
        raise InputError(
            f"pictures {pictures.shape} and reference {reference.shape}: wanted (n, H, W, 3) "
            "of one size"
        )
    if several.dtype != np.uint8 or others.dtype != np.uint8:
        raise InputError(f"pictures of {pictures.dtype} and {reference.dtype}: wanted uint8 levels")
    where = np.ones(shape[:2], bool) if mask is None else np.asarray(mask, dtype=bool)
    if where.shape != shape[:2] or not where.any():
        raise InputError(
            f"a mask {where.shape} with {int(where.sum())} pixels cannot choose from {shape[:2]}"
        )
    return several, others, np.flatnonzero(where)


def _choose_pixels(
    several: Pictures, others: Pictures, where: NDArray[np.intp]
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """The chosen pixels (m, 3) of each picture and of its reference.

    Pictures come one by one, which stay in the processor's cache.
    """
    for index, one in enumerate(several):
        yield one.reshape(-1, 3)[where], others[index % len(others)].reshape(-1, 3)[where]


def _read_luma(picture: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.asarray(picture.astype(np.float32) @ _LUMA)


def _blur(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """The plane (H, W) under the Gaussian window.

    Two products with a band matrix are quicker than eleven passes.
    """
    rows, columns = plane.shape
    return np.asarray(_window_matrix(rows) @ plane @ _window_matrix(columns).T)


@lru_cache(maxsize=16)
def _window_matrix(side: int) -> NDArray[np.float32]:
    distance = np.arange(side)[:, None] - np.arange(side)[None, :]
    weights = np.where(np.abs(distance) <= _TAPS // 2, np.exp(-0.5 * (distance / _SIGMA) ** 2), 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)
