"""Who does the work of all live sessions of a bundle: threads that take the most urgent first."""

from __future__ import annotations

import heapq
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from echoexport.runtime.live.scheduling.clock import LiveClock

_LOST_AFTER = 1.0  # seconds


@dataclass(order=True)
class Job:
    """A piece of work: a block to draw, or frames to decode."""

    due: float
    """When its first frame is shown, on the workers' clock; the earliest goes first."""
    turn: int
    """Of those that are due together, who came first."""
    kind: str = field(compare=False)
    """What its cost goes by, e.g. "draw"."""
    run: Callable[[], None] = field(compare=False)
    """Does it; raises nothing."""
    done: Callable[[float], None] = field(compare=False)
    """Is told how many seconds it took."""


class Workers(ABC):
    """A place to hand work in."""

    count: int
    """How many jobs run at once."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._turns = _number()

    def submit(
        self, kind: str, run: Callable[[], None], *, due: float, done: Callable[[float], None]
    ) -> None:
        """Hand in a job, see :class:`Job`."""
        self.take(Job(due, self._turns(), kind, run, done))

    @abstractmethod
    def take(self, job: Job) -> None:
        """Do the job once it is the most urgent of those that wait."""

    @abstractmethod
    def replace(self) -> None:
        """One of those that are at work will never end: have another in its place."""

    @abstractmethod
    def close(self) -> None:
        """Drop what waits and end once what runs has ended."""


class ThreadWorkers(Workers):
    """Threads, one for each lane of the engines."""

    def __init__(self, count: int, clock: LiveClock) -> None:
        super().__init__(count)
        self._clock = clock
        self._waiting: list[Job] = []
        self._changed = threading.Condition()
        self._closed = False
        self._lost = 0
        self._threads: list[threading.Thread] = []
        for _ in range(count):
            self._add()

    def take(self, job: Job) -> None:
        """See :meth:`Workers.take`."""
        with self._changed:
            if not self._closed:
                heapq.heappush(self._waiting, job)
                self._changed.notify()

    def replace(self) -> None:
        """See :meth:`Workers.replace`."""
        with self._changed:
            self._lost += 1
            if not self._closed:
                self._add()

    def close(self) -> None:
        """See :meth:`Workers.close`; those that are lost are not waited for."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=_LOST_AFTER if self._lost else None)

    def _add(self) -> None:
        number = len(self._threads)
        thread = threading.Thread(target=self._work, name=f"echoexport-live-{number}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                job = heapq.heappop(self._waiting)
            begun = self._clock.now()
            job.run()
            job.done(self._clock.now() - begun)


def _number() -> Callable[[], int]:
    numbers = count()
    return lambda: next(numbers)
