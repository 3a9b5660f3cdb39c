"""Frames side by side, bundle under bundle, and what differs.

The pictures are such that a page can carry them inside itself.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from echoexport.profiles.quality.report import (
    Strip,
    StripRow,
)
from echoexport.runtime.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

__all__ = [
    "GAIN",
    "StripSettings",
    "choose_frames",
    "draw_closely",
    "draw_difference",
    "draw_strip",
]

GAIN = 16
"""How many times a difference is enlarged: nobody could see int8's two or three levels
otherwise."""

_GAP = 2  # pixels between frames
_PAPER = 128  # grey, like no difference
# Of JPEG, the first that fits; 4:4:4, since lips are red and small.
_QUALITIES = (88, 75, 60, 40, 20, 8)
# Of all rows together, so that three strips and a frame fit a page.
_STRIP_BYTES = 240_000
_CLOSE_BYTES = 320_000

_Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class StripSettings:
    """How frames are laid out; they are made smaller to fit, never larger."""

    frames: int = 6
    """In a strip."""
    side: int = 128
    """Largest side of a frame in a strip, pixels."""
    close_side: int = 256
    """Largest side of a frame that is shown large, pixels."""


def choose_frames(count: int, *, wanted: int) -> tuple[int, ...]:
    """At most so many of ``count`` frames, evenly spread, each in the middle of its part."""
    if count < 1 or wanted < 1:
        raise InputError(f"{wanted} of {count} frames: one of one is the least")
    shown = min(count, wanted)
    return tuple(int((index + 0.5) * count / shown) for index in range(shown))


def draw_strip(
    title: str,
    frames: Mapping[str, _Frames],
    *,
    numbers: tuple[int, ...],
    settings: StripSettings | None = None,
) -> Strip:
    """A strip of every label's frames (n, H, W, 3), those of ``numbers``.

    A last row shows how the last label's differ from the first's.

    Raises:
        InputError: fewer than two labels, or frames of other shapes than the first's.
    """
    return _draw(
        title, frames, numbers=numbers, side=(settings or StripSettings()).side, closely=False
    )


def draw_closely(
    title: str, frames: Mapping[str, _Frames], *, number: int, settings: StripSettings | None = None
) -> Strip:
    """One frame of every label, large, and the difference.

    It is packed without loss where that fits, else as :func:`draw_strip` does.
    """
    return _draw(
        title,
        frames,
        numbers=(number,),
        side=(settings or StripSettings()).close_side,
        closely=True,
    )


def draw_difference(frames: _Frames, reference: _Frames) -> _Frames:
    """``frames`` less ``reference``, times 16, about grey: uint8 of their shape."""
    difference = frames.astype(np.int16) - reference.astype(np.int16)
    return np.clip(_PAPER + GAIN * difference, 0, 255).astype(np.uint8)


def _draw(
    title: str, frames: Mapping[str, _Frames], *, numbers: tuple[int, ...], side: int, closely: bool
) -> Strip:
    chosen = {label: _take(several, numbers, label=label) for label, several in frames.items()}
    labels = list(chosen)
    if len(labels) < 2 or len({several.shape for several in chosen.values()}) != 1:
        shapes = ", ".join(f"{label} {several.shape}" for label, several in chosen.items())
        raise InputError(
            f"{title}: two bundles' frames of one shape are wanted, found {shapes or 'none'}"
        )
    # From the frames as they are; only what is shown is made smaller and packed.
    last = f"{labels[-1]} less {labels[0]}, x {GAIN}"
    chosen[last] = draw_difference(chosen[labels[-1]], chosen[labels[0]])
    most = (_CLOSE_BYTES if closely else _STRIP_BYTES) // len(chosen)
    rows = tuple(
        _encode_row(label, several, side=side, kind="png" if closely else "jpeg", most=most)
        for label, several in chosen.items()
    )
    return Strip(title, numbers, closely, rows)


def _take(frames: _Frames, numbers: tuple[int, ...], *, label: str) -> _Frames:
    if (
        frames.ndim != 4
        or frames.dtype != np.uint8
        or not 0 <= min(numbers) <= max(numbers) < len(frames)
    ):
        raise InputError(f"{label}: frames {frames.shape} of {frames.dtype} have no {numbers}")
    return frames[list(numbers)]


def _encode_row(label: str, frames: _Frames, *, side: int, kind: str, most: int) -> StripRow:
    row = _lay_out(frames, side=side)
    tries = [("png", 0)] * (kind == "png") + [("jpeg", quality) for quality in _QUALITIES]
    for found, quality in tries:
        data = _pack(row, found, quality=quality)
        if len(data) <= most:
            break
    return StripRow(
        label,
        f"data:image/{found};base64,{base64.b64encode(data).decode('ascii')}",
        row.width,
        row.height,
    )


def _lay_out(frames: _Frames, *, side: int) -> Picture:
    """Frames beside each other, made smaller where they are larger than ``side``."""
    from PIL import Image

    height, width = frames.shape[1:3]
    share = min(side / max(height, width), 1)
    size = max(round(width * share), 1), max(round(height * share), 1)
    row = Image.new("RGB", (len(frames) * (size[0] + _GAP) - _GAP, size[1]), (_PAPER,) * 3)
    for index, frame in enumerate(frames):
        picture = Image.fromarray(frame)
        shown = picture if picture.size == size else picture.resize(size, Image.Resampling.BOX)
        row.paste(shown, (index * (size[0] + _GAP), 0))
    return row


def _pack(row: Picture, kind: str, *, quality: int) -> bytes:
    target = io.BytesIO()
    if kind == "png":
        row.save(target, "png", optimize=True)
    else:  # not optimized: Pillow's buffer is too small then for a row that packs badly
        row.save(target, "jpeg", quality=quality, subsampling=0)
    return target.getvalue()


def read_strip(page: str) -> Strip | None:
    """The first strip of frames of a page that :func:`format_page` wrote.

    None where there is none.
    """
    figure = re.search(
        r'<figcaption>([^<]*)</figcaption>\n<div class="strip">\n(.*?)\n</div>\n</figure>',
        page,
        re.S,
    )
    if figure is None:
        return None
    row = (
        r'<span class="label">([^<]*)</span>'
        r'<img src="(data:image/[a-z]+;base64,[^"]*)" width="(\d+)" height="(\d+)"'
    )
    rows = tuple(
        StripRow(unescape(label), picture, int(width), int(height))
        for label, picture, width, height in re.findall(row, figure[2])
    )
    title, _, numbers = unescape(figure[1]).rpartition(", frames ")
    return Strip(title, tuple(int(number) for number in re.findall(r"\d+", numbers)), False, rows)
