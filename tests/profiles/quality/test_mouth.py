"""The openness measure on plain drawn slots: a dark gap of known height between two lips."""

from __future__ import annotations

import numpy as np
import pytest

from echoexport.profiles.quality.mouth import MouthGuide, mouth_closed, mouth_openness
from echoexport.runtime.errors import InputError

TALLEST = 12.0


def draw_slots(openness: np.ndarray) -> np.ndarray:
    """Frames (n, 40, 40, 3).

    A gap of so much of twelve rows, its edges anti-aliased, in a reddish field.
    """
    rows = np.arange(40)[None] + 0.5
    gap = np.clip(openness[:, None] * TALLEST / 2 - np.abs(rows - 20) + 0.5, 0, 1)
    shade = (gap * np.minimum(openness[:, None] * TALLEST, 1))[..., None, None]
    colour = (1 - shade) * np.array([200.0, 110, 100]) + shade * np.array([50.0, 10, 20])
    return np.rint(np.broadcast_to(colour, (len(openness), 40, 40, 3))).astype(np.uint8)


def make_guide() -> MouthGuide:
    openness = np.linspace(0, 1, 21)
    return MouthGuide(8, 5, draw_slots(openness)[:, 8:32, 5:35], openness)


def test_openness_is_read_between_the_examples() -> None:
    truth = np.random.default_rng(0).random(50)
    assert np.abs(mouth_openness(draw_slots(truth), make_guide()) - truth).max() < 0.05


def test_openness_survives_noise_and_a_wrong_tint() -> None:
    truth = np.random.default_rng(0).random(50)
    shaken = (
        draw_slots(truth) + np.random.default_rng(1).uniform(-8, 8, (50, 40, 40, 3)) + [6, 0, -6]
    )
    found = mouth_openness(np.clip(shaken, 0, 255).astype(np.uint8), make_guide())
    assert np.corrcoef(found, truth)[0, 1] > 0.99


def test_a_head_that_nods_by_a_pixel_does_not_open_its_mouth() -> None:
    truth = np.linspace(0, 1, 11)
    found = mouth_openness(np.roll(draw_slots(truth), 1, axis=1), make_guide())
    assert np.abs(found - truth).max() < 0.05


def test_closed_lips_measure_as_closed_and_parted_ones_do_not() -> None:
    found = mouth_openness(draw_slots(np.array([0.0, 0.15, 1.0])), make_guide())
    assert mouth_closed(found).tolist() == [True, False, False]


def test_a_guide_that_leaves_the_frame_is_refused() -> None:
    with pytest.raises(InputError, match="leaves frames"):
        mouth_openness(np.zeros((1, 30, 40, 3), np.uint8), make_guide())


def test_a_guide_needs_a_value_for_every_example() -> None:
    with pytest.raises(InputError, match="2 values"):
        MouthGuide(1, 1, np.zeros((3, 4, 4, 3), np.uint8), np.zeros(2))
