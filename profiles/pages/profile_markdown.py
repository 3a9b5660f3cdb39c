"""A profile as Markdown, for a README."""

from __future__ import annotations

from collections.abc import Sequence

from echoexport.profiles.measuring.figures import format_bytes, format_seconds
from echoexport.profiles.measuring.live_run import LiveRun
from echoexport.profiles.measuring.modes import IN_TURNS
from echoexport.profiles.measuring.sensor_log import Reading
from echoexport.profiles.measuring.sensors import NOT_AVAILABLE
from echoexport.profiles.reports.profile import ModeReport, ProfileReport, Timing
from echoexport.runtime.contract.settings import spell_steps

__all__ = ["describe_reading", "format_markdown", "format_rows", "format_timing", "list_facts"]

_HEADS = ("", "p50", "p90", "p99", "max")


def format_markdown(report: ProfileReport) -> str:
    """Verdict, figures, networks and stages as tables; measured unless a line says modelled."""
    turns = report.mode(IN_TURNS) or report.headline
    parts = [f"**{report.verdict.line}**", *(f"* {remedy}" for remedy in report.verdict.remedies)]
    if report.verdict.noisy:
        parts += ["", f"Take care: {report.verdict.noisy}."]
    parts += [
        "",
        format_rows(("what", "figure"), [[name, text] for name, text in list_facts(report)]),
        "",
    ]
    rows = [[network.name, *_list_times(network.host)] for network in turns.networks]
    parts += [format_rows(("network, a call", *_HEADS[1:]), rows), ""]
    stages = [
        [stage.name, f"{100 * stage.share:.1f} %", format_seconds(stage.timing.figures.p50)]
        for stage in turns.stages
        if stage.track == "main"
    ]
    return "\n".join([*parts, format_rows(("stage, in turns", "share", "of a clip"), stages), ""])


def format_rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def list_facts(report: ProfileReport) -> list[tuple[str, str]]:
    """What a profile comes to, one fact a line."""
    mode = report.headline
    bundle = report.bundle
    run = report.settings
    machine = report.conditions.machine
    steady = mode.steady_reason if mode.steady is None else f"{mode.steady_fps:.1f} frames/s"
    sensors = mode.sensors
    energy = sensors.energy.value
    each = "" if energy is None else f", {energy / (mode.frames * run.repeats):.3g} J a frame"
    return [
        ("device", f"{machine.processor}, {machine.cores} cores"),
        (
            "bundle",
            f"{bundle.name}: {bundle.width} x {bundle.height} px, {bundle.precision}, "
            f"{spell_steps(run.steps)}",
        ),
        ("engine", f"{report.conditions.backend}; computes in {bundle.compute}"),
        ("steady", steady),
        ("whole clip", f"{mode.fps:.1f} frames/s, real-time factor {mode.real_time_factor:.2f}"),
        ("first frame", format_timing(mode.first_frame)),
        (
            "between frames",
            "one frame only" if mode.intervals is None else format_timing(mode.intervals),
        ),
        ("engines opened in", _describe_load(mode)),
        (
            "memory of the process",
            f"peak {describe_reading(sensors.peak_memory)}, steady "
            f"{describe_reading(sensors.steady_memory)}",
        ),
        ("memory of the device", describe_reading(sensors.device_memory)),
        (
            "size",
            f"bundle {format_bytes(bundle.bytes)}, of which networks "
            f"{format_bytes(bundle.weights)}; echoexport "
            f"as installed {format_bytes(bundle.package)}",
        ),
        ("energy", describe_reading(sensors.energy) + each),
        ("power, mean", describe_reading(sensors.power)),
        ("throttling", describe_reading(sensors.throttling)),
        *([] if report.live is None else list_live_facts(report.live)),
    ]


def list_live_facts(live: LiveRun) -> list[tuple[str, str]]:
    """What a conversation came to, one fact a line."""
    first = "none drawn" if live.first_frame_ms is None else f"{live.first_frame_ms:.0f} ms"
    delay = "no sound"
    if live.delay_ms is not None and live.delay_ms_p99 is not None:
        delay = f"p50 {live.delay_ms:.0f} ms, p99 {live.delay_ms_p99:.0f} ms"
    return [
        ("live", f"mode {live.mode}, {spell_steps(live.steps)}, {live.block} frames at once"),
        ("live: first frame after the first sound", first),
        ("live: delay of a frame to its sound", delay),
        ("live: late frames", f"{live.late_frames} of {live.frames}"),
        (
            "live: room for",
            f"{live.sessions_capacity} sessions at {live.fps:g} fps "
            f"({live.fps_capacity:.0f} frames/s in all)",
        ),
    ]


def format_timing(timing: Timing) -> str:
    """Percentiles of a timing in a line."""
    p50, p90, p99, most = _list_times(timing)
    return f"p50 {p50}, p90 {p90}, p99 {p99}, max {most}"


def describe_reading(reading: Reading) -> str:
    """A figure with its unit, or why there is none."""
    if reading.value is None:
        return reading.note or NOT_AVAILABLE
    if reading.unit == "bytes":
        return format_bytes(reading.value)
    return f"{reading.value:.3g} {reading.unit}"


def _list_times(timing: Timing) -> list[str]:
    figures = timing.figures
    return [format_seconds(value) for value in (figures.p50, figures.p90, figures.p99, figures.max)]


def _describe_load(mode: ModeReport) -> str:
    return f"{format_seconds(sum(mode.load.values()))}, compiled anew"
