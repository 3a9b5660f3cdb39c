"""What a drawn person's mouth looks like at every openness: examples to compare with."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from echoexport.export.demo.world.person import Person, stack_people
from echoexport.export.demo.world.picture import draw_frames, draw_mouth_interior, to_bytes
from echoexport.export.demo.world.state import STATE_WIDTH, FaceState
from echoexport.profiles.quality.mouth import MouthGuide

__all__ = ["draw_person_frames", "make_mouth_guide"]

OPENNESS = (0.0, 0.04, 0.08, 0.13, 0.19, 0.26, 0.34, 0.42, 0.51, 0.60, 0.70, 0.80, 0.90, 1.0)
_WIDTHS = (-0.7, 0.0, 0.7)
ROUNDINGS = (0.0, 0.7)
_MARGIN = 0.035  # of the side, about the opening: the lips


def draw_person_frames(person: Person, state: FaceState, *, size: int) -> NDArray[np.uint8]:
    """One person's frames (n, size, size, 3), uint8."""
    matrix = state.as_matrix()
    people = np.repeat(stack_people([person]), len(matrix), axis=0)
    return to_bytes(draw_frames(people, matrix, size=size))


def make_mouth_guide(person: Person, *, size: int) -> MouthGuide:
    """The person's mouth in 84 shapes.

    Each of 14 openings is drawn narrow, middling and wide, pursed and not.
    """
    shapes = np.array(list(product(OPENNESS, _WIDTHS, ROUNDINGS)), np.float32)
    states = np.zeros((len(shapes), STATE_WIDTH), np.float32)
    states[:, :3] = shapes
    top, bottom, left, right = _find_box(person, size=size)
    drawn = draw_person_frames(person, FaceState.from_matrix(states), size=size)
    return MouthGuide(
        top, left, drawn[:, top:bottom, left:right].copy(), shapes[:, 0].astype(np.float64)
    )


def _find_box(person: Person, *, size: int) -> tuple[int, int, int, int]:
    """Rows and columns, ends exclusive, of the widest opening with its lips.

    At least a row inside the picture.
    """
    wide = np.zeros((1, STATE_WIDTH), np.float32)
    wide[0, :2] = 1.0
    inside = draw_mouth_interior(stack_people([person]), wide, size=size)[0] > 0.5
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    margin = round(_MARGIN * size)
    top = max(int(rows[0]) - margin, 1)
    bottom = min(int(rows[-1]) + 1 + margin, size - 1)
    return top, bottom, max(int(columns[0]) - margin, 0), min(int(columns[-1]) + 1 + margin, size)
