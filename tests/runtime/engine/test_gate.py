"""The gate: many pass at once or one alone, nobody waits for ever, and an error leaves it open."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from echoexport.runtime.engine.gate import Gate

LIMIT = 20  # seconds after which a thread hangs
SHORT = 0.05

Entrance = Callable[[Gate], AbstractContextManager[None]]

ENTRANCES: list[Entrance] = [Gate.shared, Gate.alone]


@pytest.fixture
def gate() -> Gate:
    return Gate()


class Visitor:
    """A thread that enters by an entrance and stays until it is let go."""

    def __init__(self, gate: Gate, entrance: Entrance) -> None:
        self._gate = gate
        self._entrance = entrance
        self._inside = threading.Event()
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._visit, daemon=True)
        self._thread.start()

    def _visit(self) -> None:
        with self._entrance(self._gate):
            self._inside.set()
            self._leave.wait(LIMIT)

    def is_inside(self, seconds: float = LIMIT) -> bool:
        return self._inside.wait(seconds)

    def leave(self) -> None:
        self._leave.set()
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()


def wait_for_queue(gate: Gate) -> None:
    """Until somebody waits to be alone."""
    end = time.monotonic() + LIMIT
    while not gate._waiting and time.monotonic() < end:
        time.sleep(0.001)


def is_open(gate: Gate) -> bool:
    """Whether each entrance lets a newcomer in."""
    found = []
    for entrance in ENTRANCES:
        visitor = Visitor(gate, entrance)
        found.append(visitor.is_inside())
        visitor.leave()
    return all(found)


def test_many_share(gate: Gate) -> None:
    visitors = [Visitor(gate, Gate.shared) for _ in range(4)]
    assert all(visitor.is_inside() for visitor in visitors)
    for visitor in visitors:
        visitor.leave()


def test_who_wants_to_be_alone_waits_until_the_last_has_left(gate: Gate) -> None:
    first = Visitor(gate, Gate.shared)
    second = Visitor(gate, Gate.shared)
    assert first.is_inside() and second.is_inside()
    alone = Visitor(gate, Gate.alone)
    first.leave()
    assert not alone.is_inside(SHORT)
    second.leave()
    assert alone.is_inside()
    alone.leave()


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_nobody_enters_while_one_is_alone(gate: Gate, entrance: Entrance) -> None:
    alone = Visitor(gate, Gate.alone)
    assert alone.is_inside()
    other = Visitor(gate, entrance)
    assert not other.is_inside(SHORT)
    alone.leave()
    assert other.is_inside()
    other.leave()


def test_who_waits_to_be_alone_goes_before_those_that_come_to_share_later(gate: Gate) -> None:
    inside = Visitor(gate, Gate.shared)
    assert inside.is_inside()
    alone = Visitor(gate, Gate.alone)
    wait_for_queue(gate)
    late = Visitor(gate, Gate.shared)
    assert not late.is_inside(SHORT)
    inside.leave()
    assert alone.is_inside()
    assert not late.is_inside(SHORT)
    alone.leave()
    assert late.is_inside()
    late.leave()


def test_a_stream_of_those_that_share_does_not_keep_one_from_being_alone(gate: Gate) -> None:
    done = threading.Event()

    def share() -> None:
        while not done.is_set():
            with gate.shared():
                time.sleep(0.002)

    threads = [threading.Thread(target=share, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    alone = Visitor(gate, Gate.alone)
    assert alone.is_inside()
    alone.leave()
    done.set()
    for thread in threads:
        thread.join(LIMIT)


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_an_error_inside_leaves_the_gate_open(gate: Gate, entrance: Entrance) -> None:
    with pytest.raises(KeyboardInterrupt), entrance(gate):
        raise KeyboardInterrupt
    assert is_open(gate)


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_an_interrupt_while_one_waits_leaves_the_gate_open(
    gate: Gate, entrance: Entrance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(wanted: Any) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(gate._changed, "wait_for", interrupt)
        with pytest.raises(KeyboardInterrupt), entrance(gate):
            pass
    assert is_open(gate)


def test_whatever_the_order_one_that_is_alone_meets_nobody(gate: Gate) -> None:
    inside: list[str] = []
    met: list[list[str]] = []

    def visit(seed: int) -> None:
        numbers = random.Random(seed)
        for _ in range(30):
            kind = numbers.choice(["shared", "shared", "alone"])
            with getattr(gate, kind)():
                inside.append(kind)
                time.sleep(numbers.random() / 2000)
                met.append(sorted(inside))
                inside.remove(kind)

    threads = [threading.Thread(target=visit, args=(seed,), daemon=True) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert len(met) == 180
    assert [each for each in met if "alone" in each and len(each) > 1] == []
