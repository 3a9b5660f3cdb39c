"""Making things in a thread while they are used."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count

import pytest

from echoexport.runtime.rendering.ahead import run_ahead


def count_to(limit: int, made: list[int]) -> Iterator[int]:
    for number in range(limit):
        made.append(number)
        yield number


@pytest.mark.parametrize("most", [1, 3, 100])
def test_items_come_in_their_order_and_all_of_them(most: int) -> None:
    assert list(run_ahead(count_to(20, []), most=most)) == list(range(20))


def test_nothing_to_make_is_nothing_to_use() -> None:
    assert list(run_ahead([], most=2)) == []


def test_no_more_is_made_ahead_than_asked_for() -> None:
    made: list[int] = []
    items = run_ahead(count_to(50, made), most=3)
    assert next(items) == 0
    time.sleep(0.3)
    assert len(made) <= 1 + 3 + 1  # used, waiting, and the one that waits for a place
    items.close()


def test_an_error_is_raised_where_the_item_would_have_come() -> None:
    def fail() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    items = run_ahead(fail(), most=5)
    assert next(items) == 1
    with pytest.raises(ValueError, match="no more"):
        next(items)


def test_an_interrupt_in_the_making_reaches_whoever_waits() -> None:
    def interrupt() -> Iterator[int]:
        raise KeyboardInterrupt
        yield 1

    with pytest.raises(KeyboardInterrupt):
        next(run_ahead(interrupt(), most=5))


def test_leaving_early_ends_the_thread() -> None:
    makers: list[int] = []

    def tell_who() -> Iterator[int]:
        for number in count(1):
            makers.append(threading.get_ident())
            yield number

    with closing(run_ahead(tell_who(), most=2)) as items:
        assert next(items) == 1
        assert makers[0] in sys._current_frames()
    deadline = time.monotonic() + 5  # it has ended, but for the system's own work
    while makers[0] in sys._current_frames() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert makers[0] not in sys._current_frames()


def test_an_interrupt_at_any_moment_ends_the_iteration() -> None:
    # One that hangs must not take us along.
    done = subprocess.run([sys.executable, __file__], timeout=240, check=False)
    assert done.returncode == 0


def interrupt_often(times: int) -> None:
    """Iterate as fast as can be, and be interrupted at a random moment, again and again."""
    random.seed(0)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    for _ in range(times):
        items = run_ahead(count(1), most=24)
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(2e-4, 4e-3))
            for _ in items:
                pass
        except KeyboardInterrupt:
            pass
        items.close()
    deadline = time.monotonic() + 20  # the last thread has ended, but for the system's own work
    while len(sys._current_frames()) > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(sys._current_frames()) == 1


if __name__ == "__main__":
    interrupt_often(1500)
