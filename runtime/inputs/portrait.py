"""Reads the portrait and cuts out what the networks see: a face or the whole picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from echoexport.runtime.errors import PortraitError
from echoexport.runtime.inputs.picture_file import StoredPicture, read_picture
from echoexport.runtime.inputs.resize import Picture, Size, resize_picture

Box = tuple[float, float, float, float]
"""A face box (x0, y0, x1, y1) in pixels; it may reach over the picture's edge."""

Rect = tuple[int, int, int, int]
"""A rectangle (x0, y0, x1, y1) of whole pixels inside the picture, ends exclusive."""

LEAST_SIDE = 64  # pixels; below this there is no face worth enlarging
LEAST_FACE = 8  # pixels
MASK_MARGIN = 0.1  # of the box, on each side
CROP_MARGIN = 0.5


@dataclass(frozen=True)
class FaceCrop:
    """What the networks see of a portrait."""

    picture: Picture
    """(H,W,3) uint8 RGB."""
    mask: Picture
    """(H,W) uint8, 255 where the face may move."""
    rect: Rect
    """The part of the source picture that was cut out."""


def read_portrait(path: Path | str | StoredPicture) -> Picture:
    """Read a portrait as (H,W,3) uint8 RGB, turned upright as its EXIF orientation says.

    Grey, 16-bit, palette and CMYK pictures become RGB, in sRGB where an embedded profile
    says what their colours are; transparency lies over white; of an animation the first
    frame counts. A pipe is read to its end. Raises PortraitError naming the file for one
    that is missing, no picture, cut short, below 64 pixels on a side, or above 178
    megapixels.
    """
    picture = read_picture(path)
    _check_least_side(picture, name=str(path))
    return picture


def portrait_from_array(array: np.ndarray, *, name: str = "the portrait") -> Picture:
    """Take a portrait from memory: uint8 (H,W), (H,W,1), (H,W,3) RGB or (H,W,4) RGBA (over white).

    Gives (H,W,3) uint8. Raises PortraitError, calling the picture ``name``, for other
    types and shapes and for a side below 64 pixels.
    """
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4):
        found = f"{array.dtype} {array.shape}"
        raise PortraitError(
            f"{name} is {found}: wanted uint8 of shape (H,W), (H,W,1), (H,W,3) or (H,W,4)"
        )
    picture = array.reshape(*array.shape[:2], channels)
    _check_least_side(picture, name=name)
    if channels == 1:
        picture = np.repeat(picture, 3, axis=2)
    elif channels == 4:
        alpha = picture[..., 3:].astype(np.uint16)
        over_white = picture[..., :3] * alpha + 255 * (255 - alpha)
        picture = ((over_white + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(picture)


def crop_face(picture: Picture, box: Sequence[float], *, size: Size) -> FaceCrop:
    """Cut a face out of ``picture`` and resize it to ``size`` (W,H).

    ``box`` is the face's: x0, y0, x1, y1 in pixels.

    As the original does: the box is rounded half to even; the mask is 255 in the box
    grown by a tenth a side; the crop is the box grown by half a side, cut to the
    picture, and within it the largest rectangle of the target's shape about the centre
    (a square for W = H). Unlike the original's, a mask that would start left of or
    above the picture starts at its edge instead of wrapping round and coming out empty.
    Raises PortraitError, with box and picture size, for a box that cannot be used.
    """
    height, width = picture.shape[:2]
    face = _check_box(box, width=width, height=height)
    grown = _grow(face, margin=CROP_MARGIN, width=width, height=height)
    x0, y0, x1, y1 = rect = _fit_aspect(grown, size=size)
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    left, top, right, bottom = _grow(face, margin=MASK_MARGIN, width=width, height=height)
    mask[max(top - y0, 0) : max(bottom - y0, 0), max(left - x0, 0) : max(right - x0, 0)] = 255
    if not mask.any():
        raise PortraitError(
            f"{_name_box(box, width=width, height=height)}: too little of it is in the picture"
        )
    return FaceCrop(_cut(picture, rect, size=size), resize_picture(mask, size=size), rect)


def whole_picture(picture: Picture, *, size: Size) -> FaceCrop:
    """Use a picture without a known face.

    It gives the picture's centre, cut to the shape of ``size`` (W,H), with a full mask.
    A picture that already has that size passes through untouched.
    """
    height, width = picture.shape[:2]
    rect = _fit_aspect((0, 0, width, height), size=size)
    return FaceCrop(_cut(picture, rect, size=size), np.full(size[::-1], 255, np.uint8), rect)


def parse_face_box(text: str) -> Box:
    """Read ``"x0,y0,x1,y1"`` (pixels, decimals allowed). Raises PortraitError quoting the text."""
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError:
        raise PortraitError(
            f"face box {text!r}: wanted four numbers x0,y0,x1,y1 in pixels, such as 120,80,360,400"
        ) from None
    return x0, y0, x1, y1


def _check_least_side(picture: Picture, *, name: str) -> None:
    height, width = picture.shape[:2]
    if min(height, width) < LEAST_SIDE:
        raise PortraitError(
            f"{name} is {width}x{height}: the least size is {LEAST_SIDE}x{LEAST_SIDE} pixels"
        )


def _name_box(box: Sequence[float], *, width: int, height: int) -> str:
    return f"face box {','.join(f'{value:g}' for value in box)} in a picture of {width}x{height}"


def _check_box(box: Sequence[float], *, width: int, height: int) -> Rect:
    """The box in whole pixels, rounded half to even."""
    name = _name_box(box, width=width, height=height)
    if len(box) != 4 or not np.isfinite(box).all():
        raise PortraitError(f"{name}: wanted four finite numbers x0,y0,x1,y1")
    x0, y0, x1, y1 = (round(float(value)) for value in box)
    if x1 < x0 or y1 < y0:
        raise PortraitError(f"{name}: the first corner must lie left of and above the second")
    if min(x1 - x0, y1 - y0) < LEAST_FACE:
        raise PortraitError(
            f"{name}: a face needs at least {LEAST_FACE} pixels a side (not fractions of 1)"
        )
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        raise PortraitError(f"{name}: the box lies outside the picture")
    return x0, y0, x1, y1


def _grow(rect: Rect, *, margin: float, width: int, height: int) -> Rect:
    x0, y0, x1, y1 = rect
    wide = int((x1 - x0) * margin)
    high = int((y1 - y0) * margin)
    return max(x0 - wide, 0), max(y0 - high, 0), min(x1 + wide, width), min(y1 + high, height)


def _fit_aspect(rect: Rect, *, size: Size) -> Rect:
    """The largest rectangle of the shape of ``size`` about the centre of ``rect``, inside it."""
    x0, y0, x1, y1 = rect
    wide = x1 - x0
    high = y1 - y0
    scale = min(Fraction(wide, size[0]), Fraction(high, size[1]))
    wide = max(round(size[0] * scale), 1)
    high = max(round(size[1] * scale), 1)
    left = (x0 + x1) // 2 - wide // 2
    top = (y0 + y1) // 2 - high // 2
    return left, top, left + wide, top + high


def _cut(picture: Picture, rect: Rect, *, size: Size) -> Picture:
    x0, y0, x1, y1 = rect
    return np.ascontiguousarray(resize_picture(picture[y0:y1, x0:x1], size=size))
