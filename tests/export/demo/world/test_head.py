"""A head's outline, and what is painted on it: ears, skin, a nose, a beard."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from echoexport.export.demo.world.head import (
    measure_head,
    paint_beard,
    paint_ears,
    paint_face,
    paint_nose,
)
from echoexport.export.demo.world.scene import Scene
from echoexport.export.demo.world.shapes import Canvas

Floats = NDArray[np.float32]
MakeScene = Callable[..., Scene]
Grey = Callable[..., Floats]
PARTS = {"head_width": 0.23, "skull": 0.28, "chin": 0.33, "boxiness": 2.0, "taper": 0.2}


def distance_at(scene: Scene, x: float, y: float) -> float:
    place = (np.full((1, 1, 1), x, np.float32), np.full((1, 1, 1), y, np.float32))
    return float(measure_head(dataclasses.replace(scene, head=place, jaw=place[1])).squeeze())


@pytest.mark.parametrize(("x", "y"), [(0.23, 0.0), (-0.23, 0.0), (0.0, -0.28), (0.0, 0.33)])
def test_the_outline_runs_through_temples_crown_and_chin(
    make_scene: MakeScene, x: float, y: float
) -> None:
    scene = make_scene(**PARTS)
    assert distance_at(scene, x, y) == pytest.approx(0, abs=2e-4)
    assert distance_at(scene, 0.9 * x, 0.9 * y) < -0.02
    assert distance_at(scene, 1.1 * x, 1.1 * y) > 0.02


def test_a_taper_narrows_the_head_towards_its_chin_alone(make_scene: MakeScene) -> None:
    wide, narrow = (make_scene(**{**PARTS, "taper": taper}) for taper in (0.0, 0.2))
    assert distance_at(narrow, 0.15, 0.25) > distance_at(wide, 0.15, 0.25)
    assert distance_at(narrow, 0.15, -0.2) == distance_at(wide, 0.15, -0.2)


def test_an_open_jaw_lowers_the_chin_by_its_drop(make_scene: MakeScene) -> None:
    shut, wide = (
        measure_head(make_scene(size=200, state={"openness": openness}, **PARTS))[0] < 0
        for openness in (0.0, 1.0)
    )
    chins = [np.flatnonzero(inside.any(axis=1))[-1] for inside in (shut, wide)]
    assert (chins[1] - chins[0]) / 200 == pytest.approx(0.03, abs=0.006)
    np.testing.assert_array_equal(shut[:100], wide[:100])


def test_skin_covers_the_head_and_nothing_beside_it(make_scene: MakeScene, grey: Grey) -> None:
    skin = (0.8, 0.6, 0.5)
    scene = make_scene(skin=skin, shade=skin, blush=skin, freckles=0.0, **PARTS)
    outline = measure_head(scene)
    canvas = Canvas(grey())
    paint_face(canvas, scene, outline)
    inside = outline[0] < -0.02
    lit = canvas.picture[0][:, inside] - np.array(skin, np.float32)[:, None]
    assert lit.min() >= -1e-5
    assert lit.max() <= 0.16 * 0.5 + 1e-5, "no more than the light lifts"
    assert np.abs(canvas.picture[0][:, outline[0] > 0.02] - 0.5).max() == 0


def test_ears_are_mirrored_and_only_some_have_a_ring(make_scene: MakeScene, grey: Grey) -> None:
    pictures = []
    for earring in (0.0, 1.0):
        canvas = Canvas(grey(128))
        paint_ears(canvas, make_scene(size=128, earring=earring, **PARTS))
        np.testing.assert_allclose(canvas.picture, canvas.picture[..., ::-1], atol=1e-5)
        pictures.append(canvas.picture)
    assert (pictures[1] > 0.9).all(axis=1).sum() > (pictures[0] > 0.9).all(axis=1).sum()


def test_nobody_without_a_beard_gets_one(make_scene: MakeScene, grey: Grey) -> None:
    scene = make_scene(beard=0.0, moustache=0.0, **PARTS)
    canvas = Canvas(grey())
    paint_beard(canvas, scene, measure_head(scene))
    np.testing.assert_array_equal(canvas.picture, grey())


def test_a_beard_grows_below_the_mouth_within_the_head(make_scene: MakeScene, grey: Grey) -> None:
    scene = make_scene(beard=1.0, moustache=0.0, brow=(0.0, 0.0, 0.0), **PARTS)
    outline = measure_head(scene)
    canvas = Canvas(grey())
    paint_beard(canvas, scene, outline)
    grown = np.abs(canvas.picture[0] - 0.5).max(axis=0) > 0.25
    assert grown.sum() > 50
    assert outline[0][grown].max() < 0.02
    middle = grown & (abs(scene.face[0][0]) < 0.03)
    assert scene.face[1][0][middle].min() > float(scene.traits.mouth_y.squeeze()) + 0.03


def test_a_nose_is_painted_about_its_place(make_scene: MakeScene, grey: Grey) -> None:
    scene = make_scene(nose_y=0.07, nose_width=0.03, skin=(0.9, 0.9, 0.9))
    canvas = Canvas(grey(64))
    paint_nose(canvas, scene)
    rows, columns = np.nonzero(np.abs(canvas.picture[0] - 0.5).max(axis=0) > 0.2)
    assert abs(scene.face[0][0, rows, columns].mean()) < 0.02
    assert abs(scene.face[1][0, rows, columns].mean() - 0.07) < 0.02
