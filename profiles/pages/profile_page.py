"""A profile as one page that needs nothing else: verdict first, then every figure."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from echoexport.profiles.measuring.figures import format_bytes, format_seconds
from echoexport.profiles.measuring.live_run import LiveRun
from echoexport.profiles.measuring.modes import IN_TURNS
from echoexport.profiles.measuring.probe import ProbeFigure
from echoexport.profiles.measuring.sensor_log import Series
from echoexport.profiles.measuring.sensors import NOT_AVAILABLE
from echoexport.profiles.pages.modelled_sections import show_forecast, show_roofline
from echoexport.profiles.pages.page_parts import format_page, format_table
from echoexport.profiles.pages.profile_charts import (
    draw_series,
)
from echoexport.profiles.pages.profile_markdown import describe_reading, list_facts, list_live_facts
from echoexport.profiles.pages.profile_style import read_profile_style
from echoexport.profiles.pages.timing_sections import (
    show_latencies,
    show_layers,
    show_stages,
    show_timeline,
)
from echoexport.profiles.reports.profile import (
    ModeReport,
    ProfileReport,
    QualityExcerpt,
)
from echoexport.profiles.reports.verdict import find_slowest
from echoexport.runtime.contract.settings import spell_steps

__all__ = ["format_profile_page"]

_SHOWN = {
    "power": "power",
    "energy": "energy",
    "clock": "clocks",
    "temperature": "temperatures",
    "throttling": "throttling",
    "memory": "memory",
    "device memory": "device memory",
}
_MOST_SERIES = 6  # of a kind
_LONG = 14  # characters of a tile, from which on they are no figure


def format_profile_page(report: ProfileReport) -> str:
    """The whole page as HTML: no script, no request, the same text for the same report."""
    turns = report.mode(IN_TURNS) or report.headline
    sections = [
        _verdict(report, turns),
        _tiles(report),
        show_stages(report),
        show_timeline(report.headline),
        show_latencies(report),
        show_layers(report),
        show_roofline(report.roofline),
        show_forecast(report.forecast),
        _live(report.live),
        _memory(report.headline),
        _quality(report.quality),
        _conditions(report),
    ]
    return format_page(f"{report.bundle.name}: profile", read_profile_style(), sections)


def _verdict(report: ProfileReport, turns: ModeReport) -> str:
    verdict = report.verdict
    bundle = report.bundle
    start, _, rest = verdict.line.partition(": ")
    kind = "holds" if verdict.real_time else "misses"
    what = (
        f"Bundle {bundle.name} on {report.conditions.machine.processor}, "
        f"{bundle.width} x {bundle.height} px, {spell_steps(report.settings.steps)}, "
        f"{bundle.backend}, computing in {bundle.compute}. "
        "Measured, unless a line says modelled."
    )
    remedies = "".join(f"<li>{escape(remedy)}</li>" for remedy in verdict.remedies)
    notes = [
        find_slowest(turns),
        f"Take care: {verdict.noisy}" if verdict.noisy else "",
        *report.notes,
    ]
    told = "".join(f'<p class="note">{escape(note)}.</p>\n' for note in notes if note)
    return (
        f'<header class="verdict {kind}">\n'
        f"<h1>{escape(start)}: <strong>{escape(rest)}</strong></h1>\n"
        + (f'<ul class="remedies">{remedies}</ul>\n' if remedies else "")
        + f'<p class="soft">{escape(what)}</p>\n{told}</header>'
    )


def _tiles(report: ProfileReport) -> str:
    mode = report.headline
    energy = mode.sensors.energy.value
    frames = mode.frames * report.settings.repeats
    steady = (
        (mode.steady_reason, "steady")
        if mode.steady is None
        else (f"{mode.steady_fps:.1f} fps", "steady")
    )
    tiles = [
        steady,
        (
            f"{mode.fps:.1f} fps",
            f"of a whole clip of {mode.frames} frames; real-time factor "
            f"{mode.real_time_factor:.2f}",
        ),
        (format_seconds(mode.first_frame.figures.p50), "to the first frame, engines open"),
        (format_seconds(sum(mode.load.values())), "to open the engines, compiled anew"),
        (describe_reading(mode.sensors.peak_memory), "memory of the process at its peak"),
        (format_bytes(report.bundle.bytes), "the bundle"),
        (NOT_AVAILABLE, "energy")
        if energy is None
        else (f"{energy / frames:.3g} J", "of energy a frame"),
    ]
    items = "\n".join(_tile(value, text) for value, text in tiles)
    return f'<ul class="tiles">\n{items}\n</ul>'


def _tile(value: str, text: str) -> str:
    kind = ' class="words"' if len(value) > _LONG else ""
    return f"<li><b{kind}>{escape(value)}</b><span>{escape(text)}</span></li>"


def _live(live: LiveRun | None) -> str:
    """A conversation, where one was measured."""
    if live is None:
        return ""
    told = "A voice spoken at its own pace into a live session; measured, one session alone."
    rows = [[name.removeprefix("live: "), text] for name, text in list_live_facts(live)]
    table = format_table(["", "live"], rows, words=(1,))
    return f'<h2>Live</h2>\n<p class="soft">{told}</p>\n{table}'


def _memory(mode: ModeReport) -> str:
    parts = ["<h2>Memory, power, clocks and heat</h2>"]
    sensors = mode.sensors
    rows = [
        ["memory of the process, peak", describe_reading(sensors.peak_memory)],
        ["memory of the process, median", describe_reading(sensors.steady_memory)],
        ["memory of the device, peak", describe_reading(sensors.device_memory)],
        ["energy of all repeats", describe_reading(sensors.energy)],
        ["power, mean", describe_reading(sensors.power)],
        ["throttling", describe_reading(sensors.throttling)],
    ]
    parts.append(format_table(["", mode.name], rows, words=(1,)))
    charts = []
    missing = []
    for kind, words in _SHOWN.items():
        own = sensors.of_kind(kind)
        charts += [
            draw_series(series, _describer(series))
            for series in own[:_MOST_SERIES]
            if len(series.values) > 1
        ]
        missing += [] if own else [words]
    parts.append(f'<div class="lines">\n{"".join(charts)}\n</div>')
    if missing:
        parts.append(
            f'<p class="note">{escape(", ".join(missing).capitalize())}: {NOT_AVAILABLE}.</p>'
        )
    return "\n".join(parts)


def _describer(series: Series) -> Callable[[float], str]:
    if series.unit == "bytes":
        return format_bytes
    return lambda value: f"{value:.4g} {series.unit}"


def _quality(quality: QualityExcerpt | None) -> str:
    if quality is None:
        told = (
            "This bundle brings no quality report; int8 and auto builds do, "
            "and echoexport compare makes one."
        )
        return f'<h2>Quality</h2>\n<p class="soft">{told}</p>'
    rows = "\n".join(
        f'<div><span class="label">{escape(row.label)}</span>'
        f'<img src="{escape(row.picture)}" width="{row.width}" height="{row.height}" '
        f'alt="{escape(row.label)}"></div>'
        for row in (quality.strip.rows if quality.strip else ())
    )
    strip = f'<figure>\n<div class="strip">\n{rows}\n</div>\n</figure>' if rows else ""
    return f"<h2>Quality</h2>\n<p>{escape(quality.line)}</p>\n{strip}"


def _conditions(report: ProfileReport) -> str:
    found = report.conditions
    run = report.settings
    facts = {
        **dict(list_facts(report)),
        "machine": found.machine.describe(),
        "libraries": ", ".join(
            [f"Python {found.python}", *(f"{n} {v}" for n, v in found.libraries.items())]
        ),
        "date": found.date,
        "repeats": f"{run.repeats} after {run.warmup} that do not count, of each mode; "
        f"{run.threads or 'any'} threads",
        "sampling": f"{spell_steps(run.steps)}, guidance {run.guidance:g}, overlap {run.overlap}, "
        f"{run.fps:g} fps",
        "inputs": f"{run.portrait}, {run.voice}",
        "arithmetic": ", ".join(f"{name} {how}" for name, how in report.bundle.arithmetic.items()),
        "tests of the device": "; ".join(
            _describe_test(figure)
            for figure in (report.probe.compute, report.probe.int8, report.probe.copy)
        ),
    }
    items = "\n".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items()
    )
    return f"<h2>Conditions</h2>\n<dl>\n{items}\n</dl>"


def _describe_test(figure: ProbeFigure) -> str:
    counted = f"{figure.calls} calls, slowest {figure.spread} x the quickest"
    return f"{figure.what}: {figure.reason or counted}"
