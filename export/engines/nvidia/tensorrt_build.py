"""Building a TensorRT engine in child processes.

Memory looked at first, best of several kept, nothing half-written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from echoexport.export.engines import BuiltEngine, EngineSettings
from echoexport.export.engines.nvidia.tensorrt_child import BuildJob
from echoexport.export.engines.nvidia.tensorrt_library import Product
from echoexport.export.engines.nvidia.tensorrt_memory import MemoryNeed, find_need, require_memory
from echoexport.export.engines.nvidia.tensorrt_process import Outcome, run_child
from echoexport.export.engines.nvidia.tensorrt_timing import TimingJob
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.errors import BackendError, OutputError
from echoexport.runtime.files.staging import name_staging
from echoexport.runtime.progress import Tell

_BUILD = "echoexport.export.engines.nvidia.tensorrt_child"
_TIMING = "echoexport.export.engines.nvidia.tensorrt_timing"

TimeEngine = Callable[[Product, Path, SubnetSpec, EngineSettings], "float | str"]
"""Gives the seconds of a call, or why the engine cannot be timed here."""


@dataclass(frozen=True)
class EngineBuild:
    """One finished build, still under temporary names."""

    engine: Path
    timing: Path | None
    answer: dict[str, Any]
    seconds: float | None = None
    """Of a call on the device, None where not timed."""


def time_engine(
    product: Product, engine: Path, spec: SubnetSpec, settings: EngineSettings
) -> float | str:
    """Seconds of a call on the device here, *measured* in a child process.

    Or why there is no such figure.
    """
    job = TimingJob(product.backend, str(engine), settings.compute, spec)
    outcome = run_child(_TIMING, job, timeout=settings.timeout, report=lambda text: None)
    timed = outcome.find("timed")
    refused = outcome.find("refused")
    if timed is not None:
        return float(timed["seconds"])
    return (
        str(refused["reason"])
        if refused is not None
        else f"the process that times it {outcome.describe_end()}"
    )


def build_with(
    product: Product,
    graph: Path,
    spec: SubnetSpec,
    output: Path,
    *,
    settings: EngineSettings,
    report: Tell,
    timer: TimeEngine = time_engine,
) -> BuiltEngine:
    """Compile a network's ONNX file into ``output``: whole, or not at all.

    With ``settings.best_of`` builds, each in a process of its own, the one with the
    quickest call is kept; where no device is here to time them, or nothing is timed
    while building, the first is, and the notes say so.

    Raises:
        BackendError: too little memory, or the library is missing, refuses the graph,
            dies or takes too long. OutputError: the engine cannot be written.
    """
    start = time.perf_counter()
    need = find_need(graph, workspace=settings.workspace)
    require_memory(graph, need)
    build = partial(
        _build_once, product, graph, output, settings=settings, report=report, need=need
    )
    builds: list[EngineBuild] = []
    notes: list[str] = []
    try:
        for number, count in _count_builds(product, settings, report):
            try:
                builds.append(build())
            except BackendError as error:
                if not builds:
                    raise
                notes.append(
                    f"build {number} of {count} failed, the best before it is kept: {error}"
                )
                break
            if count > 1 and not _time(
                builds, lambda engine: timer(product, engine, spec, settings), notes
            ):
                break
        best = _find_quickest(builds)
        notes += _describe_choice(builds, best)
        _take_place(best, output, settings)
    finally:
        for made in builds:
            _remove(made.engine, made.timing)
    return BuiltEngine(
        seconds=time.perf_counter() - start,
        bytes=output.stat().st_size,
        peak_bytes=max(int(made.answer["peak_bytes"]) for made in builds) or None,
        notes=(f"built by {product.title} {best.answer['version']}", *best.answer["notes"], *notes),
    )


def _count_builds(
    product: Product, settings: EngineSettings, report: Tell
) -> Iterator[tuple[int, int]]:
    """(number, how many there are to be) of each build, told as it begins."""
    count = 1 if product.ahead_of_time else max(1, settings.best_of)
    for number in range(1, count + 1):
        which = f" {number} of {count}" if count > 1 else ""
        report(f"build{which} with {product.title}")
        yield number, count


def _find_quickest(builds: list[EngineBuild]) -> EngineBuild:
    """The first of those that were not timed, where none was."""
    return min(builds, key=lambda one: float("inf") if one.seconds is None else one.seconds)


def _build_once(
    product: Product,
    graph: Path,
    output: Path,
    *,
    settings: EngineSettings,
    report: Tell,
    need: MemoryNeed,
) -> EngineBuild:
    engine = name_staging(output)
    timing = (
        name_staging(settings.timing_cache)
        if settings.timing_cache and not product.ahead_of_time
        else None
    )
    job = _describe_job(product, graph, settings, engine=engine, timing=timing)
    try:
        if timing:
            timing.parent.mkdir(parents=True, exist_ok=True)
        outcome = run_child(_BUILD, job, timeout=settings.timeout, report=report)
        answer = outcome.find("built")
        if answer is None:
            raise explain_child(
                outcome, product, graph, output, need=need, timeout=settings.timeout
            )
        if outcome.code != 0 or engine.stat().st_size != answer["engine_bytes"]:
            raise BackendError(
                f"{graph}: the child of {product.title} {outcome.describe_end()} after building"
            )
    except OSError as error:
        _remove(engine, timing)
        raise OutputError(f"{output}: cannot be written: {error.strerror or error}") from error
    except BaseException:
        _remove(engine, timing)
        raise
    return EngineBuild(engine, timing, dict(answer))


def _describe_job(
    product: Product,
    graph: Path,
    settings: EngineSettings,
    *,
    engine: Path,
    timing: Path | None,
) -> BuildJob:
    return BuildJob(
        backend=product.backend,
        library=product.library,
        graph=str(graph.absolute()),
        output=str(engine),
        workspace=settings.workspace,
        level=settings.level,
        timing_cache=str(settings.timing_cache) if timing else None,
        timing_output=str(timing) if timing else None,
        # With the timings of the build before, a strongly typed network would only
        # become the same engine again.
        fresh=settings.best_of > 1,
    )


def explain_child(
    outcome: Outcome,
    product: Product,
    graph: Path,
    output: Path | None,
    *,
    need: MemoryNeed,
    timeout: float,
) -> BackendError | OutputError:
    """The error for a child that built nothing."""
    refused = outcome.find("refused")
    started = outcome.find("library")
    title = product.title if started is None else f"{product.title} {started['version']}"
    if outcome.timed_out:
        return BackendError(
            f"{graph}: {title} took more than {timeout:.0f} s and was stopped; lower --level"
        )
    if refused is None:
        if outcome.code in (-9, 137):
            return BackendError(
                f"{graph}: {title} was killed, most likely for memory: {need.describe()}"
            )
        hint = "a fault of the library: try a lower --level, or another release of it"
        return BackendError(f"{graph}: {title} {outcome.describe_end()}; {hint}")
    reason = str(refused["reason"])
    if refused["kind"] == "output":
        return OutputError(f"{output}: cannot be written: {reason}")
    return BackendError(_word_refusal(refused["kind"], reason, graph, title=title, need=need))


def _word_refusal(kind: str, reason: str, graph: Path, *, title: str, need: MemoryNeed) -> str:
    detail = f" ({reason})" if reason else ""
    texts = {
        "graph": f"{graph}: {title} refuses it: {reason}",
        "library": reason,
        "memory": f"{graph}: {title} ran out of memory{detail}: {need.describe()}",
    }
    return texts[kind]


def _time(
    builds: list[EngineBuild], timer: Callable[[Path], float | str], notes: list[str]
) -> bool:
    """Time the last build.

    False, with a remark, where that cannot be done, so that no other is worth building.
    """
    found = timer(builds[-1].engine)
    if isinstance(found, str):
        notes.append(
            f"not timed, so the {'first' if len(builds) == 1 else 'best before'} is kept: {found}"
        )
        return False
    builds[-1] = replace(builds[-1], seconds=found)
    return True


def _describe_choice(builds: list[EngineBuild], best: EngineBuild) -> list[str]:
    times = [f"{build.seconds * 1e3:.2f}" for build in builds if build.seconds is not None]
    if not times or best.seconds is None:
        return []
    chosen = f"{best.seconds * 1e3:.2f} ms a call of {', '.join(times)}"
    return [f"kept the quickest of {len(times)} builds: {chosen} (measured)"]


def _take_place(best: EngineBuild, output: Path, settings: EngineSettings) -> None:
    try:
        best.engine.replace(output)
    except OSError as error:
        raise OutputError(f"{output}: cannot be written: {error.strerror or error}") from error
    if best.timing is not None and settings.timing_cache is not None:
        with suppress(OSError):  # it only saves time: the engine is what counts
            best.timing.replace(settings.timing_cache)


def _remove(*paths: Path | None) -> None:
    for path in paths:
        if path is not None:
            with suppress(OSError):
                path.unlink(missing_ok=True)
