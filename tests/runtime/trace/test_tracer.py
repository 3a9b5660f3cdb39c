"""Spans, the stages they add up to, the file that shows them, and what the runtime tells a tracer."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.runtime.backends.null import NullEngine
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.conditioning.reference_cache import ReferenceCache
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import Arrays, EngineOptions
from echoexport.runtime.errors import OutputError
from echoexport.runtime.rendering.ahead import run_ahead
from echoexport.runtime.rendering.clip import ClipReport, ClipRequest, make_clip
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.trace.stages import summarize_stages
from echoexport.runtime.trace.trace_file import describe_trace, write_trace
from echoexport.runtime.trace.tracer import CATEGORIES, CLIP, NULL, Span, Tracer

BOX = (20.0, 20.0, 76.0, 76.0)
FRAMES = 12


class HandClock:
    """Stands still until somebody moves it."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


class TimedBackend:
    """Null engines that move the clock by what their network costs, and nothing else does."""

    name = "timed"

    def __init__(self, clock: HandClock, costs: dict[str, float]) -> None:
        self.clock = clock
        self.costs = costs

    def unavailable(self) -> str | None:
        return None

    def describe(self) -> str:
        return "takes what it is told to"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> NullEngine:
        backend = self

        class _Engine(NullEngine):
            def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
                backend.clock.time += backend.costs.get(spec.name, 0.0)
                return super().__call__(inputs)

        return _Engine(spec)


@pytest.fixture
def clip_request(portrait_file: Path, voice_file: Path, tmp_path: Path) -> ClipRequest:
    return ClipRequest(portrait_file, voice_file, str(tmp_path / "out.mp4"), face_box=BOX)


@pytest.fixture
def trace_clip(
    null_bundle: Path, clip_request: ClipRequest
) -> Callable[..., tuple[tuple[Span, ...], ClipReport]]:
    """A function that renders half a second with the null backend, and gives the spans and the report."""

    def trace(**options: Any) -> tuple[tuple[Span, ...], ClipReport]:
        tracer = Tracer()
        with open_bundle(null_bundle) as bundle:
            report = make_clip(Session(bundle, **options), clip_request, tracer=tracer)
        return tracer.spans(), report

    return trace


def test_a_span_has_its_name_category_times_and_arguments() -> None:
    clock = HandClock()
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


# A stage's own time is what no inner span takes: trees of spans on whole seconds, so
# that every sum is exact.
NAMES = st.sampled_from(["clip", "open", "reference"])
TREES = st.recursive(
    st.tuples(NAMES, st.sampled_from(CATEGORIES), st.integers(0, 3), st.just(())),
    lambda inner: st.tuples(
        NAMES,
        st.sampled_from(CATEGORIES),
        st.integers(0, 3),
        st.lists(inner, max_size=3).map(tuple),
    ),
    max_leaves=12,
)


def run_tree(
    tree: Any, tracer: Tracer, clock: HandClock, stages: Counter[str], outer: str | None
) -> None:
    name, category, seconds, inner = tree
    own = name if category == "stage" else category
    if category in ("engine", "copy") and outer is not None:
        own = outer
    with tracer.span(name, category):
        for child in inner:
            run_tree(child, tracer, clock, stages, own)
        clock.time += seconds
        stages[own] += seconds


@given(st.lists(TREES, min_size=1, max_size=4), st.integers(0, 2))
def test_stages_and_the_unaccounted_add_up_to_the_wall_each_moment_once(
    trees: list[Any], gap: int
) -> None:
    clock = HandClock()
    stages = Counter[str]()
    tracer = Tracer(now=clock)
    for tree in trees:
        run_tree(tree, tracer, clock, stages, None)
        clock.time += gap
    found = summarize_stages(tracer.spans())
    expected = {name: seconds for name, seconds in stages.items() if seconds and name != CLIP}
    assert {name: seconds for name, seconds in found.stages.items() if seconds} == expected
    assert found.wall == clock.time - 100.0 - gap
    assert found.unaccounted == stages[CLIP] + gap * (len(trees) - 1)


def test_nothing_recorded_is_no_stage() -> None:
    found = summarize_stages(())
    assert (found.stages, found.unaccounted, found.wall) == ({}, 0.0, 0.0)


def test_device_time_and_other_threads_are_no_part_of_a_tracks_stages() -> None:
    spans = [
        Span("decode", "decode", 0.0, 4.0),
        Span("vae_decoder", "engine", 1.0, 9.0, "gpu", clock="device"),
        Span("vae_decoder", "engine", 1.0, 3.0, "main", clock="device"),
        Span("window", "sampling", 0.0, 20.0, "sampler"),
    ]
    assert summarize_stages(spans).stages == {"decode": 4.0}
    assert summarize_stages(spans, track="sampler").stages == {"sampling": 20.0}


def check_events(trace: dict[str, Any]) -> list[dict[str, Any]]:
    """The complete events of a trace whose every event has the fields that the Trace Event format demands of it."""
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
            st.sampled_from(["main", "sampler", "stream 1"]),
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


def test_a_clip_tells_of_each_engine_call_frame_and_window(
    trace_clip: Callable[..., tuple[tuple[Span, ...], ClipReport]],
) -> None:
    spans, report = trace_clip()
    engines = Counter(span.arguments["network"] for span in spans if span.category == "engine")
    assert engines == Counter({name: calls for name, calls in report.calls.items() if calls})
    for name in ("decode", "encode", "sample"):
        assert [span.arguments["frame"] for span in spans if span.name == name] == list(
            range(FRAMES)
        )
    windows = [
        (span.arguments["step"], span.arguments["window"])
        for span in spans
        if span.name == "window"
    ]
    assert len(set(windows)) == len(windows) == report.calls["denoising_unet"]
    assert {
        "read voice",
        "portrait",
        "log-mel",
        "voice features",
        "reference",
        "face",
        "mux",
        "open output",
    } <= {span.name for span in spans}
    assert {span.category for span in spans} <= set(CATEGORIES)
    assert [span.name for span in spans if span.name == CLIP] == [CLIP]


def test_an_engine_call_says_which_portrait_or_window_it_is_for(
    trace_clip: Callable[..., tuple[tuple[Span, ...], ClipReport]],
) -> None:
    spans, _ = trace_clip()
    calls = [span for span in spans if span.category == "engine"]
    portraits = {
        span.arguments["portrait"]
        for span in calls
        if span.name in ("vae_encoder", "reference_unet")
    }
    assert len(portraits) == 1
    assert all(
        {"step", "window"} <= span.arguments.keys()
        for span in calls
        if span.name == "denoising_unet"
    )
    assert all("frame" in span.arguments for span in calls if span.name == "vae_decoder")


def test_waits_of_a_clip_are_seen_on_both_sides_of_the_queue(
    trace_clip: Callable[..., tuple[tuple[Span, ...], ClipReport]],
) -> None:
    spans, _ = trace_clip()
    waits = Counter((span.track, span.name) for span in spans if span.category == "wait")
    assert waits["main", "for sampler"] == FRAMES + 1  # and for the end
    assert waits["sampler", "for room"] == FRAMES + 1


def test_a_clip_in_turns_has_all_its_work_on_one_track(
    trace_clip: Callable[..., tuple[tuple[Span, ...], ClipReport]],
) -> None:
    spans, _ = trace_clip(ahead=0)
    assert {span.track for span in spans if span.name != "open"} == {"main"}
    assert not [span for span in spans if span.category == "wait" and span.name != "opening"]


def test_a_clip_in_turns_has_the_same_frames(
    null_bundle: Path, clip_request: ClipRequest, tmp_path: Path
) -> None:
    with open_bundle(null_bundle) as bundle:
        for folder, ahead in (("ahead", 24), ("turns", 0)):
            make_clip(
                Session(bundle, ahead=ahead), replace(clip_request, output=str(tmp_path / folder))
            )
    files = sorted((tmp_path / "ahead").iterdir())
    assert len(files) == FRAMES
    assert [path.read_bytes() for path in files] == [
        (tmp_path / "turns" / path.name).read_bytes() for path in files
    ]


def test_what_engines_cost_is_found_in_their_stages_and_nothing_is_unaccounted(
    null_bundle: Path, clip_request: ClipRequest
) -> None:
    clock = HandClock()
    costs = {
        "audio_encoder": 64.0,
        "reference_unet": 32.0,
        "landmark_encoder": 16.0,
        "denoising_unet": 4.0,
    }
    backend = TimedBackend(clock, {**costs, "vae_decoder": 1.0})
    tracer = Tracer(now=clock)
    with Bundle(
        null_bundle, read_manifest(null_bundle), backend=backend, options=EngineOptions()
    ) as bundle:
        report = make_clip(Session(bundle, ahead=0), clip_request, tracer=tracer)
    found = summarize_stages(tracer.spans())
    assert {name: seconds for name, seconds in found.stages.items() if seconds} == {
        "audio": 64.0,
        "reference": 32.0,
        "face": 16.0,
        "sampling": 4.0 * report.calls["denoising_unet"],
        "decode": float(FRAMES),
    }
    assert found.unaccounted == 0


@pytest.mark.parametrize("slowed", ["vae_encoder", "denoising_unet", "vae_decoder"])
def test_a_slowed_network_is_slower_in_its_own_spans_alone(
    null_bundle: Path, clip_request: ClipRequest, slowed: str
) -> None:
    def measure(extra: float) -> dict[str, float]:
        clock = HandClock()
        tracer = Tracer(now=clock)
        backend = TimedBackend(clock, {slowed: extra})
        with Bundle(
            null_bundle, read_manifest(null_bundle), backend=backend, options=EngineOptions()
        ) as bundle:
            make_clip(Session(bundle, ahead=0), clip_request, tracer=tracer)
        totals = Counter[str]()
        for span in tracer.spans():
            totals[span.name] += span.seconds if span.category == "engine" else 0.0
        return totals

    before = measure(0.0)
    after = measure(0.25)
    assert {name for name in after if after[name] != before[name]} == {slowed}


def test_a_cached_portrait_is_a_reference_without_engine_calls(
    null_bundle: Path, clip_request: ClipRequest, tmp_path: Path
) -> None:
    tracer = Tracer()
    cache = ReferenceCache(tmp_path / "cache")
    with open_bundle(null_bundle, tracer=tracer) as bundle:
        make_clip(Session(bundle, cache=cache), clip_request)
        first = tracer.take()
        make_clip(
            Session(bundle, cache=cache), replace(clip_request, output=str(tmp_path / "again.mp4"))
        )
    second = tracer.take()
    assert [span.name for span in first].count("reference_unet") == 1
    assert "reference" in {span.name for span in second}
    assert not {"reference_unet", "vae_encoder"} & {span.name for span in second}


def test_a_tracer_that_a_bundle_gets_later_reaches_open_networks_too(null_bundle: Path) -> None:
    with open_bundle(null_bundle) as bundle:
        network = bundle.network("vae_decoder")
        inputs = {
            tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in network.spec.inputs
        }
        network(inputs)
        bundle.tracer = tracer = Tracer()
        network(inputs)
        bundle.tracer = NULL
        network(inputs)
    assert [span.name for span in tracer.spans()] == ["inputs", "vae_decoder"]


def test_opening_a_network_is_a_stage_of_its_own(null_bundle: Path) -> None:
    tracer = Tracer()
    with open_bundle(null_bundle, tracer=tracer) as bundle:
        with tracer.span("reference", "stage"):
            bundle.network("vae_encoder")
            bundle.network("vae_encoder")
        bundle.open_ahead("vae_decoder")
        bundle.network("vae_decoder")
    opened = [
        (span.arguments["network"], span.track) for span in tracer.spans() if span.name == "open"
    ]
    assert opened == [("vae_encoder", "main"), ("vae_decoder", "opener")]


def test_an_engine_with_a_device_is_given_the_tracer_and_keeps_its_time_apart(
    null_bundle: Path,
) -> None:
    class DeviceEngine(NullEngine):
        tracer = NULL

        def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
            self.tracer.record(
                "vae_decoder", "engine", start=1.0, end=1.5, track="gpu", clock="device"
            )
            return super().__call__(inputs)

    class DeviceBackend(TimedBackend):
        def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> NullEngine:
            return DeviceEngine(spec)

    tracer = Tracer()
    manifest = read_manifest(null_bundle)
    backend = DeviceBackend(HandClock(), {})
    with Bundle(
        null_bundle, manifest, backend=backend, options=EngineOptions(), tracer=tracer
    ) as bundle:
        network = bundle.network("vae_decoder")
        network(
            {tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in network.spec.inputs}
        )
    device = [span for span in tracer.spans() if span.clock == "device"]
    assert [(span.track, span.seconds) for span in device] == [("gpu", 0.5)]
    assert "engine" in {span.category for span in tracer.spans() if span.clock == "host"}


def test_a_run_ahead_that_is_left_early_still_has_its_spans() -> None:
    tracer = Tracer()
    with closing(run_ahead(iter(range(100)), most=2, name="maker", tracer=tracer)) as items:
        assert next(items) == 0
    waits = {(span.track, span.name) for span in tracer.spans()}
    assert waits == {("main", "for maker"), ("maker", "for room")}
