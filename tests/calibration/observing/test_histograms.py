"""Where activations are clipped.

In range always, better than the maximum where a few values reach far.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.calibration.observing.histograms import BINS, find_threshold
from echoexport.calibration.plan import LEVELS

METHODS = ("percentile", "entropy", "mse")


def count(values: np.ndarray) -> tuple[np.ndarray, float]:
    amax = float(np.abs(values).max())
    return np.histogram(np.abs(values), BINS, (0, amax))[0], amax


def squared_error(values: np.ndarray, threshold: float) -> float:
    step = threshold / LEVELS
    return float(np.square(values - np.clip(np.rint(values / step), -LEVELS, LEVELS) * step).mean())


@given(
    st.dictionaries(st.integers(0, BINS - 1), st.integers(1, 10**6), min_size=1, max_size=40),
    st.floats(1e-6, 1e6),
    st.sampled_from(METHODS),
)
def test_the_threshold_lies_above_zero_and_at_most_at_the_maximum(
    filled: dict[int, int], amax: float, method: str
) -> None:
    counts = np.zeros(BINS, np.uint32)
    counts[list(filled)] = list(filled.values())
    assert 0 < find_threshold(counts, amax, method=method) <= amax


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_histogram_gives_the_maximum(method: str) -> None:
    assert find_threshold(np.zeros(BINS), 3.0, method=method) == 3.0


@given(st.integers(0, 2**32 - 1), st.floats(2.2, 6))
def test_mse_is_no_worse_than_the_maximum_on_heavy_tails(seed: int, freedom: float) -> None:
    values = np.random.default_rng(seed).standard_t(freedom, 20_000)
    counts, amax = count(values)
    assert squared_error(
        values, find_threshold(counts, amax, method="mse")
    ) <= 1.02 * squared_error(values, amax)


def test_mse_gains_decibels_where_one_value_reaches_far() -> None:
    values = np.append(np.random.default_rng(0).laplace(size=200_000), 40.0)
    counts, amax = count(values)
    gain = squared_error(values, amax) / squared_error(
        values, find_threshold(counts, amax, method="mse")
    )
    assert 10 * np.log10(gain) > 3


def test_mse_is_the_best_of_a_fine_grid_within_a_hundredth() -> None:
    values = np.random.default_rng(1).standard_normal(100_000)
    counts, amax = count(values)
    found = squared_error(values, find_threshold(counts, amax, method="mse"))
    assert found <= 1.01 * min(
        squared_error(values, share * amax) for share in np.linspace(0.3, 1, 71)
    )


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9])
def test_a_percentile_is_that_of_the_values_to_a_bin(percentile: float) -> None:
    values = np.random.default_rng(2).standard_normal(50_000)
    counts, amax = count(values)
    found = find_threshold(counts, amax, method="percentile", percentile=percentile)
    assert found == pytest.approx(np.percentile(np.abs(values), percentile), abs=1.5 * amax / BINS)


def test_the_whole_is_the_hundredth_percentile() -> None:
    counts, amax = count(np.random.default_rng(3).standard_normal(1000))
    assert find_threshold(counts, amax, method="percentile", percentile=100) == amax


def test_entropy_keeps_an_even_distribution_whole_and_cuts_a_lone_outlier() -> None:
    counts, amax = count(np.linspace(0, 1, 100_000))
    assert find_threshold(counts, amax, method="entropy") > 0.9
    counts, amax = count(np.append(np.random.default_rng(4).standard_normal(100_000), 60.0))
    assert find_threshold(counts, amax, method="entropy") < 10
