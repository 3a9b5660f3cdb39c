"""What the runtime tells a tracer while it makes a clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.backends.null import NullEngine
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.conditioning.reference_cache import ReferenceCache
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import Arrays, Backend, EngineOptions
from echoexport.runtime.rendering.ahead import run_ahead
from echoexport.runtime.rendering.clip import ClipReport, ClipRequest, make_clip
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.trace.stages import summarize_stages
from echoexport.runtime.trace.tracer import CATEGORIES, CLIP, Span, Tracer

BOX = (20.0, 20.0, 76.0, 76.0)
FRAMES = 12


class TimedBackend(Backend):
    """Null engines that move the clock by what their network costs, and nothing else does."""

    name = "timed"

    def __init__(self, clock: Any, costs: dict[str, float]) -> None:
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
    """A function that renders half a second with the null backend.

    It gives the spans and the report.
    """

    def trace(**options: Any) -> tuple[tuple[Span, ...], ClipReport]:
        tracer = Tracer()
        with open_bundle(null_bundle) as bundle:
            report = make_clip(Session(bundle, **options), clip_request, tracer=tracer)
        return tracer.spans(), report

    return trace


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


def test_a_cached_portrait_is_a_reference_without_engine_calls(
    null_bundle: Path, clip_request: ClipRequest, tmp_path: Path
) -> None:
    tracer = Tracer()
    cache = ReferenceCache(tmp_path / "cache")
    with open_bundle(null_bundle) as bundle:
        make_clip(Session(bundle, cache=cache, tracer=tracer), clip_request)
        first = tracer.take()
        make_clip(
            Session(bundle, cache=cache, tracer=tracer),
            replace(clip_request, output=str(tmp_path / "again.mp4")),
        )
    second = tracer.take()
    assert [span.name for span in first].count("reference_unet") == 1
    assert "reference" in {span.name for span in second}
    assert not {"reference_unet", "vae_encoder"} & {span.name for span in second}


def test_a_lease_tells_its_own_tracer_of_its_own_calls_alone(null_bundle: Path) -> None:
    tracer = Tracer()
    with open_bundle(null_bundle) as bundle:
        others = bundle.network("vae_decoder")
        mine = bundle.lease(tracer=tracer).network("vae_decoder")
        inputs = {tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in mine.spec.inputs}
        for network in (others, mine, others):
            network(inputs)
    assert [span.name for span in tracer.spans()] == ["inputs", "vae_decoder"]


def test_opening_a_network_is_a_stage_of_its_own(null_bundle: Path) -> None:
    tracer = Tracer()
    with open_bundle(null_bundle) as bundle, bundle.lease(tracer=tracer) as networks:
        with tracer.span("reference", "stage"):
            networks.network("vae_encoder")
            networks.network("vae_encoder")
        networks.open_ahead("vae_decoder")
        networks.network("vae_decoder")
    opened = [
        (span.arguments["network"], span.track) for span in tracer.spans() if span.name == "open"
    ]
    assert opened == [("vae_encoder", "main"), ("vae_decoder", "opener")]


def test_an_engine_with_a_device_is_given_the_tracer_and_keeps_its_time_apart(
    null_bundle: Path, make_clock: Callable[[], Any]
) -> None:
    class DeviceEngine(NullEngine):
        def run(self, inputs: Arrays, tracer: Tracer) -> dict[str, np.ndarray]:
            tracer.record("vae_decoder", "engine", start=1.0, end=1.5, track="gpu", clock="device")
            return self(inputs)

    class DeviceBackend(TimedBackend):
        def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> NullEngine:
            return DeviceEngine(spec)

    tracer = Tracer()
    manifest = read_manifest(null_bundle)
    backend = DeviceBackend(make_clock(), {})
    with (
        Bundle(null_bundle, manifest, backend=backend, options=EngineOptions()) as bundle,
        bundle.lease(tracer=tracer) as networks,
    ):
        network = networks.network("vae_decoder")
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


def test_what_engines_cost_is_found_in_their_stages_and_nothing_is_unaccounted(
    null_bundle: Path, clip_request: ClipRequest, make_clock: Callable[[], Any]
) -> None:
    clock = make_clock()
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
    null_bundle: Path, clip_request: ClipRequest, slowed: str, make_clock: Callable[[], Any]
) -> None:
    def measure(extra: float) -> dict[str, float]:
        clock = make_clock()
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
