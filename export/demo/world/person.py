"""Draws people by lot.

A seed gives a head, a face, hair, clothes and a background, always the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoexport.export.demo.world.layout import FIELDS, PERSON_WIDTH, SLICES
from echoexport.export.demo.world.palette import draw_colours
from echoexport.export.demo.world.wardrobe import Parts, draw_hair, draw_outfit
from echoexport.runtime.errors import SettingError

__all__ = ["PERSON_WIDTH", "Person", "draw_person", "stack_people"]

# Ranges of the numbers that are drawn evenly and mean something on their own.
RANGES: dict[str, tuple[float, float]] = {
    "centre_x": (0.485, 0.515),
    "centre_y": (0.465, 0.495),
    "scale": (0.96, 1.05),
    "roll": (-0.05, 0.05),
    "yaw": (-1, 1),
    "pitch": (-1, 1),
    "head_width": (0.212, 0.250),
    "skull": (0.270, 0.300),
    "chin": (0.310, 0.345),
    "boxiness": (2.0, 2.45),
    "taper": (0.04, 0.26),
    "ear": (0.040, 0.056),
    "neck": (0.082, 0.112),
    "mouth_y": (0.158, 0.172),
    "mouth_width": (0.100, 0.118),
    "mouth_range": (0.088, 0.102),
    "upper_lip": (0.014, 0.024),
    "lower_lip": (0.021, 0.033),
    "bow": (0.1, 0.5),
    "smile": (0.002, 0.016),
    "eye_x": (0.092, 0.108),
    "eye_y": (-0.040, -0.015),
    "eye_width": (0.038, 0.050),
    "eye_height": (0.021, 0.031),
    "eye_slant": (-0.10, 0.20),
    "iris_size": (0.021, 0.026),
    "lash": (0.006, 0.012),
    "brow_y": (-0.066, -0.050),
    "brow_width": (0.048, 0.062),
    "brow_thickness": (0.006, 0.014),
    "brow_arch": (0.004, 0.022),
    "brow_slant": (-0.003, 0.014),
    "nose_y": (0.060, 0.080),
    "nose_width": (0.024, 0.042),
    "nose_bridge": (0.25, 0.8),
}


@dataclass(frozen=True)
class Person:
    """A drawn person."""

    seed: int
    parameters: NDArray[np.float32]
    """(PERSON_WIDTH,), named by ``layout.FIELDS``."""

    def part(self, name: str) -> NDArray[np.float32]:
        """The numbers called ``name``, (1,) or (3,); KeyError for a name that the layout lacks."""
        return self.parameters[SLICES[name]]


def draw_person(seed: int) -> Person:
    """The person of a seed; the same on every machine. Raises SettingError for a negative seed."""
    if seed < 0:
        raise SettingError(f"a person's seed is 0 or more, not {seed}")
    lot = np.random.Generator(np.random.PCG64(seed))
    parts: Parts = {name: lot.uniform(*limits) for name, limits in RANGES.items()}
    parts.update(draw_colours(lot))
    parts.update(draw_hair(lot, hair=parts["hair"]))
    parts.update(draw_outfit(lot))
    return Person(seed, write_down(parts))


def write_down(parts: Parts) -> NDArray[np.float32]:
    """Named parts as one vector; every name of the layout must be there."""
    vector = np.empty(PERSON_WIDTH, np.float32)
    for name, _ in FIELDS:
        vector[SLICES[name]] = parts[name]
    vector.setflags(write=False)
    return vector


def stack_people(people: Sequence[Person]) -> NDArray[np.float32]:
    """The parameters of several people, float32 (n, PERSON_WIDTH)."""
    return np.stack([person.parameters for person in people])
