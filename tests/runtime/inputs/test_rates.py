"""Frame rates are exact fractions, and frames cover a voice."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.runtime.errors import SettingError
from echoexport.runtime.inputs.rates import covering_frame_count, exact_rate


@given(st.fractions(Fraction(1, 10), 10_000), st.fractions(1, 120))
def test_covering_frames_cover_the_sound_and_none_is_spare(duration: Any, fps: Any) -> None:
    fps = fps.limit_denominator(1001)
    count = covering_frame_count(duration, fps)
    assert (count - 1) / fps < duration <= count / fps


def test_covering_frames_are_counted_without_rounding() -> None:
    assert covering_frame_count(Fraction(10), 24) == 240
    assert covering_frame_count(Fraction(10) + Fraction(1, 16_000), 24) == 241
    assert covering_frame_count(Fraction(1001), 30_000 / 1001) == 30_000
    assert covering_frame_count(Fraction(125_696, 24_000), 24) == 126


@pytest.mark.parametrize(
    ("fps", "exact"),
    [
        (24, Fraction(24)),
        (12.5, Fraction(25, 2)),
        (29.97, Fraction(2997, 100)),
        (30_000 / 1001, Fraction(30_000, 1001)),
        (Fraction(24_000, 1001), Fraction(24_000, 1001)),
        (np.float64(23.976), Fraction(2997, 125)),
    ],
)
def test_rates_are_the_fractions_they_stand_for(fps: Any, exact: Fraction) -> None:
    assert exact_rate(fps) == exact


@pytest.mark.parametrize("fps", [0, -24, float("nan"), float("inf"), 5000, 1e-9, True, "24", None])
def test_a_rate_that_cannot_be_is_refused(fps: Any) -> None:
    with pytest.raises(SettingError, match="fps"):
        exact_rate(fps)
