"""Correlation, lag and the worst tenth, on curves whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.profiles.quality.lipsync import best_lag, correlate, is_constant, worst_decile
from echoexport.runtime.errors import InputError


def wave(n: int = 80) -> np.ndarray:
    return np.convolve(np.random.default_rng(0).random(n + 8), np.ones(4) / 4, mode="same")[:n]


def test_a_scaled_curve_correlates_fully() -> None:
    assert correlate(wave(), 3 * wave() + 1) == pytest.approx(1.0)
    assert correlate(wave(), -wave()) == pytest.approx(-1.0)


def test_a_mouth_that_stands_still_follows_nothing() -> None:
    assert is_constant(np.full(80, 0.3))
    assert correlate(wave(), np.full(80, 0.3)) == 0.0


@given(st.integers(-8, 8))
def test_a_late_curve_has_a_positive_lag(late: int) -> None:
    long = wave(120)
    found = best_lag(long[20:100], long[20 - late : 100 - late])
    assert found.frames == late
    assert found.correlation == pytest.approx(1.0)


def test_among_equal_lags_the_smallest_wins() -> None:
    assert best_lag(np.tile([0.0, 1.0], 20), np.tile([0.0, 1.0], 20)).frames == 0


def test_curves_of_two_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="one length"):
        correlate(wave(80), wave(79))


def test_a_curve_too_short_for_the_lag_is_refused() -> None:
    with pytest.raises(InputError, match="too short"):
        best_lag(wave(9), wave(9), most=8)


def test_the_worst_tenth_is_a_mean_of_its_values() -> None:
    values = np.arange(40.0)
    assert worst_decile(values) == 1.5
    assert worst_decile(values, high_is_good=False) == 37.5


def test_of_a_few_values_the_worst_one_counts() -> None:
    assert worst_decile([0.9, 0.2, 0.8]) == 0.2


def test_no_values_have_no_worst_tenth() -> None:
    with pytest.raises(InputError, match="no values"):
        worst_decile([])
