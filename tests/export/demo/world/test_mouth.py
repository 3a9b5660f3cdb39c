"""A mouth's sizes and lip edges, worked out by hand for plain states."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from echoexport.export.demo.world.mouth import (
    RISE,
    LipEdges,
    cover_interior,
    measure_mouth,
    paint_mouth,
    trace_lips,
)
from echoexport.export.demo.world.scene import Scene
from echoexport.export.demo.world.shapes import Canvas

Floats = NDArray[np.float32]
MakeScene = Callable[..., Scene]
PARTS = {"mouth_width": 0.1, "mouth_range": 0.09, "upper_lip": 0.02, "lower_lip": 0.03, "bow": 0.0}


def number(value: Floats) -> float:
    return float(np.asarray(value).squeeze())


def edges_of(scene: Scene, *across: float) -> LipEdges:
    places = np.array(across, np.float32)[None, None]
    return trace_lips(scene.traits, measure_mouth(scene.traits), places)


def test_a_mouth_at_rest_has_the_persons_own_sizes(make_scene: MakeScene) -> None:
    shape = measure_mouth(make_scene(**PARTS).traits)
    assert number(shape.width) == pytest.approx(0.1)
    assert number(shape.opening) == 0
    assert number(shape.upper) == pytest.approx(0.02)
    assert number(shape.lower) == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("state", "width", "opening"),
    [
        ({"openness": 1.0}, 0.1 * 0.95, 0.09),
        ({"width": 1.0}, 0.1 * 1.13, 0.0),
        ({"width": -1.0}, 0.1 * 0.87, 0.0),
        ({"rounding": 1.0}, 0.1 * 0.6, 0.0),
        ({"openness": 0.5, "rounding": 1.0}, 0.1 * 0.975 * 0.6, 0.045 * 0.88),
        ({"openness": 1.0, "width": 1.0}, 0.1 * 1.08, 0.09 * 0.92),
    ],
)
def test_a_mouth_widens_opens_and_purses(
    make_scene: MakeScene, state: dict[str, float], width: float, opening: float
) -> None:
    shape = measure_mouth(make_scene(state=state, **PARTS).traits)
    assert number(shape.width) == pytest.approx(width, rel=1e-5)
    assert number(shape.opening) == pytest.approx(opening, rel=1e-5)


def test_closed_lips_meet_all_along_the_mouth(make_scene: MakeScene) -> None:
    edges = edges_of(make_scene(state={"width": 0.5}, **PARTS), *np.linspace(-1, 1, 9))
    np.testing.assert_array_equal(edges.inner_top, edges.inner_bottom)
    assert (edges.outer_top <= edges.inner_top).all()
    assert (edges.outer_bottom >= edges.inner_bottom).all()


def test_an_open_mouth_opens_more_downwards_than_upwards(make_scene: MakeScene) -> None:
    edges = edges_of(make_scene(state={"openness": 1.0}, **PARTS), 0.0)
    gap = number(edges.inner_bottom - edges.inner_top)
    assert gap == pytest.approx(0.09, rel=2e-3)
    assert number(edges.inner_top) == pytest.approx(-RISE * gap)


def test_the_corners_stay_shut(make_scene: MakeScene) -> None:
    edges = edges_of(make_scene(state={"openness": 1.0}, **PARTS), -1.0, 1.0, 3.0)
    for edge in (edges.outer_top, edges.inner_top, edges.inner_bottom, edges.outer_bottom):
        np.testing.assert_allclose(edge, 0, atol=1e-6)


def test_the_upper_lip_dips_at_its_bow(make_scene: MakeScene) -> None:
    parts = {**PARTS, "bow": 0.5}
    plain, bowed = (edges_of(make_scene(**some), 0.0) for some in (PARTS, parts))
    assert number(bowed.outer_top) == pytest.approx(0.5 * number(plain.outer_top))


def test_the_inside_is_as_large_as_the_opening_between_the_lips(make_scene: MakeScene) -> None:
    scene = make_scene(size=128, state={"openness": 1.0}, smile=0.0, **PARTS)
    inside = cover_interior(scene)[0]
    middle = inside[:, 63:65].sum(axis=0).mean() / 128
    assert middle == pytest.approx(0.09, abs=0.002)
    assert cover_interior(make_scene(size=128, **PARTS)).max() == 0


def test_lips_are_painted_in_their_colour_and_nothing_beyond_their_shadow(
    make_scene: MakeScene, grey: Callable[..., Floats]
) -> None:
    scene = make_scene(size=128, lip=(0.9, 0.1, 0.2), shade=(0.5, 0.5, 0.5), **PARTS)
    canvas = Canvas(grey(128))
    paint_mouth(canvas, scene)
    x, y = scene.face[0][0], scene.face[1][0] - number(scene.traits.mouth_y)
    lip = canvas.picture[0][:, (abs(x) < 0.02) & (y > 0.018) & (y < 0.026)]
    assert np.abs(lip.mean(axis=1) - [0.9, 0.1, 0.2]).max() < 0.2
    beyond = (abs(x) > 0.14) | (y < -0.04) | (y > 0.12)
    assert np.abs(canvas.picture[0][:, beyond] - 0.5).max() < 1e-3
