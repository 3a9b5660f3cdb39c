"""Hair of every style is one shape: a cap, a long part, a bun."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from echoexport.export.demo.world.hair import measure_hair, paint_hair_behind, paint_hair_front
from echoexport.export.demo.world.scene import Scene
from echoexport.export.demo.world.shapes import Canvas
from echoexport.export.demo.world.wardrobe import HAIR_STYLES, NAMES

Floats = NDArray[np.float32]
MakeScene = Callable[..., Scene]
Grey = Callable[..., Floats]


def style(name: str, **changes: float) -> dict[str, float]:
    parts = dict(zip(NAMES, HAIR_STYLES[name], strict=True))
    return {**parts, "hair_amount": 1.0, "part": 0.0, "slope": 0.0, **changes}


def distance_at(scene: Scene, x: float, y: float) -> float:
    place = (np.full((1, 1, 1), x, np.float32), np.full((1, 1, 1), y, np.float32))
    return float(measure_hair(dataclasses.replace(scene, head=place)).squeeze())


def test_short_hair_ends_at_the_ears_and_long_hair_below_the_chin(make_scene: MakeScene) -> None:
    width = 0.23
    short, long = (make_scene(head_width=width, **style(name)) for name in ("cropped", "long"))
    assert distance_at(short, width, 0.40) > 0.05
    assert distance_at(long, width, 0.40) < 0
    assert distance_at(long, width, 0.60) > 0.05


def test_a_bun_is_a_ball_where_the_person_wears_it(make_scene: MakeScene) -> None:
    scene = make_scene(bun_x=0.02, bun_y=-0.36, skull=0.27, **style("bun", bun=0.08))
    assert distance_at(scene, 0.02, -0.36 - 0.08) == pytest.approx(0, abs=1e-5)
    assert distance_at(scene, 0.02, -0.36 - 0.18) == pytest.approx(0.1, abs=1e-5)


def test_hair_that_grows_longer_covers_all_that_it_covered(make_scene: MakeScene) -> None:
    shorter, longer = (
        measure_hair(make_scene(**style("long", hair_bottom=bottom))) for bottom in (0.3, 0.5)
    )
    assert (longer <= shorter + 1e-6).all()
    assert (longer < 0).sum() > (shorter < 0).sum()


def test_the_bald_have_no_hair_before_or_behind(make_scene: MakeScene, grey: Grey) -> None:
    scene = make_scene(**style("bald", hair_amount=0.0))
    canvas = Canvas(grey())
    paint_hair_behind(canvas, scene, measure_hair(scene))
    paint_hair_front(canvas, scene, measure_hair(scene))
    np.testing.assert_array_equal(canvas.picture, grey())


@pytest.mark.parametrize("name", [name for name in HAIR_STYLES if name != "bald"])
def test_the_front_leaves_the_face_free_below_the_hair_line(
    make_scene: MakeScene, grey: Grey, name: str
) -> None:
    scene = make_scene(hair=(0.0, 0.0, 0.0), shade=(0.5, 0.5, 0.5), **style(name))
    canvas = Canvas(grey())
    paint_hair_front(canvas, scene, measure_hair(scene))
    x, y = scene.head[0][0], scene.head[1][0]
    line = HAIR_STYLES[name][NAMES.index("hairline")]
    covered = np.abs(canvas.picture[0] - 0.5).max(axis=0)
    middle = abs(x) < 0.05
    assert covered[middle & (y < line - 0.03) & (measure_hair(scene)[0] < -0.02)].min() > 0.3
    assert covered[middle & (y > line + 0.06)].max() < 0.06


def test_straight_hair_is_mirrored(make_scene: MakeScene, grey: Grey) -> None:
    scene = make_scene(bun_x=0.0, **style("bob"))
    outline = measure_hair(scene)
    np.testing.assert_allclose(outline, outline[..., ::-1], atol=1e-5)
    canvas = Canvas(grey())
    paint_hair_behind(canvas, scene, outline)
    np.testing.assert_allclose(canvas.picture, canvas.picture[..., ::-1], atol=1e-5)
