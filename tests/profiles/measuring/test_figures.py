"""Figures of timings: percentiles, drift between halves, and what is more than noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoexport.profiles.measuring.figures import compare_samples, find_drift, summarize
from echoexport.profiles.reports.profile import make_timing

SECONDS = st.floats(1e-6, 1e3)
SAMPLES = st.lists(
    st.lists(SECONDS, min_size=1, max_size=20).map(tuple), min_size=1, max_size=5
).map(tuple)


@given(SAMPLES)
def test_percentiles_are_in_order_and_within_the_samples(
    samples: tuple[tuple[float, ...], ...],
) -> None:
    figures = summarize(samples)
    values = [value for repeat in samples for value in repeat]
    assert figures is not None
    assert min(values) <= figures.p50 <= figures.p90 <= figures.p99 <= figures.max == max(values)
    assert figures.count == len(values)


def test_no_sample_has_no_figures() -> None:
    assert summarize(()) is None
    assert make_timing(((), ())) is None
    assert compare_samples((), ((1.0,),)) is None


@settings(deadline=None, max_examples=20)  # a thousand draws each
@given(SAMPLES)
def test_samples_of_alike_sets_do_not_differ(samples: tuple[tuple[float, ...], ...]) -> None:
    change = compare_samples(samples, samples)
    assert change is not None
    assert change.ratio == 1
    assert not change.exceeds_noise


def make_noise(scale: float, *, seed: int) -> tuple[tuple[float, ...], ...]:
    random = np.random.default_rng(seed)
    return tuple(tuple(scale * random.lognormal(0, 0.1, 40)) for _ in range(5))


def test_a_difference_larger_than_the_noise_is_found_and_its_interval_holds_it() -> None:
    change = compare_samples(make_noise(1.0, seed=1), make_noise(1.3, seed=2))
    assert change is not None
    assert change.exceeds_noise
    assert change.low is not None and change.high is not None
    assert change.low < 1.3 < change.high


def test_noise_alone_is_rarely_taken_for_a_difference() -> None:
    changes = [
        compare_samples(make_noise(1.0, seed=seed), make_noise(1.0, seed=seed + 50))
        for seed in range(12)
    ]
    assert sum(change is not None and change.exceeds_noise for change in changes) <= 2


def test_one_sample_each_says_nothing_of_noise() -> None:
    change = compare_samples(((1.0,),), ((9.0,),))
    assert change is not None
    assert (change.ratio, change.low, change.exceeds_noise) == (9.0, None, False)


@pytest.mark.parametrize(
    ("samples", "drift"),
    [
        (((1.0,), (1.0,), (1.2,), (1.2,)), 0.2),
        (((1.0, 1.0, 1.5, 1.5),), 0.5),
        (((1.0,), (1.0,)), 0.0),
        (((1.0,), (1.1,), (1.0,), (1.1,)), 0.1),
        (((1.0,),), None),
        ((), None),
    ],
)
def test_drift_is_the_larger_difference_of_halves_in_time_and_in_turns(
    samples: tuple[tuple[float, ...], ...], drift: float | None
) -> None:
    assert find_drift(samples) == (None if drift is None else pytest.approx(drift))
