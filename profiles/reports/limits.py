"""Limits that a profile is held to: ``p99>40ms``, ``fps<25``, ``denoising_unet.p50>+5%``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from echoexport.profiles.measuring.figures import (
    FIGURES,
    Change,
    Samples,
    compare_samples,
    format_bytes,
    format_seconds,
)
from echoexport.profiles.reports.profile import ModeReport, ProfileReport
from echoexport.runtime.errors import SettingError

__all__ = [
    "Limit",
    "Metric",
    "check_limit",
    "check_limits",
    "list_metrics",
    "parse_limit",
    "tell_apart",
]

_EXPRESSION = re.compile(
    r"\s*([a-z][a-z0-9_.]*)\s*([<>])\s*([+-]?)([0-9]{1,12}(?:\.[0-9]{1,12})?)\s*([a-zA-Z%]*)\s*"
)
_UNITS = {
    "seconds": {"us": 1e-6, "ms": 1e-3, "s": 1.0},
    "bytes": {"kB": 1e3, "MB": 1e6, "GB": 1e9},
    "fps": {"": 1.0, "fps": 1.0},
    "": {"": 1.0},
    "J": {"J": 1.0},
}
_LARGE = 3.0  # ratio from which on nobody thinks in per cent
_FORM = "METRIC>VALUE or METRIC<VALUE, e.g. p99>40ms, fps<25, denoising_unet.p50>+5%"


@dataclass(frozen=True)
class Metric:
    """One figure of a profile."""

    name: str
    value: float
    unit: str
    """Either "seconds", "bytes", "fps", "J" or ""."""
    samples: Samples = ()
    """What it comes from, () for none."""
    figure: str = "p50"
    """Which figure of its samples it is: p50, p90, p99, max or mean; "1/p50" for a rate."""

    @property
    def more_is_better(self) -> bool:
        """Whether a larger value is the better one."""
        return self.unit == "fps"


@dataclass(frozen=True)
class Limit:
    """What fails: a metric above (">") or below ("<") a value."""

    metric: str
    above: bool
    value: float
    unit: str
    relative: bool
    """The value is a change against the first profile, 0.05 for +5 %."""
    text: str
    """As it was given."""


def parse_limit(text: str) -> Limit:
    """Read an expression.

    Times want a unit (us, ms, s), memory too (kB, MB, GB); changes want a sign and %.

    Raises:
        SettingError: it is none; the line says what would be.
    """
    found = _EXPRESSION.fullmatch(text)
    if found is None:
        raise SettingError(f"--fail-if {text!r}: {_FORM} is wanted")
    metric, operator, sign, number, unit = found.groups()
    if (unit == "%") != bool(sign):
        raise SettingError(
            f"--fail-if {text!r}: a change against the first profile has a sign and a %, as in "
            "p50>+5%"
        )
    value = float(number)
    if unit == "%":
        return Limit(
            metric, operator == ">", (-value if sign == "-" else value) / 100, "", True, text
        )
    known = [name for units in _UNITS.values() for name in units]
    if unit not in known:
        raise SettingError(
            f"--fail-if {text!r}: unit {unit!r}; known: {', '.join(filter(None, known))}, %"
        )
    return Limit(metric, operator == ">", value, unit, False, text)


def list_metrics(report: ProfileReport) -> dict[str, Metric]:
    """Every figure of a profile by the name that limits call it by.

    p50, p90, p99 and max are seconds between frames. fps is steady, or of the whole
    clip where that was not measured. Then come clip_fps, rtf, first_frame (p50), load,
    peak_memory, device_memory, energy (a frame) and bundle (bytes), and of a profile
    with a conversation live_first_frame, live_delay, live_delay_p99 (seconds),
    live_late_frames and live_capacity (frames a second). STAGE.p50, NETWORK.p50 and the
    like are in turns; overlapped.NETWORK.p50 is not.
    """
    found = {metric.name: metric for metric in _list_headlines(report)}
    for mode in reversed(report.modes):
        prefix = "" if mode is report.modes[-1] else f"{mode.name.replace(' ', '_')}."
        _add_parts(found, mode, prefix=prefix)
    return found


def _list_headlines(report: ProfileReport) -> Iterator[Metric]:
    head = report.headline
    each = tuple(tuple(seconds / head.frames for seconds in repeat) for repeat in head.wall.samples)
    steady = each if head.steady is None else head.steady.samples
    clocked = tuple(tuple(report.settings.fps * s for s in repeat) for repeat in each)
    first = head.first_frame
    yield Metric("fps", head.steady_fps or head.fps, "fps", steady, "1/p50")
    yield Metric("clip_fps", head.fps, "fps", each, "1/p50")
    yield Metric("rtf", head.real_time_factor, "", clocked)
    yield Metric("first_frame", first.figures.p50, "seconds", first.samples)
    yield Metric("load", sum(head.load.values()), "seconds")
    yield from _list_sensors(report)
    yield Metric("bundle", float(report.bundle.bytes), "bytes")
    yield from _list_live(report)
    between = head.intervals
    if between is not None:
        for figure in ("p50", "p90", "p99", "max"):
            value = getattr(between.figures, figure)
            yield Metric(figure, value, "seconds", between.samples, figure)


def _list_live(report: ProfileReport) -> Iterator[Metric]:
    """What a conversation came to, where one was measured."""
    live = report.live
    if live is None:
        return
    for name, value in (
        ("live_first_frame", live.first_frame_ms),
        ("live_delay", live.delay_ms),
        ("live_delay_p99", live.delay_ms_p99),
    ):
        if value is not None:
            yield Metric(name, value / 1e3, "seconds")
    yield Metric("live_late_frames", float(live.late_frames), "")
    yield Metric("live_capacity", live.fps_capacity, "fps")


def _list_sensors(report: ProfileReport) -> Iterator[Metric]:
    """What sensors gave; nothing of those that gave nothing."""
    sensors = report.headline.sensors
    frames = report.headline.frames * report.settings.repeats
    for name, reading in (
        ("peak_memory", sensors.peak_memory),
        ("device_memory", sensors.device_memory),
    ):
        if reading.value is not None:
            yield Metric(name, reading.value, "bytes")
    if sensors.energy.value is not None:
        yield Metric("energy", sensors.energy.value / frames, "J")


def _add_parts(found: dict[str, Metric], mode: ModeReport, *, prefix: str) -> None:
    timings = {stage.name: stage.timing for stage in mode.stages if stage.track == "main"}
    timings |= {network.name: network.host for network in mode.networks}
    for part, timing in timings.items():
        for figure in FIGURES:
            name = f"{prefix}{part}.{figure}"
            found.setdefault(
                name,
                Metric(name, getattr(timing.figures, figure), "seconds", timing.samples, figure),
            )


def compare_metric(baseline: Metric, candidate: Metric) -> Change:
    """The candidate's value by the baseline's, with an interval where both have samples."""
    found = None
    if baseline.samples and candidate.samples:
        rate = baseline.figure.startswith("1/")
        found = compare_samples(
            baseline.samples, candidate.samples, figure=baseline.figure.removeprefix("1/")
        )
        if found is not None and rate:
            low, high = (
                None if end is None else 1 / max(end, 1e-12) for end in (found.high, found.low)
            )
            return Change(baseline.value, candidate.value, 1 / max(found.ratio, 1e-12), low, high)
    low, high = (None, None) if found is None else (found.low, found.high)
    ratio = (
        candidate.value / baseline.value
        if baseline.value
        else float(candidate.value == baseline.value)
    )
    return Change(baseline.value, candidate.value, ratio, low, high)


def check_limit(
    limit: Limit,
    metrics: Mapping[str, Metric],
    *,
    baseline: Mapping[str, Metric] | None,
    label: str,
) -> str:
    """A line where a profile breaks the limit, else "".

    A change counts only where it exceeds the noise, as far as the samples tell; figures
    without samples count as they are. A ``baseline`` of None is the first profile
    itself, which relative limits say nothing of.

    Raises:
        SettingError: no such metric in it, or a unit that the metric has not.
    """
    metric = _find_metric(limit, metrics, label=label)
    if not limit.relative:
        bound = _find_bound(limit, metric)
        broken = metric.value > bound if limit.above else metric.value < bound
        told = f"{limit.metric} is {describe_metric(metric)}"
        return f"{label}: {limit.text}: {told}" if broken else ""
    if baseline is None:
        return ""
    change = compare_metric(_find_metric(limit, baseline, label="the first profile"), metric)
    broken = change.ratio > 1 + limit.value if limit.above else change.ratio < 1 + limit.value
    if not broken or (change.low is not None and not change.exceeds_noise):
        return ""
    told = f"{describe_metric(metric)}, {describe_change(change)}"
    return f"{label}: {limit.text}: {limit.metric} is {told}"


def check_limits(
    limits: Sequence[Limit],
    metrics: Sequence[Mapping[str, Metric]],
    *,
    labels: Sequence[str],
    noun: str = "profile",
) -> tuple[str, ...]:
    """A line for each limit that a report breaks; changes are seen against the first report.

    ``metrics`` and ``labels`` are of the reports, which a message calls ``noun``.

    Raises:
        SettingError: see :func:`check_limit`; or a change is limited and there is one report.
    """
    relative = [limit.text for limit in limits if limit.relative]
    if relative and len(metrics) < 2:
        raise SettingError(
            f"--fail-if {relative[0]!r}: a change needs a second {noun} to be seen in"
        )
    lines = [
        check_limit(limit, own, baseline=metrics[0] if place else None, label=label)
        for limit in limits
        for place, (own, label) in enumerate(zip(metrics, labels, strict=True))
    ]
    return tuple(filter(None, lines))


def tell_apart(names: Sequence[str]) -> tuple[str, ...]:
    """The names, numbered by their places where two are alike."""
    return tuple(
        name if names.count(name) == 1 else f"{name} ({place})"
        for place, name in enumerate(names, 1)
    )


def _find_bound(limit: Limit, metric: Metric) -> float:
    units = _UNITS[metric.unit]
    if limit.unit not in units:
        wanted = ", ".join(units) if any(units) else "none"
        raise SettingError(
            f"--fail-if {limit.text!r}: {limit.metric} has units {wanted}, not {limit.unit!r}"
        )
    return limit.value * units[limit.unit]


def describe_metric(metric: Metric) -> str:
    """Value and unit for people."""
    if metric.unit == "seconds":
        return format_seconds(metric.value)
    if metric.unit == "bytes":
        return format_bytes(metric.value)
    return f"{metric.value:.3g} {metric.unit}".rstrip()


def describe_change(change: Change) -> str:
    """In per cent, or as a multiple where it is large, with the interval where there is one."""
    ends = (change.ratio, change.low, change.high)
    ratio, low, high = (
        "" if end is None else _describe_ratio(end, large=change.ratio >= _LARGE) for end in ends
    )
    unit = "x" if change.ratio >= _LARGE else "%"
    return f"{ratio} {unit} ({low} to {high} {unit})" if low else f"{ratio} {unit}"


def _describe_ratio(ratio: float, *, large: bool) -> str:
    return f"{ratio:.3g}" if large else f"{100 * (ratio - 1):+.1f}"


def _find_metric(limit: Limit, metrics: Mapping[str, Metric], *, label: str) -> Metric:
    if limit.metric in metrics:
        return metrics[limit.metric]
    near = get_close_matches(limit.metric, metrics, 3) or list(metrics)[:8]
    raise SettingError(
        f"--fail-if {limit.text!r}: {label} has no {limit.metric!r}; try {', '.join(near)}"
    )
