"""Soft-edged shapes laid over one another: what the demo's portrait is drawn with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "Colour",
    "Points",
    "Sketch",
    "ellipse",
    "lower",
    "mirror",
    "mix",
    "read_points",
    "round_corners",
    "thicken",
]

Points = NDArray[np.float64]  # (n, 2): x to the right, y down, in sides of the picture
Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]  # left, top, right, bottom in the pixels drawn in

# Drawn this many times larger and averaged down, which is what smooths the edges.
OVERSAMPLING = 3


class Sketch:
    """A picture being drawn: one soft-edged shape laid over the other."""

    def __init__(self, wall: NDArray[np.uint8]) -> None:
        """Start from a square picture, (side, side, 3), ``OVERSAMPLING`` times as large as what is wanted."""
        from PIL import Image

        self.side = wall.shape[0]
        self.picture = Image.fromarray(wall)

    def mask(self, outline: Points, *, box: Box | None = None) -> Image.Image:
        """What lies inside the outline, white on black: the whole picture's, or a box's of it."""
        from PIL import Image, ImageDraw

        left, top, right, bottom = box or (0, 0, self.side, self.side)
        mask = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(mask).polygon((outline * self.side - (left, top)).ravel().tolist(), fill=255)
        return mask

    def fill(
        self,
        outline: Points,
        colour: Colour,
        *,
        opacity: float = 1.0,
        blur: float = 0.0,
        within: Image.Image | None = None,
    ) -> None:
        """Lay a colour over a shape: ``blur`` is in sides of the picture, ``within`` a mask that cuts it."""
        from PIL import ImageChops, ImageFilter

        box = self._box_around(outline, margin=3 * blur)
        mask = self.mask(outline, box=box)
        if blur:
            mask = mask.filter(ImageFilter.GaussianBlur(blur * self.side))
        if within is not None:
            mask = ImageChops.multiply(mask, within.crop(box))
        if opacity < 1:
            mask = mask.point([round(value * opacity) for value in range(256)])
        self.picture.paste(colour, box, mask)

    def _box_around(self, outline: Points, *, margin: float) -> Box:
        """The pixels that a shape with a soft edge can touch."""
        first = np.floor((outline.min(axis=0) - margin) * self.side)
        last = np.ceil((outline.max(axis=0) + margin) * self.side) + 1
        left, top, right, bottom = np.clip([*first, *last], 0, self.side).astype(int).tolist()
        return left, top, right, bottom

    def finish(self) -> NDArray[np.uint8]:
        """The picture at its final size, uint8 (size, size, 3)."""
        return np.asarray(self.picture.reduce(OVERSAMPLING), dtype=np.uint8)


def read_points(text: str) -> Points:
    """Points from ``x,y`` pairs in thousandths of the picture's side."""
    return np.array([pair.split(",") for pair in text.split()], dtype=np.float64) / 1000


def mirror(points: Points) -> Points:
    """The same to the other side of the picture's middle."""
    return np.array((1.0, 0.0)) - points * (1, -1)


def lower(points: Points, *, by: float) -> Points:
    """The same, moved down."""
    return np.asarray(points + np.array((0.0, by)))


def round_corners(corners: Points, steps: int = 12) -> Points:
    """A closed Catmull-Rom spline through the corners, ``steps`` points to each span."""
    before, after, beyond = np.roll(corners, 1, 0), np.roll(corners, -1, 0), np.roll(corners, -2, 0)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    # Catmull and Rom, A class of local interpolating splines (1974), with the tension of one half.
    spline = 2 * corners + t * (after - before)
    spline = spline + t**2 * (2 * before - 5 * corners + 4 * after - beyond)
    spline = spline + t**3 * (3 * corners - before - 3 * after + beyond)
    return np.asarray(spline.transpose(1, 0, 2).reshape(-1, 2) / 2)


def thicken(course: Points, width: NDArray[np.float64]) -> Points:
    """The outline of a stroke along an open course, ``width`` to either side at each of its points."""
    along = np.gradient(course, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) * width[:, None]
    return np.concatenate([course - across, (course + across)[::-1]])


def ellipse(x: float, y: float, width: float, height: float) -> Points:
    """An ellipse around (x, y) with these half axes."""
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    return np.stack([x + width * np.cos(turn), y + height * np.sin(turn)], axis=1)


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """``share`` of the other colour in this one."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue
