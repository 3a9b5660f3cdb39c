"""People by lot: the same for a seed, clearly different between seeds, fully written down."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from echoexport.export.demo.world.layout import PERSON_WIDTH
from echoexport.export.demo.world.person import draw_person, stack_people
from echoexport.export.demo.world.picture import draw_frames
from echoexport.export.demo.world.state import FaceState
from echoexport.runtime.errors import SettingError


def test_a_seed_gives_the_same_person_every_time() -> None:
    first = draw_person(7)
    second = draw_person(7)
    np.testing.assert_array_equal(first.parameters, second.parameters)
    assert first.parameters.dtype == np.float32
    assert first.parameters.shape == (PERSON_WIDTH,)


def test_thirty_people_look_pairwise_different() -> None:
    people = stack_people([draw_person(seed) for seed in range(30)])
    frames = draw_frames(people, FaceState.rest(30).as_matrix(), size=24)
    nearest = min(np.abs(frames[a] - frames[b]).mean() for a, b in combinations(range(30), 2))
    assert nearest > 0.03


def test_four_hundred_seeds_give_four_hundred_people() -> None:
    people = stack_people([draw_person(seed) for seed in range(400)])
    assert len(np.unique(people, axis=0)) == 400
    assert np.isfinite(people).all()


def test_a_persons_numbers_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="read-only"):
        draw_person(0).parameters[0] = 1


def test_a_negative_seed_is_refused_with_its_value() -> None:
    with pytest.raises(SettingError, match="-3"):
        draw_person(-3)
