"""How long calls take: percentiles with their circumstances, and contestants side by side."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from echoexport.profiles.measuring.circumstances import (
    Circumstances,
    describe_circumstances,
    describe_network_circumstances,
)
from echoexport.runtime.bundle.files import check_hash
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.errors import InputError, SettingError
from echoexport.runtime.files.aside import refuse_briefly, replaced_file
from echoexport.runtime.files.json_file import read_json

Call = Callable[[], object]
Clock = Callable[[], float]
_T = TypeVar("_T")


@dataclass(frozen=True)
class LatencyReport:
    """Wall-clock seconds of ``repeats`` calls, after ``warmup`` that do not count.

    Percentiles lie between the two nearest calls, linearly; with few repeats p99 is
    close to the slowest one.
    """

    label: str
    p50: float
    p90: float
    p99: float
    mean: float
    min: float
    warmup: int
    repeats: int
    conditions: Circumstances


@dataclass(frozen=True)
class Comparison:
    """Contestants measured in turns."""

    baseline: str
    ratios: Mapping[str, float]
    """The baseline's median over each one's, so above 1 is faster than it."""
    reports: Mapping[str, LatencyReport]


def measure_calls(
    call: Call,
    *,
    warmup: int,
    repeats: int,
    label: str,
    conditions: Circumstances | None = None,
    clock: Clock = time.perf_counter,
) -> LatencyReport:
    """Time a call ``repeats`` times. ``conditions`` None describes this machine and no engine.

    Raises:
        SettingError: fewer than one repeat, or fewer than no warm-up.
    """
    found = {} if conditions is None else {label: conditions}
    comparison = compare_side_by_side(
        {label: call}, warmup=warmup, repeats=repeats, conditions=found, clock=clock
    )
    return comparison.reports[label]


def compare_side_by_side(
    calls: Mapping[str, Call],
    *,
    warmup: int,
    repeats: int,
    conditions: Mapping[str, Circumstances] | None = None,
    clock: Clock = time.perf_counter,
) -> Comparison:
    """Time contestants in rounds, A, B, A, B, ..., so that noise meets all alike.

    The first label is the baseline. ``conditions`` are by label; a label without gets
    this machine's. A ``clock`` of CPU time (``time.process_time``) sees less of other
    processes, but is fair only where every contestant has one thread.

    Raises:
        SettingError: no contestant, fewer than one repeat, or fewer than no warm-up.
    """
    if not calls:
        raise SettingError("nothing to measure: give one call or more")
    if repeats < 1 or warmup < 0:
        raise SettingError(
            f"{repeats} repeats after {warmup} warm-up calls: at least 1 and 0 are wanted"
        )
    plain = describe_circumstances()
    timer = getattr(clock, "__name__", type(clock).__name__)
    given = {label: replace((conditions or {}).get(label, plain), clock=timer) for label in calls}
    seconds = _time_rounds(calls, warmup=warmup, repeats=repeats, clock=clock)
    reports = {
        label: _summarize(times, label=label, warmup=warmup, conditions=given[label])
        for label, times in seconds.items()
    }
    baseline = next(iter(calls))
    ratios = {
        label: _divide(reports[baseline].p50, report.p50) for label, report in reports.items()
    }
    return Comparison(baseline, ratios, reports)


def measure_network(
    bundle: Bundle,
    name: str,
    *,
    warmup: int = 2,
    repeats: int = 20,
    clock: Clock = time.perf_counter,
) -> LatencyReport:
    """Time one of a bundle's networks on the inputs of its self-test.

    Raises:
        UnknownNameError: no such network.
        BundleError, BackendError: it does not open or run.
        SettingError: fewer than one repeat, or fewer than no warm-up.
    """
    network = bundle.network(name)
    inputs = read_self_test_inputs(bundle, name)
    conditions = describe_network_circumstances(bundle, name)
    return measure_calls(
        lambda: network(inputs),
        warmup=warmup,
        repeats=repeats,
        label=name,
        conditions=conditions,
        clock=clock,
    )


def read_self_test_inputs(bundle: Bundle, name: str) -> dict[str, np.ndarray]:
    """The inputs that travel with one of a bundle's networks.

    Raises:
        BundleError: their file is not what the manifest says.
    """
    file = bundle.manifest.networks[name].self_test
    check_hash(bundle.folder, file, manifest=bundle.manifest)
    with np.load(bundle.folder / file, allow_pickle=False) as arrays:
        return {
            key.removeprefix("input."): arrays[key]
            for key in arrays.files
            if key.startswith("input.")
        }


def write_report(report: LatencyReport | Comparison, path: Path) -> None:
    """Write a report as JSON, aside and renamed.

    Raises:
        OutputError: it cannot be written there.
    """
    with replaced_file(path, parents=True, refuse=refuse_briefly) as aside:
        aside.write_text(format_json(dump(report)), encoding="utf-8")


def read_report(kind: type[_T], path: Path) -> _T:
    """Read a report of that kind, strictly.

    Raises:
        InputError: no such file, or not a report of that kind.
    """
    try:
        return parse(kind, read_json(path), where="report")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable {kind.__name__}: {error}") from error


def format_json(data: Any) -> str:
    """JSON for people and diffs: one key a line, lists of plain values on one."""
    text = json.dumps(data, indent=1, ensure_ascii=False)
    return (
        re.sub(r"\[\s+([^][{}\"]*?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text)
        + "\n"
    )


def _time_rounds(
    calls: Mapping[str, Call], *, warmup: int, repeats: int, clock: Clock
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {label: [] for label in calls}
    for index in range(warmup + repeats):
        for label, call in calls.items():
            start = clock()
            call()
            elapsed = clock() - start
            if index >= warmup:
                seconds[label].append(elapsed)
    return seconds


def _summarize(
    times: list[float], *, label: str, warmup: int, conditions: Circumstances
) -> LatencyReport:
    p50, p90, p99 = (float(value) for value in np.percentile(times, [50, 90, 99]))
    return LatencyReport(
        label,
        p50,
        p90,
        p99,
        mean=float(np.mean(times)),
        min=min(times),
        warmup=warmup,
        repeats=len(times),
        conditions=conditions,
    )


def _divide(baseline: float, seconds: float) -> float:
    """A call too quick for the clock counts as one nanosecond."""
    return max(baseline, 1e-9) / max(seconds, 1e-9)
