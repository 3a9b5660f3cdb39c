"""What tracing costs: the built-in character rendered with tracing off and on, in turns."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from results_file import parse_arguments, show, summarize, write_results

from echoexport.export.build.bundle import build_bundle
from echoexport.export.build.settings import BuildSettings
from echoexport.export.cli.demo import find_arithmetic, find_own_target
from echoexport.export.demo.assets import (
    CHARACTER_SIZE,
    CHARACTER_VARIANT,
    builtin_checkpoint,
    builtin_face_box,
    builtin_portrait,
    builtin_voice,
)
from echoexport.profiles.measuring.circumstances import describe_machine
from echoexport.profiles.measuring.latency import compare_side_by_side
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.files.cache_folders import find_cache_folder
from echoexport.runtime.rendering.clip import ClipRequest, make_clip
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.rendering.settings import RenderSettings
from echoexport.runtime.trace.stages import summarize_stages
from echoexport.runtime.trace.tracer import NULL, Tracer
from echoexport.targets.spec import load_target

SPANS = 10_000
WARMUP = 2


def main() -> None:
    """Build once, render in turns with as many lanes as usual, then in one thread.

    One thread shows what the stages leave out.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--repeats", type=int, default=12, help="rounds, each with tracing off and on"
    )
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument(
        "--bundle", type=Path, help="a bundle of the built-in character that is there already"
    )
    arguments = parse_arguments(parser, name="trace_overhead")
    target = find_own_target()
    compute = find_arithmetic(target)
    with tempfile.TemporaryDirectory() as folder:
        bundle = arguments.bundle or Path(folder) / "bundle"
        if arguments.bundle is None:
            settings = BuildSettings(
                variant=CHARACTER_VARIANT, size=CHARACTER_SIZE, traces=find_cache_folder("traces")
            )
            build_bundle(
                builtin_checkpoint(), bundle, target=load_target(target), settings=settings
            )
        request = ClipRequest(
            builtin_portrait(),
            builtin_voice(),
            str(Path(folder) / "out.mp4"),
            face_box=builtin_face_box(),
            settings=RenderSettings(frames=arguments.frames),
        )
        load_before = describe_machine().load
        with open_bundle(bundle, options=EngineOptions(compute=compute, lanes=0)) as opened:
            overhead = measure_overhead(opened, request, repeats=arguments.repeats)
        with open_bundle(bundle, options=EngineOptions(compute=compute)) as opened:
            stages = measure_stages(opened, request)
            backend = f"{opened.backend.name}: {opened.backend.describe()}"
    about = {
        "backend": backend,
        "compute": compute,
        "frames": arguments.frames,
        "origin": "measured",
    }
    load = {"load_before": load_before, "load_after": describe_machine().load}
    write_results(arguments.output, {**about, **load, **overhead, "one_thread": stages})


def measure_overhead(bundle: Bundle, request: ClipRequest, *, repeats: int) -> dict[str, Any]:
    """Clips in turns, by the wall clock and by processor time, which sees less of a busy machine.

    Ratios are to "off": "off again" shows how far two alike are apart. Also what a
    clip's spans cost by themselves.
    """
    session = Session(bundle)
    tracer = Tracer()
    processor: dict[str, list[float]] = {"off": [], "on": [], "off again": []}

    def render(label: str) -> None:
        start = time.process_time()
        make_clip(session, request, tracer=tracer if label == "on" else NULL)
        processor[label].append(time.process_time() - start)
        if label == "on":
            spans.append(tracer.count)
            tracer.clear()

    spans: list[int] = []
    contestants = {label: partial(render, label) for label in processor}
    comparison = compare_side_by_side(contestants, warmup=WARMUP, repeats=repeats)
    show(comparison)
    off = comparison.reports["off"].p50
    cost = time_span()
    used = {label: statistics.median(seconds[WARMUP:]) for label, seconds in processor.items()}
    results = {
        "ratio_of_medians": {
            label: round(report.p50 / off, 4) for label, report in comparison.reports.items()
        },
        "ratio_of_processor_time": {
            label: round(seconds / used["off"], 4) for label, seconds in used.items()
        },
        "spans": spans[-1],
        "microseconds_per_span": round(cost * 1e6, 2),
        "share_of_spans_alone": round(spans[-1] * cost / off, 6),
    }
    sys.stdout.write(f"  {results}\n")
    return {**results, "clips": summarize(comparison)}


def time_span() -> float:
    """Seconds that one span costs, the median of several batches."""
    batches = []
    for _ in range(7):
        tracer = Tracer(limit=SPANS)
        start = time.perf_counter()
        for index in range(SPANS):
            with tracer.span("window", "sampling", step=1, window=index):
                pass
        batches.append((time.perf_counter() - start) / (SPANS))
    return statistics.median(batches)


def measure_stages(bundle: Bundle, request: ClipRequest) -> dict[str, Any]:
    """Stages of a clip rendered in one thread, and how much of the wall they leave out.

    Engines are open by then.
    """
    session = Session(bundle, ahead=0)
    tracer = Tracer()
    make_clip(session, request)
    report = make_clip(session, request, tracer=tracer)
    found = summarize_stages(tracer.spans())
    sys.stdout.write(
        f"  one thread: {found.unaccounted / found.wall:.4f} of {found.wall:.2f} s unaccounted\n"
    )
    return {
        "wall": round(found.wall, 4),
        "clip_report": round(report.seconds, 4),
        "stages": {name: round(seconds, 4) for name, seconds in found.stages.items()},
        "unaccounted_share": round(found.unaccounted / found.wall, 5),
    }


if __name__ == "__main__":
    main()
