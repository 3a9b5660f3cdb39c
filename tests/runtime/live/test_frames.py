"""A frame and its samples go together for ever, whatever the rates."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.runtime.live.frames import count_frame_samples, find_first_sample

YEAR = 25 * 3600 * 24 * 365  # frames
RATES = [16_000, 24_000, 44_100]
FPS = [Fraction(24), Fraction(25), Fraction(30_000, 1001)]


def test_at_25_a_second_a_frame_has_640_samples_of_16_khz() -> None:
    assert {count_frame_samples(frame, 16_000, Fraction(25)) for frame in range(100)} == {640}
    assert find_first_sample(YEAR, 16_000, Fraction(25)) == YEAR * 640


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("fps", FPS)
def test_samples_never_drift_from_frames(rate: int, fps: Fraction) -> None:
    for frame in (0, 1, 999, YEAR, 30 * YEAR + 7):
        exact = Fraction(frame) * rate / fps
        assert 0 <= exact - find_first_sample(frame, rate, fps) < 1


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("fps", FPS)
def test_a_frames_samples_differ_from_anothers_by_one_at_most(rate: int, fps: Fraction) -> None:
    counts = {count_frame_samples(frame, rate, fps) for frame in range(3000)}
    assert counts <= {int(rate / fps), int(rate / fps) + 1}


@given(
    st.integers(0, YEAR),
    st.integers(4_000, 384_000),
    st.fractions(Fraction(1, 10), 240, max_denominator=1001),
)
def test_every_sample_goes_with_one_frame(frame: int, rate: int, fps: Fraction) -> None:
    first = find_first_sample(frame, rate, fps)
    assert first + count_frame_samples(frame, rate, fps) == find_first_sample(frame + 1, rate, fps)
    assert count_frame_samples(frame, rate, fps) >= 1
