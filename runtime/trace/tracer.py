"""Collects what the runtime did and when, as spans."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import count
from types import TracebackType
from typing import Any

__all__ = [
    "CATEGORIES",
    "CLIP",
    "CLOCKS",
    "MAIN",
    "NULL",
    "Span",
    "Tracer",
    "nest_spans",
]

CATEGORIES = ("engine", "copy", "audio", "decode", "encode", "wait", "stage", "sampling")
CLOCKS = ("host", "device")
MAIN = "main"
"""The track of the thread that made the tracer."""

CLIP = "clip"
"""The name of the span around a whole clip, whose own time no stage accounts for."""

INHERITING = frozenset({"engine", "copy"})
"""Categories of spans that are part of whatever stage asked for them."""

_LIMIT = 1_000_000  # spans, about 300 MB


@dataclass(frozen=True)
class Span:
    """One thing that took time."""

    name: str
    category: str
    """What kind of work, of ``CATEGORIES``; "stage" is for stages that have no category
    of their own and go by their name."""
    start: float
    """Seconds of ``time.perf_counter``."""
    end: float
    """Likewise."""
    track: str = MAIN
    """The thread, by a name that readers know."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What it was about, plain values (``network``, ``step``, ``window``, ``frame``,
    ``portrait``)."""
    clock: str = "host"
    """Of ``CLOCKS``: "device" where a device measured the duration itself. Where such a
    span stands on the host's time line is an estimate."""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


class Tracer:
    """Collects spans from any number of threads, up to ``limit``.

    ``dropped`` counts those that came after. Threads go by the name that they give
    themselves with :meth:`name_track`; the one that makes the tracer is "main".
    ``now`` is the clock, in seconds.
    """

    enabled = True

    def __init__(
        self, *, limit: int = _LIMIT, now: Callable[[], float] = time.perf_counter
    ) -> None:
        self.dropped = 0
        self.now = now
        self._limit = limit
        self._records: list[tuple[str, str, float, float, str, dict[str, Any], str]] = []
        self._tracks = {threading.get_ident(): MAIN}
        self._numbers = count(1)

    def span(self, name: str, category: str, **arguments: Any) -> AbstractContextManager[None]:
        """A context manager; the time within it becomes a span, also where an error ends it."""
        return _Running(self, name, category, arguments)

    def record(
        self,
        name: str,
        category: str,
        *,
        start: float,
        end: float,
        track: str | None = None,
        clock: str = "host",
        **arguments: Any,
    ) -> None:
        """A span that was timed elsewhere, in seconds of the tracer's clock.

        ``track`` None is this thread's.
        """
        if len(self._records) >= self._limit:
            self.dropped += 1
            return
        # a tuple and one append, which no other thread can come between
        self._records.append(
            (name, category, start, end, track or self._find_track(), arguments, clock)
        )

    def name_track(self, name: str) -> None:
        """Call this thread so from now on."""
        self._tracks[threading.get_ident()] = name

    def spans(self) -> tuple[Span, ...]:
        """All that was collected, in the order of their starts, outer ones first.

        Engine calls and copies know what they were part of: one within a window's span
        has the window's arguments besides its own, and so on outwards.
        """
        return self._describe(self._records.copy())

    def _describe(
        self, records: list[tuple[str, str, float, float, str, dict[str, Any], str]]
    ) -> tuple[Span, ...]:
        # recorded as they end: of two that are alike the later one holds the other
        spans = [Span(*record) for record in reversed(records)]
        outer: dict[int, Mapping[str, Any]] = {}
        found = []
        for index, parent in nest_spans(spans):
            span = spans[index]
            known = {} if parent is None else outer[parent]
            outer[index] = {**known, **span.arguments}
            found.append(
                replace(span, arguments=outer[index]) if span.category in INHERITING else span
            )
        return tuple(found)

    @property
    def count(self) -> int:
        """How many were collected."""
        return len(self._records)

    def take(self) -> tuple[Span, ...]:
        """The same, and forget them: what comes next is a new trace."""
        records = self._records.copy()
        del self._records[: len(records)]  # and not what another thread has added since
        self.dropped = 0
        return self._describe(records)

    def clear(self) -> None:
        """Forget what was collected."""
        self._records.clear()
        self.dropped = 0

    def _find_track(self) -> str:
        ident = threading.get_ident()
        if ident not in self._tracks:
            self._tracks[ident] = f"thread {next(self._numbers)}"
        return self._tracks[ident]


class _Running:
    """A span that has not ended."""

    __slots__ = ("_arguments", "_category", "_name", "_start", "_tracer")

    def __init__(self, tracer: Tracer, name: str, category: str, arguments: dict[str, Any]) -> None:
        self._tracer = tracer
        self._name = name
        self._category = category
        self._arguments = arguments

    def __enter__(self) -> None:
        self._start = self._tracer.now()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        end = self._tracer.now()
        self._tracer.record(
            self._name, self._category, start=self._start, end=end, **self._arguments
        )


class _Nothing:
    """A context manager that does nothing, for any number of uses at once."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


class _NullTracer(Tracer):
    """Collects nothing."""

    enabled = False
    _nothing = _Nothing()

    def span(self, name: str, category: str, **arguments: Any) -> AbstractContextManager[None]:
        return self._nothing

    def record(
        self,
        name: str,
        category: str,
        *,
        start: float,
        end: float,
        track: str | None = None,
        clock: str = "host",
        **arguments: Any,
    ) -> None:
        return None

    def name_track(self, name: str) -> None:
        return None


NULL: Tracer = _NullTracer()
"""The tracer that collects nothing, for whoever is given no other."""


def nest_spans(spans: list[Span]) -> Iterator[tuple[int, int | None]]:
    """Each span's index with that of the innermost span around it, in the order of their starts.

    Only spans of its own track and clock count. Of two with the same times the first
    holds the second. Spans that overlap without one holding the other, as calls of one
    device may, have no parent among each other.
    """
    order = sorted(range(len(spans)), key=lambda index: (spans[index].start, -spans[index].end))
    around: dict[tuple[str, str], list[int]] = {}
    for index in order:
        span = spans[index]
        stack = around.setdefault((span.track, span.clock), [])
        while stack and spans[stack[-1]].end < span.end:
            stack.pop()
        yield index, stack[-1] if stack else None
        stack.append(index)
