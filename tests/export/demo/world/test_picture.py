"""Drawn frames: in range, the same in numpy and torch, moved only where they should be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from echoexport.export.demo.world.geometry import eyes_mask, mouth_mask
from echoexport.export.demo.world.person import draw_person, stack_people
from echoexport.export.demo.world.picture import draw_frames, draw_mouth_interior, to_bytes
from echoexport.export.demo.world.state import STATE_WIDTH, FaceState
from echoexport.runtime.errors import SettingError

Floats = NDArray[np.float32]

MOUTHS = (
    (1, 0, 0),
    (0.5, 1, 0),
    (0, 1, 0),
    (0, -1, 0),
    (0.3, 0, 1),
    (0, 0, 1),
    (1, 1, 0),
    (1, -1, 1),
)


@pytest.fixture(scope="module")
def people() -> Floats:
    return stack_people([draw_person(seed) for seed in range(12)])


def states_of(count: int, **curves: float) -> Floats:
    matrix = FaceState.rest(count).as_matrix()
    for name, value in curves.items():
        matrix[:, list(FaceState.__dataclass_fields__).index(name)] = value
    return matrix


def wild_states(count: int) -> Floats:
    lot = np.random.default_rng(5)
    matrix = lot.uniform(-1, 1, (count, STATE_WIDTH)).astype(np.float32)
    matrix[:, [0, 2, 3]] = abs(matrix[:, [0, 2, 3]])
    return matrix


def test_frames_are_float32_and_within_range(people: Floats) -> None:
    frames = draw_frames(people, wild_states(12), size=64)
    assert frames.shape == (12, 3, 64, 64)
    assert frames.dtype == np.float32
    assert frames.min() >= 0
    assert frames.max() <= 1


def test_numpy_and_torch_draw_the_same(people: Floats) -> None:
    states = wild_states(12)
    frames = draw_frames(torch.from_numpy(people), torch.from_numpy(states), size=64)
    assert frames.dtype == torch.float32
    np.testing.assert_allclose(frames.numpy(), draw_frames(people, states, size=64), atol=1e-4)


def test_a_batch_draws_each_person_as_alone(people: Floats) -> None:
    states = wild_states(12)
    together = draw_frames(people, states, size=48)
    alone = np.concatenate(
        [draw_frames(people[n : n + 1], states[n : n + 1], size=48) for n in range(12)]
    )
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_large_picture_shrinks_to_the_small_one(people: Floats) -> None:
    large = draw_frames(people[:3], states_of(3, openness=0.6), size=256)
    small = draw_frames(people[:3], states_of(3, openness=0.6), size=64)
    shrunk = large.reshape(3, 3, 64, 4, 64, 4).mean(axis=(3, 5))
    assert np.abs(shrunk - small).mean() < 0.01


@pytest.mark.parametrize("mouth", MOUTHS)
def test_a_mouth_changes_nothing_outside_its_mask(
    people: Floats, mouth: tuple[float, float, float]
) -> None:
    openness, width, rounding = mouth
    rest = draw_frames(people, states_of(12), size=64)
    moved = draw_frames(
        people, states_of(12, openness=openness, width=width, rounding=rounding), size=64
    )
    change = np.abs(moved - rest).max(axis=1)
    assert change[mouth_mask(people, size=64)].max() > 0.05
    assert change[~mouth_mask(people, size=64)].max() < 1 / 255


@pytest.mark.parametrize("eyes", [{"lids": 1.0}, {"lids": 0.5}, {"brows": 1.0}, {"brows": -1.0}])
def test_eyes_and_brows_change_nothing_outside_their_mask(
    people: Floats, eyes: dict[str, float]
) -> None:
    rest = draw_frames(people, states_of(12), size=64)
    change = np.abs(draw_frames(people, states_of(12, **eyes), size=64) - rest).max(axis=1)
    assert change.max() > 0.1
    assert change[~eyes_mask(people, size=64)].max() < 1 / 255


@pytest.mark.parametrize(
    "curve", ["openness", "width", "rounding", "lids", "brows", "nod", "sway", "tilt"]
)
def test_small_steps_change_frames_a_little_and_never_not_at_all(
    people: Floats, curve: str
) -> None:
    steps = np.linspace(0.2, 0.4, 21)
    states = np.concatenate([states_of(1, **{curve: step}) for step in steps])
    frames = draw_frames(np.repeat(people[:1], 21, axis=0), states, size=64)
    change = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    assert change.min() > 0
    assert change.max() < 3 * change.mean()


def test_closed_lips_show_no_interior_whatever_their_shape(people: Floats) -> None:
    for width, rounding in ((0, 0), (1, 0), (-1, 1)):
        assert (
            draw_mouth_interior(
                people, states_of(12, width=width, rounding=rounding), size=64
            ).max()
            == 0
        )


@pytest.mark.parametrize("shape", [(0, 0), (1, 0), (-0.5, 1)])
def test_the_interior_grows_with_openness(people: Floats, shape: tuple[float, float]) -> None:
    width, rounding = shape
    areas = [
        draw_mouth_interior(
            people, states_of(12, openness=step, width=width, rounding=rounding), size=64
        ).sum((1, 2))
        for step in np.linspace(0, 1, 9)
    ]
    assert (np.diff(areas, axis=0) > 0).all()


def test_frames_become_bytes_with_channels_last() -> None:
    frames = np.zeros((1, 3, 2, 4), np.float32)
    frames[0, 1] = 1
    picture = to_bytes(frames)
    assert picture.shape == (1, 2, 4, 3)
    assert picture.dtype == np.uint8
    assert picture[0, 0, 0].tolist() == [0, 255, 0]


def test_states_for_another_number_of_people_are_refused(people: Floats) -> None:
    with pytest.raises(SettingError, match="states of 12 people"):
        draw_frames(people, states_of(3))


def test_people_of_another_width_are_refused() -> None:
    with pytest.raises(SettingError, match="stack_people"):
        draw_frames(np.zeros((2, 5), np.float32), states_of(2))
