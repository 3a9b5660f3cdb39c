"""Spans: names, categories, times, threads, and what was around them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from echoexport.runtime.trace.tracer import NULL, Span, Tracer


def test_a_span_has_its_name_category_times_and_arguments(make_clock: Callable[[], Any]) -> None:
    clock = make_clock()
    tracer = Tracer(now=clock)
    with tracer.span("window", "sampling", step=2, window=7):
        clock.time += 3
    assert tracer.spans() == (
        Span("window", "sampling", 100.0, 103.0, "main", {"step": 2, "window": 7}),
    )
    assert tracer.spans()[0].seconds == 3


def test_a_span_that_an_error_ends_is_recorded_too() -> None:
    tracer = Tracer()
    with pytest.raises(ValueError, match="broken"), tracer.span("decode", "decode"):
        raise ValueError("broken")
    assert [span.name for span in tracer.spans()] == ["decode"]


def test_the_null_tracer_collects_nothing() -> None:
    with NULL.span("decode", "decode", frame=1):
        NULL.record("copy", "copy", start=0, end=1)
        NULL.name_track("here")
    assert (NULL.spans(), NULL.enabled) == ((), False)


def test_spans_beyond_the_limit_are_counted_not_kept() -> None:
    tracer = Tracer(limit=3)
    for index in range(5):
        with tracer.span(str(index), "stage"):
            pass
    assert ([span.name for span in tracer.spans()], tracer.dropped) == (["0", "1", "2"], 2)
    assert tracer.count == 3


def test_taking_the_spans_begins_a_new_trace() -> None:
    tracer = Tracer(limit=1)
    for name in ("one", "one too many"):
        tracer.record(name, "stage", start=0, end=1)
    assert [span.name for span in tracer.take()] == ["one"]
    assert (tracer.spans(), tracer.dropped) == ((), 0)


def test_threads_lose_no_span_and_go_by_their_own_names() -> None:
    tracer = Tracer()
    begin = threading.Barrier(8)

    def work(number: int) -> None:
        if number:
            tracer.name_track(f"worker {number}")
        begin.wait()
        for _ in range(200):
            with tracer.span("item", "engine"):
                pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tracks = Counter(span.track for span in tracer.spans())
    assert set(tracks.values()) == {200}
    named = {track for track in tracks if track.startswith("worker")}
    assert named == {f"worker {number}" for number in range(1, 8)}
    assert len(tracks.keys() - named) == 1  # the one without a name
    assert "main" not in tracks


def test_an_engine_call_knows_the_window_and_frame_it_was_part_of() -> None:
    tracer = Tracer()
    with (
        tracer.span("sample", "sampling", frame=3),
        tracer.span("window", "sampling", step=1, window=2),
        tracer.span("denoising_unet", "engine", network="denoising_unet"),
    ):
        pass
    by_name = {span.name: span.arguments for span in tracer.spans()}
    assert by_name["denoising_unet"] == {
        "frame": 3,
        "step": 1,
        "window": 2,
        "network": "denoising_unet",
    }
    assert by_name["window"] == {"step": 1, "window": 2}
