"""Landmarks stand where a drawn face has them, in every state."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from echoexport.export.demo.world.geometry import (
    mouth_geometry,
)
from echoexport.export.demo.world.landmarks import draw_landmarks
from echoexport.export.demo.world.person import draw_person, stack_people
from echoexport.export.demo.world.state import FaceState
from echoexport.runtime.inputs.pose_drawing import draw_pose_map
from echoexport.runtime.inputs.pose_topology import DOTS, LANDMARKS, STROKES

Floats = NDArray[np.float32]


SIZE = 96


@pytest.fixture(scope="module")
def people() -> Floats:
    return stack_people([draw_person(seed) for seed in range(20)])


def opened(people: Floats, openness: float) -> Floats:
    states = FaceState.rest(len(people)).as_matrix()
    states[:, 0] = openness
    return states


def test_landmarks_lie_inside_the_picture_in_every_state(people: Floats) -> None:
    lot = np.random.default_rng(1)
    states = lot.uniform(-1, 1, (len(people), 8)).astype(np.float32)
    states[:, [0, 2, 3]] = abs(states[:, [0, 2, 3]])
    points = draw_landmarks(people, states, size=SIZE)
    assert points.shape == (len(people), LANDMARKS, 2)
    assert points.min() > 0
    assert points.max() < SIZE


def test_landmarks_of_a_pose_map_stand_where_a_face_has_them(people: Floats) -> None:
    points = draw_landmarks(people, opened(people, 0), size=SIZE)
    right_eye, left_eye, nose, mouth, chin = (points[:, n] for n in (468, 473, 4, 13, 152))
    assert (right_eye[:, 0] < nose[:, 0]).all()
    assert (nose[:, 0] < left_eye[:, 0]).all()
    down = np.stack([right_eye[:, 1], nose[:, 1], mouth[:, 1], chin[:, 1]])
    assert (np.diff(down, axis=0) > 0).all()
    brows = points[:, [105, 334], 1].mean(1)
    assert (brows < right_eye[:, 1]).all()


def test_lip_landmarks_part_as_the_mouth_opens(people: Floats) -> None:
    points = draw_landmarks(people, opened(people, 1), size=SIZE)
    gap = np.hypot(*(points[:, 14] - points[:, 13]).T)
    np.testing.assert_allclose(gap, mouth_geometry(people, size=SIZE).opening, rtol=0.02)


def test_lid_landmarks_meet_in_a_blink(people: Floats) -> None:
    states = opened(people, 0)
    states[:, 3] = 1
    points = draw_landmarks(people, states, size=SIZE)
    assert np.abs(points[:, 159] - points[:, 145]).max() < 0.01 * SIZE


def test_the_pose_drawing_shows_every_colour(people: Floats) -> None:
    points = np.pad(
        draw_landmarks(people[:1], opened(people[:1], 0), size=SIZE)[0], ((0, 0), (0, 1))
    )
    drawn = draw_pose_map(points, size=(512, 512), picture=(SIZE, SIZE)).reshape(-1, 3)
    shown = set(map(tuple, np.unique(drawn, axis=0).tolist()))
    assert {colour for colour, _ in STROKES} <= shown
    assert {colour for _, colour in DOTS} <= shown
