"""Traces as files that Perfetto opens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from echoexport.runtime.files.aside import write_whole
from echoexport.runtime.trace.tracer import CLOCKS, MAIN, Span

_SCHEMA = 1


def write_trace(spans: Iterable[Span], path: Path) -> None:
    """Write spans as a Trace Event file, whole or not at all.

    Perfetto and Chrome's tracing page open it.

    Raises:
        OutputError: the file cannot be written.
    """
    write_whole(path, json.dumps(describe_trace(spans), separators=(",", ":")) + "\n")


def describe_trace(spans: Iterable[Span]) -> dict[str, Any]:
    """Spans as a JSON object of the Trace Event format.

    They become complete events, in microseconds from the first start. Clocks are
    processes and tracks are threads of the format, so that device time never lies among
    host time. Source: "Trace Event Format", the document that Chrome's and
    Perfetto's own pages on importing JSON traces refer to.
    """
    ordered = sorted(spans, key=lambda span: (span.start, -span.end))
    zero = ordered[0].start if ordered else 0.0
    threads: dict[tuple[str, str], int] = {("host", MAIN): 1}
    events = []
    for span in ordered:
        thread = threads.setdefault((span.clock, span.track), len(threads) + 1)
        events.append(
            {
                "name": span.name,
                "cat": span.category,
                "ph": "X",
                "pid": CLOCKS.index(span.clock) + 1,
                "tid": thread,
                "ts": round((span.start - zero) * 1e6, 3),
                "dur": round(span.seconds * 1e6, 3),
                "args": dict(span.arguments),
            }
        )
    return {
        "traceEvents": _name_threads(threads) + events,
        "displayTimeUnit": "ms",
        "otherData": {"schema": _SCHEMA},
    }


def _name_threads(threads: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    """The events that name clocks and tracks, given (clock, track) to a thread's number."""
    named: list[dict[str, Any]] = [
        {"name": "process_name", "ph": "M", "pid": number, "tid": 0, "args": {"name": clock}}
        for number, clock in enumerate(CLOCKS, 1)
        if any(known == clock for known, _ in threads)
    ]
    for (clock, track), thread in threads.items():
        where = {"ph": "M", "pid": CLOCKS.index(clock) + 1, "tid": thread}
        named.append({"name": "thread_name", **where, "args": {"name": track}})
        named.append({"name": "thread_sort_index", **where, "args": {"sort_index": thread}})
    return named
