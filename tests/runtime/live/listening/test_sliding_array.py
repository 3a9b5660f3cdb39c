"""An array that is appended to and forgotten from keeps its indices and its memory small."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.runtime.live.listening.sliding_array import SlidingArray


def hold(array: SlidingArray) -> np.ndarray:
    """All rows that are held, copied."""
    return array.cut(array.start, array.stop).copy()


def count_room(array: SlidingArray) -> int:
    """Rows that it has memory for."""
    return len(array._rows)


@given(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 900)), max_size=40))
def test_rows_are_found_by_the_index_they_came_with(moves: list[tuple[int, int]]) -> None:
    array = SlidingArray((2,))
    forgotten = 0
    for more, forget in moves:
        numbers = np.arange(array.stop, array.stop + more, dtype=np.float32)
        array.append(np.stack([numbers, -numbers], axis=1))
        array.forget(array.start + forget)
        forgotten = min(forgotten + forget, array.stop)
        assert array.start == forgotten
        wanted = np.arange(array.start, array.stop, dtype=np.float32)
        assert np.array_equal(hold(array), np.stack([wanted, -wanted], axis=1))


def test_numbers_are_rows_without_a_shape() -> None:
    array = SlidingArray(())
    array.append(np.array([1.0, 2.0, 3.0], np.float32))
    array.forget(1)
    assert hold(array).tolist() == [2.0, 3.0]


def test_a_cut_stays_what_it_was_whatever_comes_after_it() -> None:
    array = SlidingArray(())
    array.append(np.arange(900, dtype=np.float32))
    early = array.cut(100, 200)
    for _ in range(50):
        array.forget(array.stop)
        array.append(np.full(900, -1.0, np.float32))
    assert np.array_equal(early, np.arange(100, 200))


@pytest.mark.parametrize(("start", "stop"), [(4, 6), (5, 11), (8, 7)])
def test_rows_that_are_not_held_are_refused(start: int, stop: int) -> None:
    array = SlidingArray(())
    array.append(np.zeros(10, np.float32))
    array.forget(5)
    with pytest.raises(IndexError, match="5 to 10 are held"):
        array.cut(start, stop)


def test_forgetting_what_is_gone_or_has_not_come_loses_nothing_else() -> None:
    array = SlidingArray(())
    array.append(np.zeros(10, np.float32))
    array.forget(5)
    array.forget(3)
    assert (array.start, array.stop) == (5, 10)
    array.forget(99)
    assert (array.start, array.stop) == (10, 10)
    array.append(np.ones(1, np.float32))
    assert array.cut(10, 11).tolist() == [1.0]


def test_memory_follows_what_is_held_not_what_ever_came() -> None:
    array = SlidingArray(())
    second = np.zeros(16_000, np.float32)
    for number in range(3600):
        array.append(second)
        array.forget((number + 1) * 16_000 - 4_000)
    assert array.stop == 3600 * 16_000
    assert count_room(array) <= 4 * 20_000


def test_a_burst_leaves_no_memory_behind() -> None:
    array = SlidingArray(())
    array.append(np.zeros(1_000_000, np.float32))
    array.forget(array.stop)
    for _ in range(3_000):
        array.append(np.zeros(1_000, np.float32))
        array.forget(array.stop)
    assert count_room(array) <= 4_000
