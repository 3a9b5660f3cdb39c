"""Lids that close, brows that rise, and what is mirrored about the middle of the face."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from echoexport.export.demo.world.eyes import (
    BROW_TRAVEL,
    paint_brows,
    paint_eyes,
    paint_glasses,
    trace_brow,
    trace_lids,
)
from echoexport.export.demo.world.scene import Scene
from echoexport.export.demo.world.shapes import Canvas

Floats = NDArray[np.float32]
MakeScene = Callable[..., Scene]
Grey = Callable[..., Floats]
ACROSS = np.linspace(-1, 1, 9, dtype=np.float32)[None, None]


def test_an_open_eye_is_tallest_in_its_middle_and_ends_in_its_corners(
    make_scene: MakeScene,
) -> None:
    top, bottom, arc = trace_lids(make_scene(eye_height=0.03).traits, ACROSS)
    assert top[0, 0, 4] == pytest.approx(-0.03, rel=1e-3)
    assert bottom[0, 0, 4] == pytest.approx(0.62 * 0.03, rel=1e-3)
    assert arc[0, 0, [0, 8]] == pytest.approx(0, abs=1e-6)
    assert arc.argmax() == 4


@pytest.mark.parametrize("lids", [0.0, 0.25, 1.0])
def test_the_upper_lid_comes_down_by_its_share(make_scene: MakeScene, lids: float) -> None:
    top, bottom, arc = trace_lids(make_scene(state={"lids": lids}, eye_height=0.03).traits, ACROSS)
    np.testing.assert_allclose(bottom - top, (1 - lids) * 1.62 * 0.03 * arc, atol=1e-6)


def test_a_raised_brow_is_higher_by_its_travel_and_as_thick(make_scene: MakeScene) -> None:
    rest, raised = (
        trace_brow(make_scene(state={"brows": brows}).traits, ACROSS) for brows in (0.0, 1.0)
    )
    np.testing.assert_allclose(rest[0] - raised[0], BROW_TRAVEL, atol=1e-6)
    np.testing.assert_array_equal(rest[1], raised[1])


def test_a_brow_thins_towards_the_temple_and_has_round_ends(make_scene: MakeScene) -> None:
    _, half = trace_brow(make_scene(brow_thickness=0.01).traits, ACROSS)
    assert half[0, 0, 4] == pytest.approx(0.01, rel=1e-4)
    assert half[0, 0, 2] > half[0, 0, 6]
    assert half[0, 0, [0, 8]].max() < 2e-5


def test_brows_and_rims_are_mirrored(make_scene: MakeScene, grey: Grey) -> None:
    canvas = Canvas(grey())
    scene = make_scene(glasses=1.0)
    paint_brows(canvas, scene)
    paint_glasses(canvas, scene)
    np.testing.assert_allclose(canvas.picture, canvas.picture[..., ::-1], atol=1e-5)
    assert np.abs(canvas.picture - 0.5).max() > 0.1


def test_nobody_without_glasses_gets_any(make_scene: MakeScene, grey: Grey) -> None:
    canvas = Canvas(grey())
    paint_glasses(canvas, make_scene(glasses=0.0))
    np.testing.assert_array_equal(canvas.picture, grey())


def test_an_open_eye_shows_its_iris_and_a_shut_one_does_not(
    make_scene: MakeScene, grey: Grey
) -> None:
    iris = (0.1, 0.2, 0.95)
    blue = []
    for lids in (0.0, 1.0):
        canvas = Canvas(grey(128))
        paint_eyes(canvas, make_scene(size=128, iris=iris, state={"lids": lids}))
        red, _, most = canvas.picture[0]
        blue.append(int((most > red + 0.3).sum()))
    assert blue[0] > 10
    assert blue[1] == 0


def test_eyes_lie_where_the_person_has_them(make_scene: MakeScene, grey: Grey) -> None:
    scene = make_scene(size=128, eye_x=0.1, eye_y=-0.03, eye_height=0.025)
    canvas = Canvas(grey(128))
    paint_eyes(canvas, scene)
    rows, columns = np.nonzero(np.abs(canvas.picture[0] - 0.5).max(axis=0) > 0.3)
    x = scene.face[0][0, rows, columns]
    y = scene.face[1][0, rows, columns]
    assert np.abs(np.abs(x).mean() - 0.1) < 0.01
    assert -0.08 < y.min() < y.max() < 0.01
