"""Trace files: what Perfetto demands of them, and every span in its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.runtime.errors import OutputError
from echoexport.runtime.trace.trace_file import describe_trace, write_trace
from echoexport.runtime.trace.tracer import CATEGORIES, Span


def check_events(trace: dict[str, Any]) -> list[dict[str, Any]]:
    """The complete events of a trace.

    Every event must have the fields that the Trace Event format demands of it.
    """
    assert set(trace) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert trace["displayTimeUnit"] in ("ms", "ns")
    named: dict[str, set[tuple[int, int]]] = {
        "process_name": set(),
        "thread_name": set(),
        "thread_sort_index": set(),
    }
    complete = []
    for event in trace["traceEvents"]:
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert isinstance(event["name"], str)
        assert isinstance(event["args"], dict)
        if event["ph"] == "M":
            named[event["name"]].add((event["pid"], event["tid"]))
            continue
        assert event["ph"] == "X"
        assert set(event) == {"name", "cat", "ph", "pid", "tid", "ts", "dur", "args"}
        assert event["cat"] in CATEGORIES
        assert event["ts"] >= 0
        assert event["dur"] >= 0
        complete.append(event)
    threads = {(event["pid"], event["tid"]) for event in complete}
    assert threads <= named["thread_name"] == named["thread_sort_index"]
    assert {process for process, _ in threads} <= {process for process, _ in named["process_name"]}
    return complete


@given(
    st.lists(
        st.builds(
            lambda name, category, start, length, track, clock: Span(
                name, category, start, start + length, track, {"frame": 1}, clock
            ),
            st.text(max_size=5),
            st.sampled_from(CATEGORIES),
            st.floats(0, 1e5),
            st.floats(0, 1e3),
            st.sampled_from(["main", "sampler", "lane 1"]),
            st.sampled_from(["host", "device"]),
        )
    )
)
def test_a_trace_file_holds_every_span_in_microseconds_from_the_first(spans: list[Span]) -> None:
    events = check_events(json.loads(json.dumps(describe_trace(spans))))
    zero = min((span.start for span in spans), default=0.0)
    expected = sorted((span.name, (span.start - zero) * 1e6, span.seconds * 1e6) for span in spans)
    found = sorted((event["name"], event["ts"], event["dur"]) for event in events)
    assert [name for name, _, _ in found] == [name for name, _, _ in expected]
    assert np.allclose(
        sorted(e["ts"] for e in events), sorted(ts for _, ts, _ in expected), atol=1e-3
    )
    assert np.allclose(
        sorted(e["dur"] for e in events), sorted(dur for _, _, dur in expected), atol=1e-3
    )


def test_host_and_device_are_two_processes_of_a_trace_file() -> None:
    spans = [Span("a", "engine", 0.0, 1.0), Span("b", "engine", 0.2, 0.9, "main", clock="device")]
    host, device = check_events(describe_trace(spans))
    assert host["pid"] != device["pid"]
    names = [
        e["args"]["name"]
        for e in describe_trace(spans)["traceEvents"]
        if e["name"] == "process_name"
    ]
    assert names == ["host", "device"]


def test_a_trace_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_trace([Span("decode", "decode", 5.0, 6.0)], tmp_path / "trace.json")
    check_events(json.loads((tmp_path / "trace.json").read_text()))
    with pytest.raises(OutputError, match=r"missing/trace\.json"):
        write_trace([], tmp_path / "missing" / "trace.json")
    assert [path.name for path in tmp_path.iterdir()] == ["trace.json"]
