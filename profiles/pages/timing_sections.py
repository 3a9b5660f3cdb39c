"""Sections of a profile's page on time: stages, time line, latencies and layers."""

from __future__ import annotations

from html import escape

from echoexport.profiles.measuring.figures import format_seconds
from echoexport.profiles.measuring.sensors import NOT_AVAILABLE
from echoexport.profiles.pages.page_parts import draw_bar, format_table
from echoexport.profiles.pages.profile_charts import (
    draw_histogram,
    draw_key,
    draw_stages,
    draw_timeline,
)
from echoexport.profiles.reports.profile import LayerSummary, ModeReport, ProfileReport, Timing

__all__ = ["show_latencies", "show_layers", "show_stages", "show_timeline"]


def show_stages(report: ProfileReport) -> str:
    """Bars of every mode's stages, and their figures."""
    parts = ["<h2>Stages</h2>"]
    for mode in report.modes:
        parts.append(
            f'<h3>{escape(mode.name)}</h3>\n<p class="soft">{escape(mode.what)}; medians.</p>'
        )
        parts += [draw_stages(mode), draw_key(stage.name for stage in mode.stages)]
    rows = [
        [
            stage.name,
            mode.name,
            stage.track,
            f"{100 * stage.share:.1f} %",
            *_list_figures(stage.timing),
        ]
        for mode in report.modes
        for stage in mode.stages
    ]
    table = format_table(["stage", "mode", "track", "share", "p50", "p90", "p99", "max"], rows)
    return "\n".join(
        [*parts, f"<details><summary>Figures, of a clip</summary>\n{table}\n</details>"]
    )


def show_timeline(mode: ModeReport) -> str:
    """The second that is shown; nothing where there is none."""
    if not mode.timeline:
        return ""
    key = draw_key(span.category for span in mode.timeline)
    told = (
        f"The busiest second of the last repeat, {mode.name}; "
        "what lies within something else is drawn on it."
    )
    chart = draw_timeline(mode)
    return f'<h2>Time line of a second</h2>\n<p class="soft">{escape(told)}</p>\n{chart}\n{key}'


def show_latencies(report: ProfileReport) -> str:
    """A table for each mode: every network, frames, the first one, and the clip."""
    parts = ["<h2>Latencies</h2>"]
    heads = ["a call", "in a clip", "p50", "p90", "p99", "max", "from least to most"]
    for mode in report.modes:
        timings = _list_timings(mode)
        rows = [[name, str(calls), *_list_figures(timing)] for name, calls, timing in timings]
        charts = [draw_histogram(timing) for _, _, timing in timings]
        table = format_table(heads, rows, extra=charts)
        parts.append(f"<h3>{escape(mode.name)}</h3>\n{table}")
    return "\n".join(parts)


def _list_timings(mode: ModeReport) -> list[tuple[str, int, Timing]]:
    """What is timed, how often a clip does it, and how long it takes."""
    found = [(network.name, network.calls, network.host) for network in mode.networks]
    found += [
        (f"{network.name}, the device's clock", network.calls, network.device)
        for network in mode.networks
        if network.device is not None
    ]
    if mode.intervals is not None:
        found.append(("between frames", mode.frames - 1, mode.intervals))
    return [*found, ("first frame", 1, mode.first_frame), ("whole clip", 1, mode.wall)]


def show_layers(report: ProfileReport) -> str:
    """Groups and the longest layers of each network, or why there are none."""
    if not report.layers:
        return (
            f'<h2>Layers</h2>\n<p class="soft">{escape(report.layers_note or NOT_AVAILABLE)}.</p>'
        )
    note = f'<p class="note">{escape(report.layers_note)}.</p>' if report.layers_note else ""
    told = "Timing each layer costs time itself: shares mean more than seconds."
    parts = [_layer_tables(summary) for summary in report.layers]
    return "\n".join([f'<h2>Layers</h2>\n<p class="soft">{told}</p>{note}', *parts])


def _layer_tables(summary: LayerSummary) -> str:
    total = summary.seconds or 1.0
    groups = format_table(
        ["module", "a call", "share", ""],
        [
            [part.name, format_seconds(part.seconds), f"{100 * part.seconds / total:.1f} %"]
            for part in summary.groups
        ],
        extra=[draw_bar(part.seconds / total) for part in summary.groups],
    )
    rows = [
        [
            part.name,
            part.kind,
            part.group,
            format_seconds(part.seconds),
            f"{100 * part.seconds / total:.1f} %",
        ]
        for part in summary.layers
    ]
    layers = format_table(["layer", "kind", "module", "a call", "share"], rows, words=(1, 2))
    title = f"{summary.network}: {format_seconds(summary.seconds)} in {summary.count} layers"
    longest = f"<h3>Layers that take longest</h3>\n{layers}"
    return f"<details><summary>{escape(title)}</summary>\n{groups}\n{longest}\n</details>"


def _list_figures(timing: Timing) -> list[str]:
    figures = timing.figures
    return [format_seconds(value) for value in (figures.p50, figures.p90, figures.p99, figures.max)]
