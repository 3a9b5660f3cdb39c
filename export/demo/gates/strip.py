"""A clip at a glance: some frames above the waveform and both openness curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from echoexport.export.demo.gates.clips import ClipResult
from echoexport.runtime.errors import InputError
from echoexport.runtime.files.aside import refuse_output, replaced_file

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

__all__ = ["draw_clip_strip"]

FRAME_SIDE = 96  # of a frame in the strip, pixels
# heights of the rows
TITLE = 16
WAVE = 44
CURVES = 60
PAPER = "#ffffff"
INK = "#333333"
_SOUND = "#9aa7b5"
TRUTH = "#2b8a3e"
MEASURED = "#d9480f"


def draw_clip_strip(
    path: Path,
    frames: NDArray[np.uint8],
    samples: NDArray[np.int16],
    *,
    result: ClipResult,
    every: int = 5,
) -> None:
    """Write a PNG of some frames, with the sound and the result's curves under them.

    Shown is every ``every``-th of the frames (n, H, W, 3).

    Green is the true openness, orange the measured one. Raises InputError for no
    frames, OutputError.
    """
    from PIL import Image, ImageDraw

    shown = frames[::every]
    if not len(shown):
        raise InputError("no frames to draw a strip of")
    width = FRAME_SIDE * len(shown)
    picture = Image.new("RGB", (width, TITLE + FRAME_SIDE + WAVE + CURVES), PAPER)
    for index, frame in enumerate(shown):
        picture.paste(
            Image.fromarray(frame).resize((FRAME_SIDE, FRAME_SIDE)), (index * FRAME_SIDE, TITLE)
        )
    pen = ImageDraw.Draw(picture)
    pen.text((4, 2), _name_clip(result), fill=INK)
    _draw_wave(pen, samples, width=width, top=TITLE + FRAME_SIDE)
    # The last frame shown stands for frames up to the next one, which may be fewer than
    # there is room for.
    share = len(frames) / (len(shown) * every)
    for curve, colour in ((result.truth, TRUTH), (result.measured, MEASURED)):
        _draw_curve(pen, curve, colour=colour, width=width * share, top=TITLE + FRAME_SIDE + WAVE)
    with replaced_file(path, parents=True, refuse=refuse_output) as aside:
        picture.save(aside, "png")


def _name_clip(result: ClipResult) -> str:
    found = (
        "silent"
        if result.correlation is None
        else f"r = {result.correlation:.2f}, lag {result.lag}"
    )
    who = f"{result.name}, {result.voice or 'nobody'}, person {result.person}"
    return f"{who}: {found}; truth green, measured orange"


def _draw_wave(pen: ImageDraw, samples: NDArray[np.int16], *, width: int, top: int) -> None:
    """Loudest and softest sample of each column."""
    middle = top + WAVE / 2
    loudest = max(int(np.abs(samples.astype(np.int32)).max(initial=0)), 1)
    for x, part in enumerate(np.array_split(samples.astype(np.int32), width)):
        if len(part):
            high, low = (
                middle - value / loudest * (WAVE / 2 - 2) for value in (part.max(), part.min())
            )
            pen.line([(x, high), (x, low)], fill=_SOUND)


def _draw_curve(
    pen: ImageDraw, curve: Sequence[float], *, colour: str, width: float, top: int
) -> None:
    x = (np.arange(len(curve)) + 0.5) / len(curve) * width
    y = top + CURVES - 4 - np.clip(curve, 0, 1.1) * (CURVES - 8) / 1.1
    pen.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=colour, width=2)
