"""Places MediaPipe's 478 face landmarks on a drawn face.

Eyes, brows, pupils, nose, lips, outline by number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoexport.export.demo.world.eyes import trace_brow, trace_lids
from echoexport.export.demo.world.mouth import measure_mouth, trace_lips
from echoexport.export.demo.world.scene import JAW_DROP, Pose, Traits, check_batch, find_pose
from echoexport.export.demo.world.shapes import smoothstep
from echoexport.runtime.inputs.pose_topology import LANDMARKS

__all__ = ["draw_landmarks"]

_Floats = NDArray[np.float32]
Places = tuple[_Floats, _Floats]

# Numbers in MediaPipe's order of points; "right" is the person's right, the left of the
# picture. Lids and brows run from the nose outwards, lips from the picture's left to
# its right, the outline clockwise from the forehead.
UPPER_LID = {
    "right": (133, 173, 157, 158, 159, 160, 161, 246, 33),
    "left": (362, 398, 384, 385, 386, 387, 388, 466, 263),
}
LOWER_LID = {
    "right": (155, 154, 153, 145, 144, 163, 7),
    "left": (382, 381, 380, 374, 373, 390, 249),
}
BROW_TOP = {"right": (107, 66, 105, 63, 70), "left": (336, 296, 334, 293, 300)}
BROW_BOTTOM = {"right": (55, 65, 52, 53, 46), "left": (285, 295, 282, 283, 276)}
IRIS = {"right": (468, 469, 470, 471, 472), "left": (473, 474, 475, 476, 477)}
OUTER_TOP = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
OUTER_BOTTOM = (146, 91, 181, 84, 17, 314, 405, 321, 375)
INNER_TOP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
INNER_BOTTOM = (95, 88, 178, 87, 14, 317, 402, 318, 324)
NOSE_LINE = (168, 6, 197, 195, 5, 4, 1, 19, 94, 2)
NOSE_SIDES = {
    48: (-1.0, -0.1),
    64: (-0.9, 0.3),
    98: (-0.6, 0.5),
    97: (-0.25, 0.55),
    326: (0.25, 0.55),
    327: (0.6, 0.5),
    294: (0.9, 0.3),
    278: (1.0, -0.1),
}
OUTLINE = (
    10,
    338,
    297,
    332,
    284,
    251,
    389,
    356,
    454,
    323,
    361,
    288,
    397,
    365,
    379,
    378,
    400,
    377,
    152,
    148,
    176,
    149,
    150,
    136,
    172,
    58,
    132,
    93,
    234,
    127,
    162,
    21,
    54,
    103,
    67,
    109,
)
SIDES = {"right": -1.0, "left": 1.0}
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5.0))


def draw_landmarks(people: _Floats, states: _Floats, *, size: int) -> _Floats:
    """Landmarks of people (n,P) in states (n,8), as (n,478,2) in numpy.

    They are x and y in pixels of a ``size`` picture. Points that no name above covers
    are spread over the face. Raises SettingError for shapes that do not fit.
    """
    check_batch(people, states, size=size)
    traits = Traits(people, states)
    pose = find_pose(traits)
    sheet = Sheet(pose, np.zeros((len(people), LANDMARKS, 2), np.float32))
    place_outline(sheet, traits)
    for side in SIDES:
        place_eye(sheet, traits, side)
    place_lips(sheet, traits)
    place_nose(sheet, traits)
    return (sheet.points * size).astype(np.float32)


@dataclass(frozen=True)
class Sheet:
    """Landmarks as they are filled in: shares of the picture's side, (n,478,2)."""

    pose: Pose
    points: _Floats

    def put(self, numbers: tuple[int, ...], x: _Floats, y: _Floats) -> None:
        """Set landmarks from places (n,1,k) on the face."""
        self._write(numbers, *self.pose.face_to_picture(x, y))

    def put_on_head(self, numbers: tuple[int, ...], x: _Floats, y: _Floats) -> None:
        """Set landmarks from places (n,1,k) on the head."""
        self._write(numbers, *self.pose.to_picture(x, y))

    def _write(self, numbers: tuple[int, ...], x: _Floats, y: _Floats) -> None:
        across, down = np.broadcast_arrays(x, y)
        self.points[:, list(numbers)] = np.stack([across[:, 0], down[:, 0]], axis=-1)


def spread(start: float, end: float, *, count: int) -> _Floats:
    """Even steps, (1,1,count)."""
    return np.linspace(start, end, count, dtype=np.float32)[None, None]


def listed(*values: float) -> _Floats:
    """Given steps, (1,1,count)."""
    return np.asarray(values, np.float32)[None, None]


def place_outline(sheet: Sheet, traits: Traits) -> None:
    """The outline, and all points inside it that nothing else places, in a sunflower's pattern."""
    turns = spread(0, 2 * np.pi, count=len(OUTLINE) + 1)[..., :-1]
    sheet.put_on_head(OUTLINE, *find_rim(traits, np.sin(turns), -np.cos(turns)))
    named = {
        *OUTLINE,
        *NOSE_LINE,
        *NOSE_SIDES,
        *OUTER_TOP,
        *OUTER_BOTTOM,
        *INNER_TOP,
        *INNER_BOTTOM,
    }
    for group in (UPPER_LID, LOWER_LID, BROW_TOP, BROW_BOTTOM, IRIS):
        named.update(*group.values())
    rest = tuple(number for number in range(LANDMARKS) if number not in named)
    steps = np.arange(len(rest), dtype=np.float32)[None, None]
    radius = 0.95 * np.sqrt((steps + 0.5) / len(rest))
    angle = steps * np.float32(GOLDEN_ANGLE)
    sheet.put_on_head(rest, *find_rim(traits, radius * np.cos(angle), radius * np.sin(angle)))


def find_rim(traits: Traits, across: _Floats, down: _Floats) -> Places:
    """Places on the head for places on the unit disc.

    The disc's rim is the face's outline, its top the hair line.
    """
    y = np.where(down > 0, traits.chin, 0.80 * traits.skull) * down
    narrow = 1 - traits.taper * (y / traits.chin).clip(0, 1) ** 2
    fallen = smoothstep((y - traits.mouth_y) / (traits.chin - 0.03 - traits.mouth_y))
    return traits.head_width * narrow * across, y + JAW_DROP * traits.openness * fallen


def place_eye(sheet: Sheet, traits: Traits, side: str) -> None:
    """Lids, brow and iris of one side."""
    sign = SIDES[side]

    def put(numbers: tuple[int, ...], away: _Floats, down: _Floats) -> None:
        sheet.put(numbers, sign * (traits.eye_x + away), traits.eye_y + down)

    for numbers, reach, edge in ((UPPER_LID[side], 1.0, 0), (LOWER_LID[side], 0.75, 1)):
        across = spread(-reach, reach, count=len(numbers))
        away = across * traits.eye_width
        put(numbers, away, trace_lids(traits, across)[edge] - traits.eye_slant * away)
    for brow, direction in ((BROW_TOP[side], -1), (BROW_BOTTOM[side], 1)):
        across = spread(-0.9, 0.9, count=len(brow))
        middle, half = trace_brow(traits, across)
        put(brow, across * traits.brow_width, middle + direction * half)
    right = listed(0, 1, 0, -1, 0)
    down = listed(0, 0, -1, 0, 1)
    put(
        IRIS[side],
        sign * right * traits.iris_size,
        down * traits.iris_size - 0.10 * traits.eye_height,
    )


def place_lips(sheet: Sheet, traits: Traits) -> None:
    """Both edges of both lips."""
    shape = measure_mouth(traits)

    def put(numbers: tuple[int, ...], reach: float, edge: str) -> None:
        across = spread(-reach, reach, count=len(numbers))
        height = getattr(trace_lips(traits, shape, across), edge) - shape.smile * across**2
        sheet.put(numbers, across * shape.width, traits.mouth_y + height)

    put(OUTER_TOP, 1.0, "outer_top")
    put(OUTER_BOTTOM, 0.82, "outer_bottom")
    put(INNER_TOP, 0.93, "inner_top")
    put(INNER_BOTTOM, 0.78, "inner_bottom")


def place_nose(sheet: Sheet, traits: Traits) -> None:
    """The ridge from between the eyes over the tip (number 4) to the upper lip, and the wings."""
    share = listed(0, 0.2, 0.45, 0.65, 0.85, 1, 1, 1, 1, 1)
    below = listed(0, 0, 0, 0, 0, 0, 0.2, 0.45, 0.7, 0.8) * traits.nose_width
    sheet.put(NOSE_LINE, 0 * below, traits.eye_y + (traits.nose_y - traits.eye_y) * share + below)
    across, down = (listed(*values) for values in zip(*NOSE_SIDES.values(), strict=True))
    sheet.put(
        tuple(NOSE_SIDES), across * traits.nose_width, traits.nose_y + down * traits.nose_width
    )
