"""Offline work runs where live sessions leave time for it, and takes none of theirs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from fixtures.live_stage import Stage, make_voice

from echoexport.runtime.errors import BackendError
from echoexport.runtime.live.scheduling.clock import MonotonicClock
from echoexport.runtime.live.scheduling.costs import Costs
from echoexport.runtime.live.scheduling.spare import SpareStoppedError, SpareTime
from echoexport.runtime.live.scheduling.workers import SPARE, ThreadWorkers

CALL = 0.08  # seconds of an offline call in simulated time


def measure(stage: Stage) -> None:
    """What the stage's blocks cost, as the first session of a real host measures it."""
    stage.host.costs.tell("draw 2 renoised", stage.workers.cost("draw 2 renoised"))
    stage.host.costs.tell("decode", stage.workers.cost("decode") / 4)


class OfflineWork:
    """One call after another, as soon as the workers take it."""

    def __init__(self, stage: Stage) -> None:
        self.calls = 0
        self._stage = stage
        stage.workers.seconds[SPARE] = CALL
        stage.host.at_offline = True
        self.ask()

    def ask(self) -> None:
        self._stage.workers.submit_spare(self.count, done=self.note)

    def count(self) -> None:
        self.calls += 1

    def note(self, seconds: float) -> None:
        self._stage.host.costs.tell(SPARE, seconds)
        self.ask()


@pytest.mark.parametrize(("sessions", "least"), [(1, 50), (2, 5)])
def test_no_frame_is_late_for_offline_work(
    make_stage: Callable[..., Stage], sessions: int, least: int
) -> None:
    stage = make_stage()
    measure(stage)
    work = OfflineWork(stage)
    talks = [stage.talk() for _ in range(sessions)]
    begun = stage.time.now()
    for number, talk in enumerate(talks):
        stage.speak(talk, make_voice(6, seed=number), delay=0.3 + 0.37 * number)
    given = stage.take_all(talks, begun + 8)
    assert [sum(frame.late > 0 for frame in frames) for frames in given] == [0] * sessions
    assert all(sum(frame.state == "speaking" for frame in frames) > 100 for frames in given)
    assert work.calls >= least


def test_a_session_for_each_worker_leaves_none_while_one_speaks(
    make_stage: Callable[..., Stage],
) -> None:
    stage = make_stage()
    measure(stage)
    talks = [stage.talk() for _ in range(2)]
    assert stage.host.count_spare() == 1
    begun = stage.time.now()
    stage.speak(talks[0], make_voice(4))
    stage.take_all(talks, begun + 1)
    assert stage.host.count_spare() == 0
    stage.take_all(talks, begun + 6)
    assert stage.host.count_spare() == 1


def test_nobody_there_leaves_all_of_them(stage: Stage) -> None:
    assert stage.host.count_spare() == stage.workers.count


@contextmanager
def working(count: int) -> Iterator[ThreadWorkers]:
    workers = ThreadWorkers(count, MonotonicClock())
    try:
        yield workers
    finally:
        workers.close()


def test_a_call_gives_what_it_gives_and_raises_what_it_raises() -> None:
    with working(1) as workers:
        costs = Costs()
        spare = SpareTime(workers, costs, is_stopped=lambda: False)
        assert spare.run(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            spare.run(lambda: 1 // 0)
        assert spare.run(lambda: costs.typical(SPARE, default=-1)) >= 0


def test_it_begins_after_what_is_due_and_only_where_there_is_room() -> None:
    done = list[str]()
    with working(1) as workers:
        room = [0]
        workers.find_room = lambda: room[0]
        ended = threading.Event()
        workers.submit_spare(lambda: done.append("spare"), done=lambda seconds: ended.set())
        time.sleep(0.1)
        workers.submit("draw", lambda: done.append("draw"), due=1e9, done=lambda seconds: None)
        time.sleep(0.1)
        assert done == ["draw"]
        room[0] = 1
        assert ended.wait(5)
    assert done == ["draw", "spare"]


def test_what_is_wanted_no_more_is_not_begun() -> None:
    with working(1) as workers:
        workers.find_room = lambda: 0
        spare = SpareTime(workers, Costs(), is_stopped=lambda: True)
        with pytest.raises(SpareStoppedError):
            spare.run(lambda: pytest.fail("it was begun"))


def test_what_was_not_begun_says_nothing_of_what_calls_cost() -> None:
    with working(1) as workers:
        workers.find_room = lambda: 0
        costs = Costs()
        with pytest.raises(SpareStoppedError):
            SpareTime(workers, costs, is_stopped=lambda: True).run(lambda: 1)
        done = threading.Event()
        workers.find_room = lambda: 1
        workers.submit_spare(done.set, done=lambda seconds: None)
        assert done.wait(5)
        assert costs.typical(SPARE, default=-1) == -1


def test_an_error_of_the_kind_that_waiting_raises_is_the_calls_own() -> None:
    def fail() -> None:
        raise TimeoutError("the call's own")

    with working(1) as workers, pytest.raises(TimeoutError, match="own"):
        SpareTime(workers, Costs(), is_stopped=lambda: False).run(fail)


def test_who_waits_for_workers_that_end_is_told() -> None:
    with working(1) as workers:
        workers.find_room = lambda: 0
        closing = threading.Timer(0.1, workers.close)
        closing.start()
        with pytest.raises(BackendError, match="have ended"):
            SpareTime(workers, Costs(), is_stopped=lambda: False).run(lambda: 1)
        closing.join()


def test_how_long_the_oldest_has_waited_is_told() -> None:
    gate = threading.Event()
    with working(1) as workers:
        assert workers.find_oldest() == 0
        for _ in range(2):
            workers.submit("draw", gate.wait, due=0, done=lambda seconds: None)
        workers.submit_spare(gate.wait, done=lambda seconds: None)
        time.sleep(0.1)
        assert 0.05 < workers.find_oldest() < 5
        gate.set()
