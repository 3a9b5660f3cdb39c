"""What is said about a drawn picture agrees with its pixels: mouth and face box."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from echoexport.export.demo.world.geometry import (
    face_box,
    mouth_colours,
    mouth_geometry,
    mouth_mask,
)
from echoexport.export.demo.world.person import draw_person, stack_people
from echoexport.export.demo.world.picture import draw_frames, draw_mouth_interior
from echoexport.export.demo.world.state import FaceState

Floats = NDArray[np.float32]


SIZE = 96


@pytest.fixture(scope="module")
def people() -> Floats:
    return stack_people([draw_person(seed) for seed in range(20)])


def opened(people: Floats, openness: float) -> Floats:
    states = FaceState.rest(len(people)).as_matrix()
    states[:, 0] = openness
    return states


def test_the_open_mouth_lies_where_its_geometry_says(people: Floats) -> None:
    mouth = mouth_geometry(people, size=SIZE)
    inside = draw_mouth_interior(people, opened(people, 1), size=SIZE) > 0.5
    for n, picture in enumerate(inside):
        rows = np.flatnonzero(picture.any(1))
        columns = np.flatnonzero(picture.any(0))
        assert abs(columns.mean() + 0.5 - mouth.x[n]) < 2
        assert rows.min() > mouth.y[n] + mouth.drop[n] - mouth.half_height[n] - 2
        assert rows.max() < mouth.y[n] + mouth.drop[n] + mouth.half_height[n] + 2
        assert columns.max() - columns.min() < 2 * mouth.half_width[n] + 2
        assert picture.sum(0).max() == pytest.approx(mouth.opening[n], abs=2)


def test_mouths_are_a_fifth_of_the_picture_wide(people: Floats) -> None:
    width = 2 * mouth_geometry(people, size=SIZE).half_width / SIZE
    assert width.min() > 0.18
    assert width.max() < 0.26


def test_a_nod_moves_the_mouth_by_half_a_percent(people: Floats) -> None:
    states = opened(people, 0)
    states[:, 5] = 1
    moved = mouth_geometry(people, states, size=SIZE).y - mouth_geometry(people, size=SIZE).y
    np.testing.assert_allclose(moved / SIZE, 0.006, atol=4e-4)


def test_face_boxes_are_about_half_the_picture_wide_and_hold_the_mouth(people: Floats) -> None:
    x0, y0, x1, y1 = face_box(people, size=SIZE).T
    mouth = mouth_geometry(people, size=SIZE)
    assert ((x1 - x0) / SIZE > 0.38).all()
    assert ((x1 - x0) / SIZE < 0.56).all()
    assert ((x0 < mouth.x - mouth.half_width) & (mouth.x + mouth.half_width < x1)).all()
    assert ((y0 < mouth.y) & (mouth.y < y1) & (y1 < SIZE)).all()


def test_a_mouths_mask_leaves_most_of_the_picture_alone(people: Floats) -> None:
    assert mouth_mask(people, size=SIZE).mean(axis=(1, 2)).max() < 0.25


def test_the_dark_of_the_mouth_has_the_colour_that_is_told(people: Floats) -> None:
    states = opened(people, 1)
    frames = draw_frames(people, opened(people, 1), size=SIZE)
    interior = mouth_colours(people).interior
    inside = draw_mouth_interior(people, states, size=SIZE) > 0.99
    for n in range(len(people)):
        away = np.abs(frames[n][:, inside[n]] - interior[n][:, None]).max(axis=0)
        assert (away < 0.02).mean() > 0.2


def test_lips_stand_out_from_skin_and_from_the_dark(people: Floats) -> None:
    colours = mouth_colours(people)
    assert np.abs(colours.lips - colours.skin).max(axis=1).min() > 0.08
    assert np.abs(colours.lips - colours.interior).max(axis=1).min() > 0.2
