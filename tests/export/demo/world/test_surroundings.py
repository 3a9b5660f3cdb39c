"""What does not move: a background in two colours with discs, and the clothes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from echoexport.export.demo.world.scene import Scene
from echoexport.export.demo.world.shapes import Canvas
from echoexport.export.demo.world.surroundings import make_backdrop, paint_body

Floats = NDArray[np.float32]
MakeScene = Callable[..., Scene]
Grey = Callable[..., Floats]
PLAIN = {"backdrop": (0.2, 0.4, 0.6), "backdrop_end": (0.6, 0.4, 0.2), "disc_strength": 0.0}


def test_a_backdrop_runs_from_one_colour_to_the_other_along_its_angle(
    make_scene: MakeScene,
) -> None:
    across = make_backdrop(make_scene(size=8, backdrop_angle=0.0, **PLAIN))[0]
    place = (np.arange(8) + 0.5) / 8
    np.testing.assert_allclose(across[0], np.broadcast_to(0.2 + 0.4 * place, (8, 8)), atol=1e-6)
    np.testing.assert_allclose(across[1], 0.4, atol=1e-6)
    np.testing.assert_allclose(across[2], np.broadcast_to(0.6 - 0.4 * place, (8, 8)), atol=1e-6)
    down = make_backdrop(make_scene(size=8, backdrop_angle=np.pi / 2, **PLAIN))[0]
    np.testing.assert_allclose(down, across.transpose(0, 2, 1), atol=1e-6)


def test_a_disc_covers_its_circle_in_its_strength(make_scene: MakeScene) -> None:
    parts = {**PLAIN, "backdrop_end": PLAIN["backdrop"], "disc_strength": 0.5, "disc": (1, 1, 1)}
    places = {"disc_x": 0.25, "disc_y": 0.5, "disc_size": 0.125, "disc2_x": 9.0, "disc2_y": 9.0}
    picture = make_backdrop(make_scene(size=64, **parts, **places))[0, 0]
    assert picture[32, 16] == pytest.approx(0.6)
    assert picture[32, 26] == pytest.approx(0.2)
    assert picture[42, 16] == pytest.approx(0.2)
    covered = (picture - 0.2).sum() / 0.4 / 64**2
    assert covered == pytest.approx(np.pi * 0.125**2, rel=0.02)


def test_shoulders_wear_the_cloth_and_nothing_is_painted_above_the_neck(
    make_scene: MakeScene, grey: Grey
) -> None:
    cloth = np.array((0.1, 0.7, 0.2), np.float32)
    scene = make_scene(centre_y=0.48, cloth=cloth, stripes=0.0)
    canvas = Canvas(grey())
    paint_body(canvas, scene)
    left, right = canvas.picture[0][:, -1, 12], canvas.picture[0][:, -1, -13]
    for shoulder in (left, right):
        np.testing.assert_allclose(shoulder / shoulder.max(), cloth / cloth.max(), atol=1e-5)
    assert left[1] > right[1], "the light comes from the left"
    assert np.abs(canvas.picture[0][:, :32] - 0.5).max() < 1e-3


def test_stripes_change_the_cloth_towards_its_trim(make_scene: MakeScene, grey: Grey) -> None:
    parts = {"cloth": (0.0, 0.0, 0.0), "trim": (1.0, 1.0, 1.0), "centre_y": 0.48}
    rows = []
    for stripes in (0.0, 0.8):
        canvas = Canvas(grey())
        paint_body(canvas, make_scene(stripes=stripes, **parts))
        rows.append(canvas.picture[0, 0, 61:, 12])
    assert rows[0].max() == 0
    assert 0.3 < rows[1].max() <= 0.8 + 1e-6
    assert rows[1].min() < 0.1


def test_a_body_stays_where_it_is_while_its_head_moves(make_scene: MakeScene, grey: Grey) -> None:
    pictures = []
    for state in ({}, {"sway": 1.0, "tilt": -1.0}):
        canvas = Canvas(grey())
        paint_body(canvas, make_scene(state=state, neck_round=0.0, neck_pointed=1.0))
        pictures.append(canvas.picture[0][:, 58:])
    np.testing.assert_allclose(pictures[0], pictures[1], atol=0.02)
