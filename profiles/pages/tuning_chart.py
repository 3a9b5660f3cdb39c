"""The picture of a tuning: quality against speed, every choice a point, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from echoexport.profiles.pages.profile_style import read_profile_style
from echoexport.profiles.tuning.limits import ChoiceFigures
from echoexport.profiles.tuning.report import TuningReport, name_choice

__all__ = ["draw_front", "format_picture"]

_SIDES = (640, 400)
_EDGES = (48, 18, 30, 44)  # of the plot: left, right, top, bottom
_ROOM = 16  # a line of text
_COLOURS = 8  # classes of colours that tell sides apart
_ABOVE = 3.0  # dB from the best that differs from the reference to where equal frames stand
_EQUAL = 59.999
"""dB; from there on frames are the reference's own, for which no number is right."""


def draw_front(report: TuningReport) -> str:
    """Frames a second across, PSNR up, a colour for each bundle and arithmetic, as SVG.

    Points are called steps/overlap. Hollow ones break a limit; the line is the Pareto
    front; rings are the default before and the one that was chosen.
    """
    finite = [one.psnr for one in report.results if one.psnr < _EQUAL]
    top = max(finite, default=40.0) + _ABOVE
    up = _Scale(min([*finite, top - 2 * _ABOVE]), top, _SIDES[1] - _EDGES[3], _EDGES[2])
    speeds = [one.frames_per_second for one in report.results]
    across = _Scale(0, max(speeds) * 1.08, _EDGES[0], _SIDES[0] - _EDGES[1])
    plot = _Plot(report, across, up, top)
    height = _SIDES[1] + _ROOM * (len(report.sides) + 1)
    told = f"quality against speed of {len(report.results)} choices"
    return (
        f'<svg class="plot" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SIDES[0]} {height}" '
        f'width="{_SIDES[0]}" height="{height}" role="img" aria-label="{told}">'
        f"{''.join(plot.draw())}</svg>"
    )


def format_picture(report: TuningReport) -> str:
    """The same as an SVG file of its own, which looks right in light and dark."""
    picture = draw_front(report)
    style = (
        f"<style>{escape(read_profile_style(), quote=False)}\n"
        "svg { background: var(--paper); font-family: system-ui, sans-serif; }</style>"
    )
    start = picture.index(">") + 1
    return f"{picture[:start]}{style}{picture[start:]}\n"


class _Scale:
    """A linear axis from value ``low`` at ``start`` to ``high`` at ``end``, with round ticks."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        step = _round_step((high - low) / 5 or 1.0)
        self.low = math.floor(low / step) * step
        self.high = max(high, self.low + step)
        self.step = step
        self._start = start
        self._end = end

    def place(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self._start + min(max(share, 0.0), 1.0) * (self._end - self._start)

    def ticks(self) -> list[float]:
        count = math.floor((self.high - self.low) / self.step + 1e-9)
        return [self.low + index * self.step for index in range(count + 1)]


class _Plot:
    """A report on two axes; frames that equal the reference's stand at ``top``."""

    def __init__(self, report: TuningReport, across: _Scale, up: _Scale, top: float) -> None:
        self.report = report
        self.across = across
        self.up = up
        self.top = top
        self.sides = [side.label for side in report.sides]

    def draw(self) -> list[str]:
        """Everything, from the back to the front."""
        front = [self.report.find(choice) for choice in self.report.front]
        parts = [*self._draw_grid(), self._draw_line(front)]
        parts += [self._draw_rings(), *self._draw_points(), *self._draw_key()]
        return parts

    def _find(self, one: ChoiceFigures) -> tuple[float, float]:
        value = self.top if one.psnr >= _EQUAL else one.psnr
        return self.across.place(one.frames_per_second), self.up.place(value)

    def _draw_grid(self) -> list[str]:
        left, right, above, below = _EDGES
        bottom = _SIDES[1] - below
        edge = _SIDES[0] - right
        parts = []
        for value in self.across.ticks():
            x = self.across.place(value)
            parts.append(_line(x, above, x, bottom))
            parts.append(_text(x, bottom + 15, f"{value:g}", kind="soft", anchor="middle"))
        for value in self.up.ticks():
            y = self.up.place(value)
            parts.append(_line(left, y, edge, y))
            if y > above + 10:  # the top belongs to frames that are equal
                parts.append(_text(left - 5, y + 4, f"{value:g}", kind="soft", anchor="end"))
        parts.append(_text(left - 5, above + 4, "equal", kind="soft", anchor="end"))
        across = "frames a second, measured"
        parts.append(_text(edge, bottom + 30, across, kind="soft", anchor="end"))
        up = f"PSNR in dB of final frames against {self.report.reference.describe()}"
        parts.append(_text(4, 14, up, kind="soft", anchor="start"))
        return parts

    def _draw_line(self, front: Sequence[ChoiceFigures]) -> str:
        points = " L".join(f"{x:.1f} {y:.1f}" for x, y in map(self._find, front))
        return f'<path class="probe" d="M{points}"><title>Pareto front</title></path>'

    def _draw_rings(self) -> str:
        rings = []
        report = self.report
        for choice, name in ((report.present, "peak"), (report.chosen, "probe")):
            x, y = self._find(report.find(choice))
            radius = 9 if name == "peak" else 12
            rings.append(
                f'<path class="{name}" d="M{x - radius:.1f} {y:.1f}a{radius} {radius} 0 1 0 '
                f'{2 * radius} 0a{radius} {radius} 0 1 0 {-2 * radius} 0"/>'
            )
        return "".join(rings)

    def _draw_points(self) -> list[str]:
        parts = []
        taken: list[tuple[float, float]] = []
        for one in self._order():
            x, y = self._find(one)
            parts.append(self._draw_point(one, x, y))
            place = _find_room(x, y, taken)
            if place is not None:
                taken.append(place)
                parts.append(_text(*place, name_choice(one.choice), kind="soft", anchor="start"))
        return parts

    def _order(self) -> list[ChoiceFigures]:
        """Who gets room for a name first: the chosen one, the present one, the front, the rest."""
        report = self.report
        first = dict.fromkeys([report.chosen, report.present, *report.front])
        rest = [one.choice for one in report.results if one.choice not in first]
        return [report.find(choice) for choice in [*first, *rest]]

    def _draw_point(self, one: ChoiceFigures, x: float, y: float) -> str:
        colour = f"var(--k{self.sides.index(one.choice.side) % _COLOURS})"
        fill = colour if one.holds else "var(--paper)"
        verdict = "; ".join(one.misses) or "keeps all limits"
        told = (
            f"{one.choice.describe()}: {one.frames_per_second:.1f} frames/s, {one.psnr:.1f} dB, "
            f"SSIM {one.ssim:.4f}; {verdict}"
        )
        return (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" style="fill:{fill};stroke:{colour};'
            f'stroke-width:2"><title>{escape(told)}</title></circle>'
        )

    def _draw_key(self) -> list[str]:
        parts = []
        y = _SIDES[1] + 6.0
        for index, label in enumerate(self.sides):
            colour = f"var(--k{index % _COLOURS})"
            parts.append(
                f'<circle cx="{_EDGES[0] + 5}" cy="{y - 4:.0f}" r="5" '
                f'style="fill:{colour};stroke:{colour}"/>'
            )
            parts.append(_text(_EDGES[0] + 16, y, label, kind="key", anchor="start"))
            y += _ROOM
        words = (
            "steps/overlap; hollow: breaks a limit; line: Pareto front; small ring: "
            "default before; large ring: chosen"
        )
        parts.append(_text(_EDGES[0], y, words, kind="soft", anchor="start"))
        return parts


def _find_room(
    x: float, y: float, taken: Sequence[tuple[float, float]]
) -> tuple[float, float] | None:
    """Where a point's name can stand without covering another, None for nowhere."""
    for across, up in ((8, -6), (8, 15), (-30, -6), (-30, 15)):
        place = (x + across, y + up)
        if all(abs(place[0] - a) > 28 or abs(place[1] - b) > 11 for a, b in taken):
            return place
    return None


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="grid" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, *, kind: str, anchor: str) -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _round_step(width: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that is not below a width."""
    power = 10.0 ** math.floor(math.log10(width))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= width * (1 - 1e-9))
