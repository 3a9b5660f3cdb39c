"""Charts of a profile as inline SVG: stages, time line, distributions, sensors and the roofline."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape

from echoexport.profiles.measuring.figures import format_seconds
from echoexport.profiles.measuring.sensor_log import Series
from echoexport.profiles.modelling.roofline import NetworkRoofline, Roof, Roofline
from echoexport.profiles.pages.profile_style import find_colour
from echoexport.profiles.reports.profile import ModeReport, StageShare, Timing

__all__ = ["draw_histogram", "draw_key", "draw_plot", "draw_series", "draw_stages", "draw_timeline"]

_BINS = 32
_PLOT = (380, 280)
_EDGES = (44, 12, 24, 34)  # of the plot: left, right, top, bottom


def draw_key(names: Iterable[str]) -> str:
    """Colours with their names."""
    items = "".join(
        f'<li><i class="{find_colour(name)}"></i>{escape(name)}</li>'
        for name in dict.fromkeys(names)
    )
    return f'<ul class="key">{items}</ul>'


def draw_stages(mode: ModeReport) -> str:
    """A stacked bar for each track, as long as the clip took."""
    tracks: dict[str, list[StageShare]] = {}
    for stage in mode.stages:
        tracks.setdefault(stage.track, []).append(stage)
    bars = []
    for track, stages in tracks.items():
        place = 0.0
        rects = []
        for stage in stages:
            width = 1000 * stage.share
            median = format_seconds(stage.timing.figures.p50)
            told = f"{stage.name}: {median}, {100 * stage.share:.1f} %"
            rects.append(_draw_rect(place, width, find_colour(stage.name), told))
            place += width
        bars.append(_draw_track(track, rects, f"stages of {track}, {mode.name}"))
    wall = format_seconds(mode.wall.figures.p50)
    return "\n".join(
        [*bars, f'<div class="axis"><span>0</span><span>{wall}, the clip</span></div>']
    )


def draw_timeline(mode: ModeReport) -> str:
    """What ran in the second that is shown, track by track; device time has tracks of its own."""
    tracks: dict[str, list[str]] = {}
    for span in mode.timeline:
        name = span.track if span.clock == "host" else f"{span.track}, the device's clock"
        told = f"{span.name}: {format_seconds(span.seconds)}"
        # outer ones first, so that what they hold lies on them
        rect = _draw_rect(1000 * span.start, 1000 * span.seconds, find_colour(span.category), told)
        tracks.setdefault(name, []).append(rect)
    rows = [_draw_track(track, rects, f"time line of {track}") for track, rects in tracks.items()]
    return "\n".join(
        [*rows, '<div class="axis"><span>0</span><span>500 ms</span><span>1 s</span></div>']
    )


def draw_histogram(timing: Timing) -> str:
    """How many samples took how long, from the quickest to the slowest."""
    values = sorted(value for repeat in timing.samples for value in repeat)
    low = values[0]
    high = values[-1]
    counts = [0] * _BINS
    for value in values:
        place = 0 if high <= low else int((value - low) / (high - low) * _BINS)
        counts[min(place, _BINS - 1)] += 1
    heights = [29 * count / max(counts) for count in counts]
    rects = [
        f'<rect class="k0" x="{10 * index}" y="{30 - height:.1f}" width="9" height="{height:.1f}"/>'
        for index, height in enumerate(heights)
        if height
    ]
    name = f"{len(values)} samples from {format_seconds(low)} to {format_seconds(high)}"
    return (
        f'<svg class="hist" viewBox="0 0 {10 * _BINS} 30" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(name)}">{"".join(rects)}</svg>'
    )


def draw_series(series: Series, describe: Callable[[float], str]) -> str:
    """One sensor over time, with its least and largest value."""
    low = min(series.values)
    high = max(series.values)
    last = max(series.times[-1], 1e-9)
    reach = (high - low) or 1.0
    points = " ".join(
        f"{1000 * moment / last:.1f},{66 - 60 * (value - low) / reach:.1f}"
        for moment, value in zip(series.times, series.values, strict=True)
    )
    told = f"{series.kind}, {series.name}: {describe(low)} to {describe(high)}"
    return (
        f'<figure><figcaption>{escape(told)}</figcaption><svg class="line" viewBox="0 0 1000 72" '
        f'preserveAspectRatio="none" role="img" aria-label="{escape(told)}">'
        f'<polyline points="{points}"/></svg>'
        f'<div class="axis"><span>0</span><span>{last:.3g} s</span></div></figure>'
    )


def draw_plot(roofline: Roofline) -> str:
    """Networks under both roofs, FLOP/s by FLOP/byte, both axes logarithmic.

    It is empty where nothing can be placed.
    """
    networks = roofline.by_probe or roofline.by_peak
    roofs = [
        (kind, roof)
        for kind, roof in (("peak", roofline.peak), ("probe", roofline.probe))
        if _is_known(roof)
    ]
    placed = [
        network for network in networks if network.intensity > 0 and network.achieved_compute > 0
    ]
    if not placed:
        return ""
    ridges = [roof.ridge for _, roof in roofs if roof.ridge]
    across = _Axis(
        [network.intensity for network in placed] + ridges, _EDGES[0], _PLOT[0] - _EDGES[1]
    )
    tops = [roof.compute for _, roof in roofs if roof.compute]
    up = _Axis(
        [network.achieved_compute for network in placed] + tops, _PLOT[1] - _EDGES[3], _EDGES[2]
    )
    parts = [*_draw_grid(across, up), *(_draw_roof(kind, roof, across, up) for kind, roof in roofs)]
    parts += [_draw_network(network, index, across, up) for index, network in enumerate(placed, 1)]
    key = "".join(
        f"<li>{index} {escape(network.name)}: {escape(_describe_place(network))}</li>"
        for index, network in enumerate(placed, 1)
    )
    return (
        f'<svg class="plot" viewBox="0 0 {_PLOT[0]} {_PLOT[1]}" role="img" aria-label="roofline">'
        f'{"".join(parts)}</svg>\n<ul class="key">{key}</ul>'
    )


class _Axis:
    """A logarithmic axis over whole decades from place ``start`` to ``end``."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.low = math.floor(math.log10(min(values)))
        self.high = math.ceil(math.log10(max(values)) + 0.05)
        self._start = start
        self._end = end

    def place(self, value: float) -> float:
        share = (math.log10(max(value, 1e-300)) - self.low) / (self.high - self.low)
        return self._start + share * (self._end - self._start)

    @property
    def decades(self) -> list[int]:
        step = max((self.high - self.low) // 5, 1)
        return list(range(self.low, self.high + 1, step))


def _draw_rect(place: float, width: float, colour: str, told: str) -> str:
    # a thin one is still to be seen
    return (
        f'<rect class="{colour}" x="{place:.2f}" y="0" width="{max(width, 0.8):.2f}" height="26">'
        f"<title>{escape(told)}</title></rect>"
    )


def _draw_track(label: str, rects: Sequence[str], name: str) -> str:
    return (
        f'<div class="track"><span class="label">{escape(label)}</span>'
        '<svg class="wide" viewBox="0 0 1000 26" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(name)}">{"".join(rects)}</svg></div>'
    )


def _draw_grid(across: _Axis, up: _Axis) -> Iterable[str]:
    bottom = _PLOT[1] - _EDGES[3]
    left = _EDGES[0]
    right = _PLOT[0] - _EDGES[1]
    for decade in across.decades:
        x = f"{across.place(10.0**decade):.1f}"
        yield f'<line class="grid" x1="{x}" y1="{_EDGES[2]}" x2="{x}" y2="{bottom}"/>'
        yield _draw_label(_describe_decade(decade), x, f"{bottom + 14}", anchor="middle")
    for decade in up.decades:
        y = up.place(10.0**decade)
        yield f'<line class="grid" x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
        yield _draw_label(_describe_decade(decade), f"{left - 4}", f"{y + 4:.1f}", anchor="end")
    yield _draw_label("FLOP/byte", f"{right}", f"{_PLOT[1] - 4}", anchor="end")
    yield '<text class="soft" x="2" y="11">FLOP/s</text>'


def _draw_label(text: str, x: str, y: str, *, anchor: str) -> str:
    return f'<text class="soft" x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>'


def _draw_roof(kind: str, roof: Roof, across: _Axis, up: _Axis) -> str:
    compute = roof.compute or 0.0
    bandwidth = roof.bandwidth or 0.0
    ridge = compute / bandwidth
    least = 10.0**across.low
    most = 10.0**across.high
    floor = max(least, 10.0**up.low / bandwidth)
    points = [(floor, floor * bandwidth), (min(max(ridge, least), most), compute), (most, compute)]
    if ridge <= least:
        points = [(least, compute), (most, compute)]
    line = " L".join(f"{across.place(x):.1f} {up.place(y):.1f}" for x, y in points)
    word = "data sheet" if kind == "peak" else "this device, tested"
    x = across.place(most)
    y = up.place(compute)
    text = f'<text class="{kind}" x="{x:.1f}" y="{y - 4:.1f}" text-anchor="end">{word}</text>'
    return f'<path class="{kind}" d="M{line}"/>{text}'


def _draw_network(network: NetworkRoofline, index: int, across: _Axis, up: _Axis) -> str:
    x = across.place(network.intensity)
    y = up.place(network.achieved_compute)
    side = "start" if index % 2 else "end"  # neighbours keep out of each other's way
    beside = x + (7 if index % 2 else -7)
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5"><title>{escape(network.name)}</title></circle>'
        f'<text x="{beside:.1f}" y="{y + 4:.1f}" text-anchor="{side}">{index}</text>'
    )


def _describe_place(network: NetworkRoofline) -> str:
    part = "" if network.fraction is None else f", {100 * network.fraction:.0f} % of the roof"
    return f"{network.achieved_compute / 1e9:.3g} GFLOP/s{part}, {network.bound}-bound"


def _describe_decade(decade: int) -> str:
    units = {0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P"}
    base = 3 * math.floor(decade / 3)
    return f"{10 ** (decade - base)}{units[base]}" if base in units else f"{10.0**decade:g}"


def _is_known(roof: Roof) -> bool:
    return bool(roof.compute and roof.bandwidth)
