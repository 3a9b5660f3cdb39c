"""A trace that one thread takes while others add to it."""

from __future__ import annotations

from typing import Any

import pytest

from echoexport.runtime.trace import tracer as trace
from echoexport.runtime.trace.tracer import Tracer


def test_what_another_thread_records_while_the_spans_are_taken_is_of_the_next_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracer = Tracer()
    nest = trace.nest_spans

    def nest_slowly(spans: Any) -> Any:
        tracer.record("late", "stage", start=2, end=3)
        return nest(spans)

    tracer.record("early", "stage", start=0, end=1)
    with monkeypatch.context() as patch:
        patch.setattr(trace, "nest_spans", nest_slowly)
        assert [span.name for span in tracer.take()] == ["early"]
    assert [span.name for span in tracer.take()] == ["late"]
