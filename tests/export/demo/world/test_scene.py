"""Where everything is: numbers by name, the head's pose, and every pixel seen from it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from echoexport.export.demo.world.layout import SLICES
from echoexport.export.demo.world.person import draw_person, stack_people
from echoexport.export.demo.world.scene import (
    JAW_DROP,
    NECK,
    TILT,
    Scene,
    Traits,
    check_batch,
    find_pose,
    make_grid,
    see_scene,
)
from echoexport.export.demo.world.state import FaceState
from echoexport.runtime.errors import SettingError

Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def people() -> Floats:
    return stack_people([draw_person(seed) for seed in range(6)])


@pytest.fixture(scope="module")
def states() -> Floats:
    matrix = np.random.default_rng(4).uniform(-1, 1, (6, 8)).astype(np.float32)
    matrix[:, [0, 2, 3]] = abs(matrix[:, [0, 2, 3]])
    return matrix


def test_traits_are_numbers_by_name_ready_to_be_laid_over_a_grid(
    people: Floats, states: Floats
) -> None:
    traits = Traits(people, states)
    assert traits.mouth_y.shape == (6, 1, 1)
    assert traits.skin.shape == (6, 3, 1, 1)
    np.testing.assert_array_equal(traits.skin[:, :, 0, 0], people[:, SLICES["skin"]])
    np.testing.assert_array_equal(traits.openness[:, 0, 0], states[:, 0])
    np.testing.assert_array_equal(traits.tilt[:, 0, 0], states[:, 7])


def test_a_trait_that_nobody_has_is_no_attribute(people: Floats, states: Floats) -> None:
    with pytest.raises(AttributeError, match="no 'wings'"):
        _ = Traits(people, states).wings


def test_a_head_rolls_about_its_neck(people: Floats, states: Floats) -> None:
    still = states.copy()
    still[:, 7] = 0
    tilted = still.copy()
    tilted[:, 7] = 1
    one, other = (find_pose(Traits(people, matrix)) for matrix in (still, tilted))
    zero = np.zeros((6, 1, 1), np.float32)
    for before, after in zip(
        one.to_picture(zero, zero + NECK), other.to_picture(zero, zero + NECK), strict=True
    ):
        np.testing.assert_allclose(after, before, atol=1e-6)
    turned = np.arctan2(other.sine, other.cosine) - np.arctan2(one.sine, one.cosine)
    np.testing.assert_allclose(turned, TILT, atol=1e-5)


def test_pixels_are_seen_from_the_head_where_the_pose_puts_them(
    people: Floats, states: Floats
) -> None:
    scene = see_scene(people, states, size=16)
    pose = find_pose(Traits(people, states))
    for places, back in ((scene.head, pose.to_picture), (scene.face, pose.face_to_picture)):
        x, y = back(*places)
        np.testing.assert_allclose(x, np.broadcast_to(scene.xy[0], x.shape), atol=1e-5)
        np.testing.assert_allclose(y, np.broadcast_to(scene.xy[1], y.shape), atol=1e-5)


def test_an_upright_head_is_seen_in_shares_of_the_side(make_scene: Callable[..., Scene]) -> None:
    scene = make_scene(size=8, centre_y=0.5)
    middles = [-0.4375, -0.3125, -0.1875, -0.0625, 0.0625, 0.1875, 0.3125, 0.4375]
    np.testing.assert_allclose(scene.head[0][0, 0], middles, atol=1e-6)
    np.testing.assert_allclose(scene.head[1][0, :, 0], middles, atol=1e-6)
    assert float(scene.pixel.squeeze()) == pytest.approx(0.125)


def test_a_jaw_falls_from_the_mouth_down_and_no_further_than_its_drop(
    make_scene: Callable[..., Scene],
) -> None:
    shut, wide = (make_scene(state={"openness": openness}) for openness in (0.0, 1.0))
    np.testing.assert_array_equal(shut.jaw, shut.head[1])
    fallen = (wide.head[1] - wide.jaw)[0, :, 32]
    down = wide.head[1][0, :, 32]
    traits = wide.traits
    assert fallen[down <= float(traits.mouth_y.squeeze())] == pytest.approx(0)
    assert fallen[down >= float(traits.chin.squeeze()) - 0.03] == pytest.approx(JAW_DROP)
    assert (np.diff(fallen) >= -1e-7).all()


def test_a_grid_holds_the_middles_of_the_pixels() -> None:
    x, y = make_grid(np.zeros(1, np.float32), size=4)
    assert x.shape == (1, 1, 4)
    assert y.shape == (1, 4, 1)
    assert x.ravel().tolist() == y.ravel().tolist() == [0.125, 0.375, 0.625, 0.875]


@pytest.mark.parametrize(
    ("width", "rows", "size", "said"),
    [(-1, 2, 64, "people have shape"), (0, 3, 64, "states of 2 people"), (0, 2, 7, "8 pixels")],
)
def test_a_batch_that_does_not_fit_is_refused(
    width: int, rows: int, size: int, said: str, people: Floats
) -> None:
    some = people[:2, : people.shape[1] + width]
    with pytest.raises(SettingError, match=said):
        check_batch(some, FaceState.rest(rows).as_matrix(), size=size)
