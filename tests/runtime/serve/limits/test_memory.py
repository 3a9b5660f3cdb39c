"""One bound for uploads, videos and sound: what is too much is refused, what goes is free again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.live_stage import make_voice
from fixtures.served import Served, take_event

from echoexport.runtime.serve.limits.memory import MemoryBudget
from echoexport.runtime.serve.refusals import RefusedError


def wait_for_held(served: Served, size: int) -> None:
    """What a request held is given back once it is answered."""
    until = time.monotonic() + 5
    while served.table.budget.held != size:
        assert time.monotonic() < until, served.table.budget.held
        time.sleep(0.01)


def test_what_is_taken_can_be_given_back() -> None:
    budget = MemoryBudget(100)
    with budget.take(60) as held:
        held.grow(40)
        assert budget.held == 100
        with pytest.raises(RefusedError, match="at most"):
            budget.take(1)
        with pytest.raises(RefusedError):
            held.grow(1)
        assert held.size == 100
    assert budget.held == 0


def test_what_is_given_back_twice_is_free_once() -> None:
    budget = MemoryBudget(100)
    other = budget.take(30)
    held = budget.take(60)
    held.give_back()
    held.give_back()
    assert (budget.held, other.size) == (30, 30)


def test_what_comes_and_goes_by_itself_is_counted_too() -> None:
    budget = MemoryBudget(100)
    waiting = [30.0, 80.0]
    budget.watch(lambda: waiting[0])
    budget.take(60)
    waiting.pop(0)
    with pytest.raises(RefusedError):
        budget.require(0)


def test_pieces_of_a_body_read_what_is_watched_ten_times_a_second_at_most() -> None:
    clock = [0.0]
    reads: list[float] = []

    def read() -> float:
        reads.append(clock[0])
        return 40.0 if clock[0] < 1 else 90.0

    budget = MemoryBudget(100, now=lambda: clock[0])
    budget.watch(read)
    with budget.take() as held:
        for number in range(100):  # for 0.99 s
            clock[0] = number / 100
            held.grow(0 if number % 2 else 1)
        assert 8 <= len(reads) <= 10
        clock[0] = 1.05
        with pytest.raises(RefusedError):
            held.grow(1)
    count = len(reads)
    assert [budget.held, budget.held] == [90, 90]
    assert len(reads) == count + 2


def test_uploads_of_many_are_bounded_together(
    serve: Callable[..., Served], portrait_file: Path
) -> None:
    face = portrait_file.read_bytes()
    padded = face + b"\0" * (40_000 - len(face))
    served = serve(most_memory=100_000)
    # One is held while the next is read, and then a copy of it is kept.
    assert served.request("POST", "/v1/portraits", content=padded).status_code == 201
    full = served.request("POST", "/v1/portraits", content=padded)
    assert full.status_code == 503
    assert full.headers["retry-after"] == "5"
    assert full.json()["error"]["type"] == "out_of_memory"
    assert "MiB" in full.json()["error"]["message"]
    wait_for_held(served, 40_000)


def test_a_body_without_a_length_is_bounded_too(serve: Callable[..., Served]) -> None:
    served = serve(most_memory=100_000)
    answer = served.request("POST", "/v1/portraits", content=iter([b"a" * 30_000] * 9))
    assert answer.status_code == 503
    wait_for_held(served, 0)


def test_sound_that_waits_is_bounded_over_all_sessions(serve: Callable[..., Served]) -> None:
    served = serve(most_memory=2_000_000)
    pcm = (make_voice(8) * 32767).astype("<i2").tobytes()
    with served.connect() as one, served.connect() as other:
        take_event(one, "session.created")
        take_event(other, "session.created")
        one.send(pcm)
        take_event(one, "output_video.speaking")
        for _ in range(3):
            other.send(pcm)
        told = take_event(other, "error")["error"]
        assert (told["status"], told["type"]) == (503, "out_of_memory")
        assert "echoexport_held_bytes" in served.request("GET", "/metrics").text
