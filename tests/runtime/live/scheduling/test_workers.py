"""Workers do the most urgent job first, several at once, and drop what waits when they close."""

from __future__ import annotations

import threading

import pytest

from echoexport.runtime.live.scheduling.clock import MonotonicClock
from echoexport.runtime.live.scheduling.workers import ThreadWorkers


def note(seconds: float) -> None:
    """Whom no cost concerns."""


def test_the_earliest_due_is_done_first() -> None:
    done = list[str]()
    gate = threading.Event()
    ready = threading.Event()
    workers = ThreadWorkers(1, MonotonicClock())
    workers.submit("first", gate.wait, due=0, done=note)
    for name, due in (("late", 3.0), ("soon", 1.0), ("between", 2.0), ("soon too", 1.0)):
        workers.submit(name, lambda name=name: done.append(name), due=due, done=note)
    workers.submit("last", ready.set, due=9, done=note)
    gate.set()
    assert ready.wait(10)
    workers.close()
    assert done == ["soon", "soon too", "between", "late"]


def test_as_many_jobs_run_at_once_as_there_are_workers() -> None:
    both = threading.Barrier(2, timeout=10)
    workers = ThreadWorkers(2, MonotonicClock())
    met = threading.Semaphore(0)

    def meet() -> None:
        both.wait()
        met.release()

    for _ in range(2):
        workers.submit("meet", meet, due=0, done=note)
    assert met.acquire(timeout=10)
    assert met.acquire(timeout=10)
    workers.close()


def test_a_job_is_told_what_it_cost() -> None:
    told = threading.Event()
    costs = list[float]()
    workers = ThreadWorkers(1, MonotonicClock())

    def tell(seconds: float) -> None:
        costs.append(seconds)
        told.set()

    workers.submit("wait", lambda: threading.Event().wait(0.05), due=0, done=tell)
    assert told.wait(10)
    workers.close()
    assert costs[0] == pytest.approx(0.05, abs=0.04)


def test_what_waits_is_dropped_when_they_close() -> None:
    gate = threading.Event()
    begun = threading.Event()
    done = list[str]()

    def hold() -> None:
        begun.set()
        gate.wait()

    workers = ThreadWorkers(1, MonotonicClock())
    workers.submit("hold", hold, due=0, done=note)
    workers.submit("never", lambda: done.append("never"), due=1, done=note)
    assert begun.wait(10)
    threading.Timer(0.05, gate.set).start()
    workers.close()
    workers.submit("after", lambda: done.append("after"), due=0, done=note)
    assert done == []
    assert not any(thread.name.startswith("echoexport-live") for thread in threading.enumerate())
