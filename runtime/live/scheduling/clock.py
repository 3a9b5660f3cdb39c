"""The time that a live session goes by; tests put one in its place that they move themselves."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod


class LiveClock(ABC):
    """Seconds that only grow, and waiting."""

    @abstractmethod
    def now(self) -> float:
        """Seconds since some moment."""

    @abstractmethod
    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """Wait, ``condition`` held, until it is told of or so many seconds have passed.

        None waits for as long as it takes.
        """


class MonotonicClock(LiveClock):
    """The machine's own, which no change of the time of day moves."""

    def now(self) -> float:
        """``time.monotonic``."""
        return time.monotonic()

    def wait(self, condition: threading.Condition, seconds: float | None) -> None:
        """See :meth:`LiveClock.wait`."""
        condition.wait(seconds)
