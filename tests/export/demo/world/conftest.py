"""People whose numbers are set by hand, and scenes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from echoexport.export.demo.world.layout import SLICES
from echoexport.export.demo.world.person import draw_person
from echoexport.export.demo.world.scene import Scene, see_scene
from echoexport.export.demo.world.state import FaceState

Floats = NDArray[np.float32]

UPRIGHT = {"centre_x": 0.5, "roll": 0.0, "yaw": 0.0, "pitch": 0.0, "scale": 1.0}


def set_parts(people: Floats, **parts: Any) -> Floats:
    for name, value in parts.items():
        people[:, SLICES[name]] = value
    return people


@pytest.fixture
def make_people() -> Callable[..., Floats]:
    """A function that gives one person (1,P) who looks straight ahead, parts set by name."""

    def make(*, seed: int = 3, **parts: Any) -> Floats:
        return set_parts(draw_person(seed).parameters[None].copy(), **{**UPRIGHT, **parts})

    return make


@pytest.fixture
def make_scene(make_people: Callable[..., Floats]) -> Callable[..., Scene]:
    """A function that gives the scene of such a person; ``state`` sets curves by name."""

    def make(*, size: int = 64, state: dict[str, float] | None = None, **parts: Any) -> Scene:
        matrix = FaceState.rest(1).as_matrix()
        for name, value in (state or {}).items():
            matrix[:, list(FaceState.__dataclass_fields__).index(name)] = value
        return see_scene(make_people(**parts), matrix, size=size)

    return make


@pytest.fixture
def grey() -> Callable[..., Floats]:
    """A function that gives a ground (1,3,size,size) to paint on."""

    def make(size: int = 64) -> Floats:
        return np.full((1, 3, size, size), 0.5, np.float32)

    return make
