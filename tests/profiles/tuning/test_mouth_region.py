"""The mouth of a face of which only the place is known."""

from __future__ import annotations

import numpy as np
import pytest

from echoexport.profiles.quality.mouth import FOLLOWS, SOUND
from echoexport.profiles.tuning.mouth_region import (
    MouthRegion,
    RegionScore,
    find_mouth_region,
    measure_movement,
)

REGION = MouthRegion(slice(20, 30), slice(10, 22))
OPEN = np.abs(np.sin(np.arange(20) * 0.7))


def draw_mouths(openness: np.ndarray) -> np.ndarray:
    """Frames of noise whose mouths darken as they open."""
    picture = np.random.default_rng(0).integers(100, 200, (32, 32, 3))
    frames = np.repeat(picture[None], len(openness), axis=0)
    dark = np.rint(80 * openness).astype(int)
    frames[:, 23:28, 12:20] -= dark[:, None, None, None]
    return frames.astype(np.uint8)


def face_mask(box: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((100, 100), np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = 255
    return mask


def test_the_mouth_is_in_the_lower_middle_of_the_face() -> None:
    region = find_mouth_region(face_mask((20, 10, 80, 90)))
    assert region is not None
    assert 50 <= region.rows.start < 70 < region.rows.stop <= 90
    assert 20 < region.columns.start < 50 < region.columns.stop < 80


@pytest.mark.parametrize("box", [(0, 0, 100, 100), (0, 0, 0, 0), (10, 10, 13, 13)])
def test_a_face_that_may_be_anywhere_or_is_tiny_has_no_known_mouth(
    box: tuple[int, int, int, int],
) -> None:
    assert find_mouth_region(face_mask(box)) is None


def test_movement_follows_the_openness() -> None:
    frames = draw_mouths(OPEN)
    mine, theirs = measure_movement(frames, frames, REGION)
    assert np.array_equal(mine, theirs)
    assert abs(np.corrcoef(theirs, OPEN)[0, 1]) > 0.999


def test_a_mouth_that_moves_as_the_reference_s_follows_it_and_the_sound() -> None:
    frames = draw_mouths(OPEN)
    score = RegionScore(REGION, OPEN)
    assert score(frames, frames) == pytest.approx({FOLLOWS: 1.0, SOUND: 1.0}, abs=1e-3)


def test_a_mouth_that_moves_late_loses_both() -> None:
    score = RegionScore(REGION, OPEN)
    found = score(draw_mouths(np.roll(OPEN, 2)), draw_mouths(OPEN))
    assert found[FOLLOWS] < 0.8 and found[SOUND] < 0.8


def test_movement_elsewhere_does_not_count() -> None:
    moved = draw_mouths(OPEN)
    moved[:, :10] += np.arange(20, dtype=np.uint8)[:, None, None, None]
    score = RegionScore(REGION, OPEN)
    assert score(moved, draw_mouths(OPEN))[FOLLOWS] == pytest.approx(1)


def test_a_mouth_that_stands_still_has_no_score() -> None:
    still = draw_mouths(np.zeros(20))
    assert RegionScore(REGION, OPEN)(still, still) == {}


def test_silence_leaves_the_likeness_alone() -> None:
    frames = draw_mouths(OPEN)
    assert list(RegionScore(REGION, np.zeros(20))(frames, frames)) == [FOLLOWS]
