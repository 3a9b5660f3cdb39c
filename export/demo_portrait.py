"""The demo's own portrait: a drawn face, so that a first run needs nobody's picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoexport.export.demo_sketch import (
    OVERSAMPLING,
    Colour,
    Points,
    Sketch,
    ellipse,
    lower,
    mirror,
    mix,
    read_points,
    round_corners,
    thicken,
)
from echoexport.runtime.errors import SettingError

__all__ = ["draw_portrait", "portrait_face_box"]

SMALLEST, LARGEST = 64, 2048

# Corner points of closed curves as `x,y`, in thousandths of the picture's side. HALVES are given by their
# left half, from the middle's top to the middle's bottom, PAIRS by the left one of two.
HALVES = {
    "face": "500,222 408,240 352,312 344,410 354,500 385,580 437,640 500,658",
    "neck": "500,560 428,560 430,660 424,725 385,768 420,860 500,900",
    "hair behind": "500,120 400,138 314,215 280,340 276,480 262,600 275,690 345,725 420,710 500,700",
    "shirt": "500,888 452,858 405,790 388,772 300,815 170,865 85,950 60,1100 500,1100",
    "upper lip": "500,567 489,563.5 468,567.5 439,574.5 470,578.5 500,582.5",
    "lower lip": "500,582 470,578.5 443,575 462,594 500,605.5",
    "mouth line": "500,581.2 469,577.5 434,571.5 468,580.2 500,584.3",
    "below lip": "500,614 478,616 500,628",
}
PAIRS = {
    "eye": "397,425 413,409 434,403.5 455,411 467,429.5 450,436.5 432,439 412,435.5",
    "upper lid": "389,427.5 411,406.5 434,400 457,408.5 470,431 456,414.5 434,407.5 413,413",
    "lower lid": "400,428 413,435.5 432,439 450,436.5 464,430.5 450,438.5 432,441 412,437.5",
    "crease": "398,407 416,393 437,388.5 459,397 438,391.5 416,396.5",
    "socket": "385,410 410,388 450,388 478,415 470,445 432,452 395,445",
    "brow": "379,382 402,362.5 432,356.5 466,366.5 467,376.5 434,369 404,372.5",
    "nostril": "481,524.5 488,519.5 495.5,524 488.5,527.5",
    "nose wing": "470,517 465,506 471,496 469,506 473,517 482,526.5",
    "cheek": "372,500 395,482 428,490 430,520 402,540 378,528",
    "collar": "392,766 420,815 458,858 500,888 492,925 430,880 376,800",
}
SINGLE = {
    "shaded side": "560,200 680,200 690,700 520,690 570,640 622,540 630,400 610,290",
    "lit forehead": "420,290 480,268 540,285 530,335 470,350 420,335",
    "nose side": "506,430 516,470 522,500 536,512 530,528 505,534 512,505 505,470",
    "nose bridge": "493,425 499,425 502,490 497,500 492,490",
    "nose tip": "488,503 497,497 505,503 497,512",
    "below nose": "468,526 500,533 532,526 520,546 500,550 480,546",
    "lip shine": "474,588 500,590 514,588 500,595",
    "chin shadow": "370,590 425,648 500,662 575,648 630,590 610,720 500,722 390,720",
}
# A wing of hair lies between two edges that run from the parting to the tip: the outer one and the face's.
WINGS = {
    "left": (
        "548,136 445,138 345,200 298,310 287,450 275,580 290,672 330,692",
        "562,222 520,240 435,280 364,342 345,430 346,530 354,620 336,694",
    ),
    "right": (
        "545,136 605,146 668,203 706,310 714,450 726,580 712,672 672,692",
        "562,222 585,240 620,288 645,345 657,430 655,530 648,620 668,694",
    ),
}
STRANDS = 34
IRIS_X = (0.4335, 0.5665)


@dataclass(frozen=True)
class Palette:
    """The colours of one sitter, RGB from 0 to 255."""

    skin: Colour
    shade: Colour
    blush: Colour
    lip: Colour
    hair: Colour
    gloss: Colour
    iris: Colour
    shirt: Colour
    wall: Colour

    @classmethod
    def read(cls, text: str) -> Palette:
        """From nine hexadecimal colours in the order of the fields."""
        rows = [bytes.fromhex(word) for word in text.split()]
        return cls(*((red, green, blue) for red, green, blue in rows))


PALETTES = (
    Palette.read("ecc1a5 aa6850 de7062 be5454 4a2e24 9c6a4c 4a7060 305870 a8c2c8"),
    Palette.read("c88f6a 7a4a34 c25c48 9c4640 2a2022 6c5450 4e3422 b87a34 cfc0aa"),
    Palette.read("f6d8c4 c48a70 ea8c7c c8605c b0682e e8ac68 567a9e 6c4a6c bdb6d0"),
    Palette.read("805440 462a20 8e4234 823c3a 1c1816 564844 362218 3e7860 b4c8ae"),
)
WHITE, EYE_WHITE, BLACK = (255, 255, 255), (246, 242, 238), (24, 18, 18)


def draw_portrait(size: int = 512, *, seed: int = 0) -> NDArray[np.uint8]:
    """A drawn face that looks at the viewer, uint8 (size, size, 3), RGB.

    ``seed`` picks the colours and the fall of the hair; the face lies in the same place for all of them.
    Raises SettingError for a size outside 64 to 2048.
    """
    _check_size(size)
    palette = PALETTES[seed % len(PALETTES)]
    sketch = Sketch(_paint_wall(size * OVERSAMPLING, palette))
    _draw_shoulders(sketch, palette)
    _draw_face(sketch, palette)
    _draw_eyes(sketch, palette)
    _draw_nose(sketch, palette)
    _draw_mouth(sketch, palette)
    _draw_hair(sketch, palette, rng=np.random.default_rng(seed))
    return sketch.finish()


def portrait_face_box(size: int = 512) -> tuple[int, int, int, int]:
    """The face of ``draw_portrait(size)``: x0, y0, x1, y1 in pixels, cheek to cheek and hairline to chin."""
    _check_size(size)
    outline = _shape("face") * size
    left, top = np.floor(outline.min(axis=0)).astype(int).tolist()
    right, bottom = np.ceil(outline.max(axis=0)).astype(int).tolist()
    return left, top, right, bottom


def _draw_shoulders(sketch: Sketch, palette: Palette) -> None:
    """Hair behind, neck with the head's shadow, and a shirt with a collar."""
    neck, shirt = _shape("neck"), _shape("shirt")
    sketch.fill(_shape("hair behind"), mix(palette.hair, BLACK, 0.4))
    sketch.fill(neck, mix(palette.skin, palette.shade, 0.18))
    on_neck = sketch.mask(neck)
    sketch.fill(_shape("chin shadow"), palette.shade, opacity=0.95, blur=0.014, within=on_neck)
    sketch.fill(ellipse(0.6, 0.72, 0.05, 0.12), palette.shade, opacity=0.5, blur=0.025, within=on_neck)
    sketch.fill(shirt, palette.shirt)
    on_shirt = sketch.mask(shirt)
    sketch.fill(ellipse(0.16, 1.02, 0.16, 0.12), BLACK, opacity=0.35, blur=0.05, within=on_shirt)
    sketch.fill(ellipse(0.86, 1.0, 0.2, 0.16), BLACK, opacity=0.45, blur=0.05, within=on_shirt)
    sketch.fill(ellipse(0.33, 0.87, 0.1, 0.05), WHITE, opacity=0.14, blur=0.03, within=on_shirt)
    for collar, light in zip(_both("collar"), (0.2, 0.1), strict=True):
        sketch.fill(lower(collar, by=0.008), BLACK, opacity=0.35, blur=0.008, within=on_shirt)
        sketch.fill(collar, mix(palette.shirt, WHITE, light))


def _draw_face(sketch: Sketch, palette: Palette) -> None:
    """The face, lit from the upper left."""
    light = mix(palette.skin, WHITE, 0.75)
    sketch.fill(_shape("face"), palette.skin)
    on_face = sketch.mask(_shape("face"))
    sketch.fill(_shape("shaded side"), palette.shade, opacity=0.5, blur=0.03, within=on_face)
    sketch.fill(_shape("lit forehead"), light, opacity=0.24, blur=0.03, within=on_face)
    sketch.fill(ellipse(0.52, 0.672, 0.085, 0.018), palette.shade, opacity=0.4, blur=0.01, within=on_face)
    sketch.fill(ellipse(0.495, 0.635, 0.028, 0.012), light, opacity=0.24, blur=0.01, within=on_face)
    for cheek, socket in zip(_both("cheek"), _both("socket"), strict=True):
        sketch.fill(cheek, palette.blush, opacity=0.36, blur=0.02, within=on_face)
        sketch.fill(socket, palette.shade, opacity=0.24, blur=0.012, within=on_face)
    sketch.fill(ellipse(0.405, 0.475, 0.028, 0.012), light, opacity=0.22, blur=0.012, within=on_face)


def _draw_eyes(sketch: Sketch, palette: Palette) -> None:
    """Eyes that look straight ahead and catch the same light, with lids and brows."""
    lashes, brow = mix(palette.hair, BLACK, 0.6), mix(palette.hair, palette.shade, 0.2)
    for x, eye, lid in zip(IRIS_X, _both("eye"), _both("upper lid"), strict=True):
        inside = sketch.mask(eye)
        sketch.fill(eye, EYE_WHITE)
        sketch.fill(ellipse(x, 0.421, 0.0185, 0.0185), mix(palette.iris, BLACK, 0.55), within=inside)
        sketch.fill(ellipse(x, 0.421, 0.016, 0.016), palette.iris, blur=0.001, within=inside)
        sketch.fill(ellipse(x, 0.427, 0.01, 0.007), WHITE, opacity=0.35, blur=0.003, within=inside)
        sketch.fill(ellipse(x, 0.421, 0.0078, 0.0078), BLACK, within=inside)
        sketch.fill(lower(lid, by=0.005), BLACK, opacity=0.4, blur=0.004, within=inside)
        sketch.fill(ellipse(x - 0.006, 0.4145, 0.0042, 0.0042), WHITE)
        sketch.fill(lid, lashes)
    for lid, crease, ridge in zip(_both("lower lid"), _both("crease"), _both("brow"), strict=True):
        sketch.fill(lid, palette.shade, opacity=0.7, blur=0.0006)
        sketch.fill(crease, palette.shade, opacity=0.7, blur=0.0008)
        sketch.fill(ridge, brow, opacity=0.9, blur=0.0014)


def _draw_nose(sketch: Sketch, palette: Palette) -> None:
    """The nose by its shadow, its light and its nostrils, with no outline."""
    light = mix(palette.skin, WHITE, 0.75)
    sketch.fill(_shape("nose side"), palette.shade, opacity=0.45, blur=0.007)
    sketch.fill(_shape("below nose"), palette.shade, opacity=0.35, blur=0.008)
    sketch.fill(_shape("nose bridge"), light, opacity=0.3, blur=0.006)
    sketch.fill(_shape("nose tip"), light, opacity=0.4, blur=0.005)
    for wing, nostril in zip(_both("nose wing"), _both("nostril"), strict=True):
        sketch.fill(wing, palette.shade, opacity=0.5, blur=0.0015)
        sketch.fill(nostril, mix(palette.shade, BLACK, 0.6), opacity=0.85, blur=0.001)


def _draw_mouth(sketch: Sketch, palette: Palette) -> None:
    """Closed lips with a trace of a smile."""
    sketch.fill(_shape("below lip"), palette.shade, opacity=0.45, blur=0.008)
    sketch.fill(_shape("upper lip"), mix(palette.lip, BLACK, 0.16), blur=0.0008)
    sketch.fill(_shape("lower lip"), palette.lip, blur=0.0008)
    sketch.fill(_shape("lip shine"), WHITE, opacity=0.45, blur=0.004)
    sketch.fill(_shape("mouth line"), mix(palette.lip, BLACK, 0.65), blur=0.0006)


def _draw_hair(sketch: Sketch, palette: Palette, *, rng: np.random.Generator) -> None:
    """Two wings of hair that part above one brow, with strands that follow their fall."""
    on_face = sketch.mask(_shape("face"))
    for edges in WINGS.values():
        outer, inner = (read_points(edge) for edge in edges)
        wing = round_corners(np.concatenate([outer, inner[::-1]]))
        sketch.fill(lower(wing, by=0.01), palette.shade, opacity=0.7, blur=0.01, within=on_face)
        sketch.fill(wing, palette.hair)
        on_wing = sketch.mask(wing)
        for _ in range(STRANDS):
            strand = _strand(outer + rng.random() * (inner - outer), thickness=rng.uniform(0.0008, 0.0028))
            colour = palette.gloss if rng.random() < 0.5 else mix(palette.hair, BLACK, 0.6)
            sketch.fill(strand, colour, opacity=rng.uniform(0.2, 0.55), within=on_wing)
        sketch.fill(_band(outer, inner), palette.gloss, opacity=0.45, blur=0.02, within=on_wing)
        sketch.fill(ellipse(outer[6, 0], 0.69, 0.07, 0.06), BLACK, opacity=0.4, blur=0.03, within=on_wing)


def _strand(fall: Points, *, thickness: float) -> Points:
    """A stroke along ``fall`` that thins out towards both ends."""
    # The ends come twice, since the spline is a closed one: its last two spans lead back to the start.
    course = round_corners(np.concatenate([fall[:1], fall, fall[-1:]]))[12:-24]
    return thicken(course, thickness * np.sin(np.linspace(0.1, np.pi, len(course))))


def _band(outer: Points, inner: Points) -> Points:
    """Where light lies across a wing of hair, below its crown."""
    across = np.linspace(0.12, 0.85, 8)[:, None]
    top, bottom = (outer[row] + across * (inner[row] - outer[row]) for row in (2, 3))
    return round_corners(np.concatenate([top, (0.55 * top + 0.45 * bottom)[::-1]]))


def _paint_wall(side: int, palette: Palette) -> NDArray[np.uint8]:
    """A plain wall with light behind the head, (side, side, 3)."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    glow = np.exp(-((x - 0.42) ** 2 + (y - 0.36) ** 2) / 0.18)[..., None]
    fall = (1.0 - 0.35 * y - 0.08 * x)[..., None]
    wall = np.array(palette.wall, np.float32) * fall
    return np.asarray(wall + (255 - wall) * 0.55 * glow, dtype=np.uint8)


def _shape(name: str) -> Points:
    """A curve of HALVES or SINGLE as a dense outline."""
    if name in SINGLE:
        return round_corners(read_points(SINGLE[name]))
    corners = read_points(HALVES[name])
    return round_corners(np.concatenate([corners, mirror(corners)[-2:0:-1]]))


def _both(name: str) -> tuple[Points, Points]:
    """A pair of PAIRS as dense outlines, the left one first."""
    outline = round_corners(read_points(PAIRS[name]))
    return outline, mirror(outline)


def _check_size(size: int) -> None:
    if not SMALLEST <= size <= LARGEST:
        raise SettingError(f"a portrait of {size} px cannot be drawn: give {SMALLEST} to {LARGEST}")
