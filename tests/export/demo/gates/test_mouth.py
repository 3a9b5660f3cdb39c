"""A mouth's examples: the person's own mouth in every shape, cut from drawn frames."""

from __future__ import annotations

import numpy as np
import pytest

from echoexport.export.demo.gates.mouth import OPENNESS, draw_person_frames, make_mouth_guide
from echoexport.export.demo.world.person import draw_person
from echoexport.export.demo.world.state import FaceState
from echoexport.profiles.quality.mouth import MouthGuide, mouth_openness

PERSON = draw_person(1_000_007)


@pytest.fixture(scope="module")
def guide() -> MouthGuide:
    return make_mouth_guide(PERSON, size=64)


def test_a_guide_holds_every_opening_in_six_shapes(guide: MouthGuide) -> None:
    values, counts = np.unique(guide.openness, return_counts=True)
    assert np.allclose(values, OPENNESS)
    assert set(counts) == {6}
    assert len(guide.examples) == 84


def test_a_guides_pictures_are_cut_from_the_persons_frames(guide: MouthGuide) -> None:
    state = FaceState.rest(1).as_matrix()
    state[0, 1] = -0.7  # closed, narrow and not pursed: the first shape
    frame = draw_person_frames(PERSON, FaceState.from_matrix(state), size=64)[0]
    high, wide = guide.examples.shape[1:3]
    place = frame[guide.top : guide.top + high, guide.left : guide.left + wide]
    assert np.array_equal(place, guide.examples[0])


def test_an_opening_that_is_no_example_is_read_from_its_neighbours(guide: MouthGuide) -> None:
    state = np.zeros((3, 8), np.float32)
    state[:, 0] = (0.05, 0.3, 0.75)
    frames = draw_person_frames(PERSON, FaceState.from_matrix(state), size=64)
    assert np.abs(mouth_openness(frames, guide) - state[:, 0]).max() < 0.08


def test_a_person_is_drawn_once_for_every_row_of_the_state() -> None:
    frames = draw_person_frames(PERSON, FaceState.rest(2), size=32)
    assert frames.shape == (2, 32, 32, 3)
    assert frames.dtype == np.uint8
    assert np.array_equal(frames[0], frames[1])
