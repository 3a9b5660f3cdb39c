"""Resizes pictures in numpy.

Bilinear as OpenCV does it, averaging first where a picture shrinks a lot.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from echoexport.runtime.errors import SettingError

Picture = npt.NDArray[np.uint8]
"""(H,W) or (H,W,C) uint8."""

Size = tuple[int, int]
"""(width, height) in pixels."""

COEFFICIENT = 2048  # OpenCV keeps bilinear weights as 11-bit integers
SHRINK_FROM = 4.0  # from this factor on, plain bilinear would skip more than half of the pixels


def resize_bilinear(picture: Picture, *, size: Size) -> Picture:
    """Resize to ``size`` (W,H) as ``cv2.resize`` does by default (INTER_LINEAR, 8 bits).

    Takes and gives (H,W) or (H,W,C) uint8; the same size comes back unchanged. The
    arithmetic is that of OpenCV's portable path: weights of 11 bits, the columns first,
    the rows with truncated products, and the mean of 2x2 pixels for exact halves. No
    smoothing: see :func:`resize_picture` for strong reductions.
    """
    width, height = _check_size(size)
    rows, columns = picture.shape[:2]
    if (columns, rows) == (width, height):
        return picture
    if (columns, rows) == (2 * width, 2 * height):
        return _halve(picture)
    top, bottom, weights_y = _samples(rows, height)
    left, right, weights_x = _samples(columns, width)
    # OpenCV gives an outermost column its whole weight, but blends an outermost row
    # with itself.
    weights_x[:, left == right] = [[COEFFICIENT], [0]]
    upper = _blend_columns(picture[top], left=left, right=right, weights=weights_x)
    lower = _blend_columns(picture[bottom], left=left, right=right, weights=weights_x)
    weights = weights_y.reshape(2, height, *[1] * (picture.ndim - 1))
    total = ((upper >> 4) * weights[0] >> 16) + ((lower >> 4) * weights[1] >> 16)
    return np.asarray((total + 2) >> 2, dtype=np.uint8)


def resize_picture(picture: Picture, *, size: Size) -> Picture:
    """Resize to ``size`` (W,H).

    Bilinear, after averaging whole boxes where a side shrinks 4 times or more.

    Bilinear looks at 2x2 pixels only, so a 4000-pixel face would come out full of
    aliases. Below a factor of four the result is :func:`resize_bilinear`'s, and with it
    the original's; from there on boxes of ``factor // 2`` pixels are averaged first,
    which leaves bilinear a factor between two and three.
    """
    width, height = _check_size(size)
    rows, columns = picture.shape[:2]
    boxes = (_box_side(rows / height), _box_side(columns / width))
    return resize_bilinear(average_boxes(picture, boxes=boxes), size=size)


def average_boxes(picture: Picture, *, boxes: tuple[int, int]) -> Picture:
    """Shrink by whole numbers.

    Each pixel is the rounded mean of a box of ``boxes`` (rows, columns) pixels.

    Boxes at the right and lower border hold what is left. Works a band of rows at a
    time, so that the memory it needs is small beside the picture.
    """
    high, wide = boxes
    if boxes == (1, 1):
        return picture
    rows, columns = picture.shape[:2]
    starts = np.arange(0, columns, wide)
    widths = np.diff(np.append(starts, columns)).reshape(-1, *[1] * (picture.ndim - 2))
    bands = []
    for top in range(0, rows, high):
        band = picture[top : top + high]
        sums = np.add.reduceat(band.sum(axis=0, dtype=np.uint32), starts, axis=0)
        counts = widths * len(band)
        bands.append(((sums + counts // 2) // counts).astype(np.uint8))
    return np.stack(bands)


def _check_size(size: Size) -> Size:
    if min(size) < 1:
        raise SettingError(
            f"a picture cannot be resized to {size[0]}x{size[1]}: both sides need a pixel"
        )
    return size


def _box_side(factor: float) -> int:
    return int(factor) // 2 if factor >= SHRINK_FROM else 1


def _halve(picture: Picture) -> Picture:
    wide = picture.astype(np.uint16)
    total = wide[0::2, 0::2] + wide[0::2, 1::2] + wide[1::2, 0::2] + wide[1::2, 1::2]
    return ((total + 2) >> 2).astype(np.uint8)


def _samples(
    source: int, target: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.int32]]:
    """Both neighbours of each target pixel's centre, and their weights (2, target).

    Weights are rounded as OpenCV rounds them.
    """
    centres = ((np.arange(target) + 0.5) * (source / target) - 0.5).astype(np.float32)
    before = np.floor(centres)
    part = centres - before
    weights = np.stack([np.rint((1 - part) * COEFFICIENT), np.rint(part * COEFFICIENT)]).astype(
        np.int32
    )
    first = before.astype(np.intp)
    return first.clip(0, source - 1), (first + 1).clip(0, source - 1), weights


def _blend_columns(
    rows: Picture,
    *,
    left: npt.NDArray[np.intp],
    right: npt.NDArray[np.intp],
    weights: npt.NDArray[np.int32],
) -> npt.NDArray[np.int32]:
    shaped = weights.reshape(2, -1, *[1] * (rows.ndim - 2))
    return np.asarray(rows[:, left] * shaped[0] + rows[:, right] * shaped[1], dtype=np.int32)
