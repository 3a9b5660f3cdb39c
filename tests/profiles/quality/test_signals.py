"""Closeness of arrays: blocks add up to the formula, and what has no figure is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.profiles.quality.signals import MOST_DECIBELS, ClosenessSums, measure_closeness
from echoexport.runtime.errors import (
    InputError,
)


@given(
    st.lists(
        st.tuples(st.floats(-100, 100, width=32), st.floats(-100, 100, width=32)),
        min_size=1,
        max_size=40,
    ),
    st.integers(1, 40),
)
def test_blocks_add_up_to_the_formula(pairs: list[tuple[float, float]], split: int) -> None:
    found, wanted = (np.array(side, np.float32) for side in zip(*pairs, strict=True))
    sums = ClosenessSums()
    for part in (slice(None, split), slice(split, None)):
        sums.add(found[part], wanted[part])
    result = sums.result()
    assert result == measure_closeness(found, wanted) or result.snr == pytest.approx(
        measure_closeness(found, wanted).snr, abs=0.002
    )
    one = found.astype(np.float64)
    other = wanted.astype(np.float64)
    assert result.largest == pytest.approx(np.abs(one - other).max(), rel=1e-4)
    signal = float(other @ other)
    error = float((one - other) @ (one - other))
    if signal > 0 and error > 0 and abs(10 * np.log10(signal / error)) < MOST_DECIBELS:
        assert result.snr == pytest.approx(10 * np.log10(signal / error), abs=0.002)


def test_shapes_that_differ_are_not_compared() -> None:
    with pytest.raises(InputError, match="cannot be compared"):
        measure_closeness(np.zeros(3), np.zeros(4))
