"""Who does the work of all live sessions of a bundle: threads that take the most urgent first."""

from __future__ import annotations

import heapq
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from echoexport.runtime.live.scheduling.clock import LiveClock

SPARE = "spare"
"""The kind of what is done only where live sessions leave time for it."""
_LOST_AFTER = 1.0  # seconds
_LOOKED_AT = 0.02  # seconds between two looks whether spare work may begin


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
    since: float = field(compare=False, default=0.0)
    """When it was handed in, on the workers' clock."""

    @property
    def is_spare(self) -> bool:
        """Whether nobody waits for it by a clock."""
        return self.due == math.inf


class Workers(ABC):
    """A place to hand work in."""

    count: int
    """How many jobs run at once."""
    closed: bool
    """Whether what is handed in is dropped."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.closed = False
        self.find_room: Callable[[], int] = lambda: count
        """How many workers may be at spare work; asked with the workers' lock held."""
        self._turns = _number()

    def submit(
        self, kind: str, run: Callable[[], None], *, due: float, done: Callable[[float], None]
    ) -> None:
        """Hand in a job, see :class:`Job`."""
        self.take(Job(due, self._turns(), kind, run, done))

    def submit_spare(self, run: Callable[[], None], *, done: Callable[[float], None]) -> None:
        """Hand in what has no time of its own: it begins where nothing else waits and
        :attr:`find_room` has room for it.
        """
        self.take(Job(math.inf, self._turns(), SPARE, run, done))

    def find_oldest(self) -> float:
        """Seconds that the longest waiting of the jobs with a time has waited, 0 for none."""
        return 0.0

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
        self._lost = 0
        self._at_spare = 0
        self._threads: list[threading.Thread] = []
        for _ in range(count):
            self._add()

    def take(self, job: Job) -> None:
        """See :meth:`Workers.take`."""
        with self._changed:
            if not self.closed:
                job.since = self._clock.now()
                heapq.heappush(self._waiting, job)
                self._changed.notify()

    def find_oldest(self) -> float:
        """See :meth:`Workers.find_oldest`."""
        with self._changed:
            begun = [job.since for job in self._waiting if not job.is_spare]
        return max(0.0, self._clock.now() - min(begun)) if begun else 0.0

    def replace(self) -> None:
        """See :meth:`Workers.replace`."""
        with self._changed:
            self._lost += 1
            if not self.closed:
                self._add()

    def close(self) -> None:
        """See :meth:`Workers.close`; those that are lost are not waited for."""
        with self._changed:
            self.closed = True
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
        while (job := self._next()) is not None:
            begun = self._clock.now()
            job.run()
            job.done(self._clock.now() - begun)
            if job.is_spare:
                with self._changed:
                    self._at_spare -= 1
                    self._changed.notify()

    def _next(self) -> Job | None:
        """The most urgent, once it may begin; None at the end."""
        with self._changed:
            while not self.closed and not self._may_begin():
                # Nobody tells when a session comes to rest.
                self._changed.wait(_LOOKED_AT if self._waiting else None)
            if self.closed:
                return None
            job = heapq.heappop(self._waiting)
            self._at_spare += job.is_spare
            return job

    def _may_begin(self) -> bool:
        if not self._waiting:
            return False
        return not self._waiting[0].is_spare or self._at_spare < self.find_room()


def _number() -> Callable[[], int]:
    numbers = count()
    return lambda: next(numbers)
