"""A profile as one page that needs nothing else: verdict first, then every figure."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from echoexport.profiles.measuring.figures import format_bytes, format_seconds
from echoexport.profiles.measuring.modes import IN_TURNS
from echoexport.profiles.measuring.probe import ProbeFigure
from echoexport.profiles.measuring.sensor_log import Series
from echoexport.profiles.measuring.sensors import NOT_AVAILABLE
from echoexport.profiles.modelling.forecast import BoardForecast, Forecast, OptionForecast
from echoexport.profiles.modelling.roofline import NetworkRoofline, Roof, Roofline
from echoexport.profiles.pages.page_parts import draw_bar, format_page, format_table
from echoexport.profiles.pages.profile_charts import (
    draw_histogram,
    draw_key,
    draw_plot,
    draw_series,
    draw_stages,
    draw_timeline,
)
from echoexport.profiles.pages.profile_markdown import describe_reading, list_facts
from echoexport.profiles.pages.profile_style import read_profile_style
from echoexport.profiles.reports.profile import (
    LayerSummary,
    ModeReport,
    ProfileReport,
    QualityExcerpt,
    Timing,
)
from echoexport.profiles.reports.verdict import find_slowest

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
        _stages(report),
        _timeline(report.headline),
        _latencies(report),
        _layers(report),
        _roofline(report.roofline),
        _forecast(report.forecast),
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
        f"Bundle {bundle.name} on {report.conditions.machine.processor}, {bundle.width} x "
        f"{bundle.height} px, "
        f"{report.settings.steps} steps, {bundle.backend}, computing in {bundle.compute}. "
        "Measured, unless a line says "
        "modelled."
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


def _stages(report: ProfileReport) -> str:
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


def _timeline(mode: ModeReport) -> str:
    if not mode.timeline:
        return ""
    key = draw_key(span.category for span in mode.timeline)
    told = (
        f"The busiest second of the last repeat, {mode.name}; "
        "what lies within something else is drawn on it."
    )
    chart = draw_timeline(mode)
    return f'<h2>Time line of a second</h2>\n<p class="soft">{escape(told)}</p>\n{chart}\n{key}'


def _latencies(report: ProfileReport) -> str:
    parts = ["<h2>Latencies</h2>"]
    for mode in report.modes:
        timings = [(network.name, network.calls, network.host) for network in mode.networks]
        timings += [
            (f"{network.name}, the device's clock", network.calls, network.device)
            for network in mode.networks
            if network.device is not None
        ]
        timings += (
            [("between frames", mode.frames - 1, mode.intervals)]
            if mode.intervals is not None
            else []
        )
        timings += [("first frame", 1, mode.first_frame), ("whole clip", 1, mode.wall)]
        rows = [[name, str(calls), *_list_figures(timing)] for name, calls, timing in timings]
        table = format_table(
            ["a call", "in a clip", "p50", "p90", "p99", "max", "from least to most"],
            rows,
            extra=[draw_histogram(timing) for _, _, timing in timings],
        )
        parts.append(f"<h3>{escape(mode.name)}</h3>\n{table}")
    return "\n".join(parts)


def _layers(report: ProfileReport) -> str:
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


def _roofline(roofline: Roofline) -> str:
    if roofline.note:
        return f'<h2>Roofline</h2>\n<p class="soft">{escape(roofline.note)}.</p>'
    rows = [_roofline_row(network) for network in roofline.by_probe]
    heads = [
        "network",
        "a call",
        "GFLOP",
        "moved",
        "GFLOP/s",
        "bound by",
        "of what this device reaches",
    ]
    told = (
        "Work is counted from the graphs; the roofs are models, the points are measured, in turns."
    )
    roofs = "".join(
        f'<p class="note">{escape(name)}: {escape(_describe_roof(roof))}.</p>\n'
        for name, roof in (("Data sheet", roofline.peak), ("This device, tested", roofline.probe))
    )
    plot = draw_plot(roofline)
    return (
        f'<h2>Roofline</h2>\n<p class="soft">{told}</p>\n{plot}\n{roofs}{format_table(heads, rows)}'
    )


def _roofline_row(network: NetworkRoofline) -> list[str]:
    return [
        network.name,
        format_seconds(network.seconds),
        f"{network.flops / 1e9:.3g}",
        format_bytes(network.bytes),
        f"{network.achieved_compute / 1e9:.3g}",
        network.bound,
        "not known" if network.fraction is None else f"{100 * network.fraction:.0f} %",
    ]


def _describe_roof(roof: Roof) -> str:
    parts = []
    if roof.compute is not None:
        parts.append(f"{roof.compute / 1e9:.4g} GFLOP/s")
    if roof.int8 is not None:
        parts.append(f"{roof.int8 / 1e9:.4g} GOP/s in int8")
    if roof.bandwidth is not None:
        parts.append(f"{roof.bandwidth / 1e9:.3g} GB/s")
    return f"{', '.join(parts) or 'not known'} ({roof.source or roof.reason or 'no source'})"


def _forecast(forecast: Forecast) -> str:
    if forecast.note:
        return f'<h2>Other boards, modelled</h2>\n<p class="soft">{escape(forecast.note)}.</p>'
    low, high = forecast.band
    here = forecast.efficiency_here
    told = (
        f"Modelled, not measured: {forecast.formula}. "
        f"Engines reach {100 * low:.0f} to {100 * high:.0f} % of a peak"
    )
    told += "." if here is None else f"; this bundle reached {100 * here:.0f} % here."
    heads = ["", f"at {100 * low:.0f} %", f"at {100 * high:.0f} %", "as here", "real time"]
    options = format_table(
        [*heads, "quality"],
        [[*_pace_row(option.name, option), _describe_cost(option)] for option in forecast.options],
        words=(5,),
    )
    boards = format_table(
        [*heads, "note"],
        [
            [*_pace_row(board.title, board), board.reason or board.caveat]
            for board in forecast.boards
        ],
        words=(5,),
    )
    return (
        f'<h2>What to change, modelled</h2>\n<p class="soft">{escape(told)}</p>\n'
        f"<h3>On {escape(forecast.options_target)}</h3>\n{options}\n<h3>Could another board do "
        f"it</h3>\n{boards}"
    )


def _pace_row(name: str, pace: BoardForecast | OptionForecast) -> list[str]:
    values = (pace.fps_low, pace.fps_high, pace.fps_here)
    return [
        name,
        *("not known" if value is None else f"{_round(value)} fps" for value in values),
        pace.real_time,
    ]


def _round(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _describe_cost(option: OptionForecast) -> str:
    cost = option.cost
    if cost.psnr is None:
        return cost.note
    lips = "" if cost.lip_sync_change is None else f", lips {cost.lip_sync_change:+.3f}"
    ssim = "" if cost.ssim is None else f", SSIM {cost.ssim:.3f}"
    return f"{cost.psnr:.1f} dB{ssim}{lips}"


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
    machine = report.conditions.machine
    run = report.settings
    memory = "" if machine.memory is None else f", {format_bytes(machine.memory)} of memory"
    load = "" if machine.load is None else f", load {machine.load:g}"
    facts = {
        **dict(list_facts(report)),
        "machine": f"{machine.processor}, {machine.cores} cores{memory}, {machine.system}{load}",
        "libraries": ", ".join(
            [f"Python {found.python}", *(f"{n} {v}" for n, v in found.libraries.items())]
        ),
        "date": found.date,
        "repeats": f"{run.repeats} after {run.warmup} that do not count, of each mode; "
        f"{run.threads or 'any'} threads",
        "sampling": f"{run.steps} steps, guidance {run.guidance:g}, overlap {run.overlap}, "
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


def _list_figures(timing: Timing) -> list[str]:
    figures = timing.figures
    return [format_seconds(value) for value in (figures.p50, figures.p90, figures.p99, figures.max)]
