"""Profiles side by side: what differs by more than noise, and which network is to blame.

A matrix over devices stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from echoexport.profiles.measuring.figures import Change
from echoexport.profiles.reports.limits import (
    Limit,
    Metric,
    check_limits,
    compare_metric,
    describe_change,
    list_metrics,
    tell_apart,
)
from echoexport.profiles.reports.profile import ProfileReport
from echoexport.runtime.contract.settings import spell_steps
from echoexport.runtime.errors import InputError

__all__ = [
    "MetricRow",
    "ProfileComparison",
    "compare_profiles",
    "find_culprits",
]

COMPARISON_SCHEMA = 1
COMPARISON_KIND = "echoexport profile comparison"

_HEADLINES = (
    "fps",
    "clip_fps",
    "rtf",
    "first_frame",
    "p50",
    "p99",
    "max",
    "load",
    "peak_memory",
    "device_memory",
    "energy",
    "bundle",
    "live_first_frame",
    "live_delay",
    "live_delay_p99",
    "live_late_frames",
    "live_capacity",
)
_FEWEST = 3  # repeats from which on intervals are to be trusted


@dataclass(frozen=True)
class MetricRow:
    """One figure of every profile, None where one has none of that name."""

    name: str
    unit: str
    values: tuple[float | None, ...]
    changes: tuple[Change | None, ...]
    """Changes of all but the first, likewise."""


@dataclass(frozen=True)
class ProfileComparison:
    """Profiles against the first of them."""

    schema: int
    """``COMPARISON_SCHEMA`` of the release that wrote it."""
    kind: str
    """``COMPARISON_KIND``, so that nobody takes another file for it."""
    labels: tuple[str, ...]
    """One each, no two alike."""
    rows: tuple[MetricRow, ...]
    """Headlines, then stages and networks."""
    culprits: tuple[tuple[str, ...], ...]
    """For each profile but the first, networks whose call takes longer or shorter by
    more than noise and by more than 1 %, the one that costs most of a clip first."""
    devices: tuple[str, ...]
    """The matrix's rows."""
    ways: tuple[str, ...]
    """The matrix's columns, ways of computing."""
    matrix: tuple[tuple[str, ...], ...]
    """Device and precision to frames a second."""
    notes: tuple[str, ...]
    """What makes the comparison doubtful."""
    failures: tuple[str, ...]
    """Limits that were broken, a line each."""


def compare_profiles(
    reports: Sequence[ProfileReport], names: Sequence[str], *, limits: Sequence[Limit] = ()
) -> ProfileComparison:
    """Compare profiles; ``names`` are what they are called by.

    A single profile may be held to absolute limits.

    Raises:
        InputError: no profile.
        SettingError: a limit on a figure that a profile has not, or a relative one
            without a second profile.
    """
    if not reports:
        raise InputError(
            "no profile to compare; name one report.json of echoexport profile or more"
        )
    labels = tell_apart(names)
    metrics = [list_metrics(report) for report in reports]
    devices, ways, matrix = _make_matrix(reports)
    failures = check_limits(limits, metrics, labels=labels)
    return ProfileComparison(
        schema=COMPARISON_SCHEMA,
        kind=COMPARISON_KIND,
        labels=labels,
        rows=_make_rows(metrics),
        culprits=tuple(tuple(find_culprits(reports[0], report)) for report in reports[1:]),
        devices=devices,
        ways=ways,
        matrix=matrix,
        notes=_list_doubts(reports, labels),
        failures=failures,
    )


def _make_rows(metrics: Sequence[Mapping[str, Metric]]) -> tuple[MetricRow, ...]:
    """Headlines and medians that any of the profiles has."""
    known = dict.fromkeys(name for own in metrics for name in own)
    parts = [name for name in known if name.endswith(".p50")]
    return tuple(_make_row(name, metrics) for name in (*_HEADLINES, *parts) if name in known)


def find_culprits(baseline: ProfileReport, candidate: ProfileReport) -> list[str]:
    """Networks that are slower or faster than the baseline's, in a line each.

    They differ by more than noise and 1 %, by calls in turns, which do not disturb each
    other. First comes the one that a clip loses or gains most by.
    """
    own = list_metrics(baseline)
    other = list_metrics(candidate)
    found = []
    for network in candidate.modes[-1].networks:
        name = f"{network.name}.p50"
        if name not in own or name not in other:
            continue
        change = compare_metric(own[name], other[name])
        if change.exceeds_noise and abs(change.ratio - 1) > 0.01:
            lost = (change.candidate - change.baseline) * network.calls
            word = "slower" if lost > 0 else "faster"
            told = (
                f"{network.name} is {word}: {describe_change(change)} a call, "
                f"{1e3 * lost:+.3g} ms a clip"
            )
            found.append((abs(lost), told))
    return [told for _, told in sorted(found, reverse=True)]


def _make_row(name: str, metrics: Sequence[Mapping[str, Metric]]) -> MetricRow:
    found = [own.get(name) for own in metrics]
    first = found[0]
    changes = tuple(
        None if first is None or metric is None else compare_metric(first, metric)
        for metric in found[1:]
    )
    unit = next(metric.unit for metric in found if metric is not None)
    return MetricRow(
        name, unit, tuple(None if metric is None else metric.value for metric in found), changes
    )


def _make_matrix(
    reports: Sequence[ProfileReport],
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Devices by ways of computing.

    Of several profiles in one place all are told, in their order.
    """
    devices = tuple(dict.fromkeys(_name_device(report) for report in reports))
    ways = tuple(dict.fromkeys(_name_way(report) for report in reports))
    cells = [["" for _ in ways] for _ in devices]
    for report in reports:
        row = devices.index(_name_device(report))
        column = ways.index(_name_way(report))
        told = f"{report.verdict.fps:.3g} fps ({report.verdict.headroom:.2f} x)"
        cells[row][column] = f"{cells[row][column]}, {told}".removeprefix(", ")
    return devices, ways, tuple(tuple(row) for row in cells)


def _name_device(report: ProfileReport) -> str:
    machine = report.conditions.machine
    return f"{machine.processor}, {machine.cores} cores"


def _name_way(report: ProfileReport) -> str:
    bundle = report.bundle
    run = report.settings
    return (
        f"{bundle.backend} {bundle.compute}, {bundle.width} x {bundle.height} px, "
        f"{spell_steps(run.steps)}"
    )


def _list_doubts(reports: Sequence[ProfileReport], labels: Sequence[str]) -> tuple[str, ...]:
    doubts = []
    for report, label in zip(reports, labels, strict=True):
        if report.verdict.noisy:
            doubts.append(f"{label}: {report.verdict.noisy}")
        if report.settings.repeats < _FEWEST:
            doubts.append(
                f"{label}: {report.settings.repeats} repeats are too few for intervals to be "
                "trusted"
            )
    first = reports[0].settings
    for report, label in zip(reports[1:], labels[1:], strict=True):
        for name in ("steps", "frames", "fps", "overlap", "guidance"):
            own = getattr(first, name)
            other = getattr(report.settings, name)
            if own != other:
                doubts.append(f"{label}: {name} {other:g}, the first has {own:g}")
    return tuple(doubts)
