"""One bound for all that the server keeps of what it was sent, and of what it made of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from types import TracebackType

from echoexport.runtime.serve.refusals import RefusedError, refuse

_FRESH = 0.1  # seconds for which what was read of the watched is good enough for a piece of a body
SOUND_BYTES = 208_000
"""A second of sound that waits: float32 at 48 kHz and at 4 kHz more for its mel columns."""


class MemoryBudget:
    """Bytes that are held; any thread may take and give back."""

    def __init__(self, most: int, *, now: Callable[[], float] = monotonic) -> None:
        """``now``: seconds."""
        self.most = most
        self._held = 0
        self._now = now
        self._read = (float("-inf"), 0)  # when the watched were, and what they said
        self._watched: list[Callable[[], float]] = []
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Bytes that are taken now."""
        watched = self._read_watched()
        with self._lock:
            return self._held + watched

    def watch(self, read: Callable[[], float]) -> None:
        """Count what ``read`` says too: bytes that come and go by themselves."""
        self._watched.append(read)

    def require(self, size: float) -> None:
        """Refuse what would be too much, and take nothing.

        Raises:
            RefusedError: 503, with what is held.
        """
        self._check(self.held, size)

    def _check(self, held: int, size: float) -> None:
        if held + size > self.most:
            raise RefusedError(
                refuse(
                    503,
                    f"the server holds {held / 2**20:.0f} MiB of uploads, videos and sound, and "
                    f"at most {self.most / 2**20:.0f} may be; try again later",
                    kind="out_of_memory",
                )
            )

    def take(self, size: int = 0) -> HeldBytes:
        """Hold so many bytes until they are given back.

        Raises:
            RefusedError: 503: all together would be too much.
        """
        held = HeldBytes(self)
        held.grow(size)
        return held

    def add(self, held: HeldBytes, size: int) -> None:
        """For :class:`HeldBytes`: so many more. Raises as :meth:`take`.

        It comes with each piece of each body, in the loop that all connections share; so what
        is watched is read anew after 0.1 s only.
        """
        read, watched = self._read
        if self._now() - read > _FRESH:
            watched = self._read_watched()  # outside the lock: sessions have locks of their own
        with self._lock:
            self._check(self._held + watched, size)
            self._held += size
            held.size += size

    def remove(self, held: HeldBytes) -> None:
        """For :class:`HeldBytes`: all of them, once, whoever asks at the same time."""
        with self._lock:
            self._held -= held.size
            held.size = 0

    def _read_watched(self) -> int:
        found = round(sum(read() for read in list(self._watched)))
        self._read = (self._now(), found)
        return found


class HeldBytes:
    """Some bytes of a budget; a context manager."""

    def __init__(self, budget: MemoryBudget) -> None:
        self.size = 0
        self._budget = budget

    def __enter__(self) -> HeldBytes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.give_back()

    def grow(self, size: int) -> None:
        """So many more. Raises as :meth:`MemoryBudget.take` does, and then holds what it held."""
        if size:
            self._budget.add(self, size)

    def give_back(self) -> None:
        """All of them."""
        self._budget.remove(self)
