"""Sections of a profile's page on models: the roofline and the forecast."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from echoexport.profiles.measuring.figures import format_bytes, format_seconds
from echoexport.profiles.modelling.forecast import BoardForecast, Forecast, OptionForecast
from echoexport.profiles.modelling.roofline import NetworkRoofline, Roof, Roofline
from echoexport.profiles.pages.page_parts import format_table
from echoexport.profiles.pages.profile_charts import draw_plot

__all__ = ["show_forecast", "show_roofline"]


def show_roofline(roofline: Roofline) -> str:
    """The plot, both roofs and a row for each network, or why there is none."""
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


def show_forecast(forecast: Forecast) -> str:
    """Options on the bundle's own board, and every other board; or why there is none."""
    if forecast.note:
        return f'<h2>Other boards, modelled</h2>\n<p class="soft">{escape(forecast.note)}.</p>'
    low, high = (f"{100 * share:.0f}" for share in forecast.band)
    here = forecast.efficiency_here
    told = f"Modelled, not measured: {forecast.formula}. Engines reach {low} to {high} % of a peak"
    told += "." if here is None else f"; this bundle reached {100 * here:.0f} % here."
    heads = ["", f"at {low} %", f"at {high} %", "as here", "real time"]
    options = _format_paces(
        [*heads, "quality"],
        [[*_pace_row(option.name, option), _describe_cost(option)] for option in forecast.options],
    )
    boards = _format_paces(
        [*heads, "note"],
        [[*_pace_row(one.title, one), one.reason or one.caveat] for one in forecast.boards],
    )
    return (
        f'<h2>What to change, modelled</h2>\n<p class="soft">{escape(told)}</p>\n'
        f"<h3>On {escape(forecast.options_target)}</h3>\n{options}\n"
        f"<h3>Could another board do it</h3>\n{boards}"
    )


def _format_paces(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return format_table(heads, rows, words=(len(heads) - 1,))


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
