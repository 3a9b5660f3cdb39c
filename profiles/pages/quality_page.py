"""The quality report as one page that needs nothing else: verdict first, then pictures.

Tables and conditions follow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from echoexport.profiles.measuring.figures import format_bytes, format_seconds
from echoexport.profiles.pages.page_parts import draw_bar, format_table
from echoexport.profiles.pages.page_parts import format_page as lay_out_page
from echoexport.profiles.pages.page_style import read_style
from echoexport.profiles.quality.report import (
    JSON_NAME,
    PAGE_NAME,
    BundleSide,
    ClipQuality,
    LayerQuality,
    NetworkQuality,
    NetworkSide,
    QualityReport,
    Score,
    Strip,
    describe_verdict,
    format_quality_json,
)
from echoexport.profiles.quality.signals import describe_decibels
from echoexport.runtime.contract.settings import spell_steps
from echoexport.runtime.files.aside import write_whole

__all__ = ["format_quality_page", "write_quality_report"]

_CLOSENESS_HEADS = (
    "network",
    "precision",
    "computes in",
    "SNR",
    "cosine",
    "largest error",
    "of the maximum",
    "worst output",
    "calls",
)
_MOST_LAYERS = 30  # rows of a table of layers; the JSON has them all


def format_quality_page(report: QualityReport) -> str:
    """The whole page as HTML: no script, no request, the same text for the same report."""
    title = f"{report.candidate.label} against {report.reference.label}: quality"
    sections = [
        _verdict(report),
        _tiles(report),
        *_strips(report.strips),
        _clips(report.clips),
        _networks(report),
        _layers(report),
        _conditions(report),
    ]
    return lay_out_page(title, read_style("quality"), sections)


def _verdict(report: QualityReport) -> str:
    kind = "misses" if report.misses else ("holds" if report.budget.asks else "plain")
    start, _, rest = describe_verdict(report).rpartition("): ") if report.misses else ("", "", "")
    if not start:
        start, _, rest = describe_verdict(report).partition(": ")
    start += ")" if report.misses else ""
    one = report.reference
    other = report.candidate
    what = (
        f"Bundle {other.name} ({other.precision}, computing in {other.compute}) against "
        f"{one.name} ({one.precision}, "
        f"computing in {one.compute}): {len(report.clips)} clips, "
        f"{sum(clip.frames for clip in report.clips)} frames, "
        f"{spell_steps(report.settings.steps)}, the same noise. All figures are measured."
    )
    notes = "".join(f'<p class="note">Note: {escape(note)}.</p>\n' for note in report.notes)
    return (
        f'<header class="verdict {kind}">\n'
        f"<h1><strong>{escape(start)}</strong>: {escape(rest)}</h1>\n"
        f'<p class="soft">{escape(what)}</p>\n{_budget(report)}{notes}</header>'
    )


def _budget(report: QualityReport) -> str:
    budget = report.budget
    asked = []
    if budget.psnr is not None:
        asked.append(f"at least {budget.psnr:g} dB")
    if budget.ssim is not None:
        asked.append(f"SSIM of at least {budget.ssim:g}")
    asked += [f"{name} lower by at most {most:g}" for name, most in budget.losses.items()]
    return f'<p class="soft">Budget: {escape(", ".join(asked))}.</p>\n' if asked else ""


def _tiles(report: QualityReport) -> str:
    head = report.headline
    tiles = [
        (
            describe_decibels(head.psnr, most=60),
            f"PSNR of frames, mean; worst {describe_decibels(head.psnr_worst, most=60)}",
        ),
        (f"{head.ssim:.4f}", f"SSIM of frames, mean; worst {head.ssim_worst:.4f}"),
        (
            describe_decibels(head.latents_snr),
            f"SNR of the final latents; worst clip {describe_decibels(head.latents_snr_worst)}",
        ),
        (
            f"{head.size:.2f} x",
            f"the size: {format_bytes(report.candidate.bytes)} of "
            f"{format_bytes(report.reference.bytes)}",
        ),
        (f"{head.weights:.2f} x", "the size of the weights alone"),
        (
            _share(report.candidate.int8_share),
            f"of its weights in int8; {report.candidate.of_fp32:.2f} x fp32's bytes",
        ),
        (f"{head.speed:.2f} x", "as fast, the denoiser's median call"),
        *((f"{score.candidate:.3f}", _describe_score(score)) for score in head.scores),
    ]
    items = "\n".join(
        f"<li><b>{escape(value)}</b><span>{escape(text)}</span></li>" for value, text in tiles
    )
    return f'<ul class="tiles">\n{items}\n</ul>'


def _describe_score(score: Score) -> str:
    return f"{score.name}; reference {score.reference:.3f}, difference {score.difference:+.3f}"


def _strips(strips: Sequence[Strip]) -> Iterable[str]:
    if strips:
        yield "<h2>What it looks like</h2>"
    for strip in sorted(strips, key=lambda one: not one.closely):
        rows = "\n".join(
            f'<div><span class="label">{escape(row.label)}</span>'
            f'<img src="{row.picture}" width="{row.width}" height="{row.height}" '
            f'alt="{escape(strip.title)}: {escape(row.label)}"></div>'
            for row in strip.rows
        )
        frames = "" if strip.closely else f", frames {', '.join(map(str, strip.frames))}"
        kind = "close" if strip.closely else "strip"
        caption = f"<figcaption>{escape(strip.title + frames)}</figcaption>"
        yield f'<figure>\n{caption}\n<div class="{kind}">\n{rows}\n</div>\n</figure>'
    if strips:
        told = (
            "Differences are enlarged about grey, which is none, "
            "and were taken before pictures were packed as JPEG."
        )
        yield f'<p class="note">{told}</p>'


def _clips(clips: Sequence[ClipQuality]) -> str:
    names = list(dict.fromkeys(score.name for clip in clips for score in clip.scores))
    rows = []
    for clip in clips:
        scores = {
            score.name: f"{score.candidate:.3f} ({score.difference:+.3f})" for score in clip.scores
        }
        rows.append(
            [
                clip.name,
                str(clip.frames),
                describe_decibels(clip.latents.snr),
                describe_decibels(clip.psnr, most=60),
                f"{describe_decibels(clip.psnr_worst, most=60)} (frame {clip.worst_frame})",
                f"{clip.ssim:.4f}",
                f"{clip.ssim_worst:.4f}",
                *(scores.get(name, "") for name in names),
            ]
        )
    heads = ["clip", "frames", "latents, SNR", "PSNR", "worst frame", "SSIM", "worst SSIM", *names]
    charts = [_chart(clip) for clip in clips]
    table = format_table([*heads, "PSNR by frame"], rows, extra=charts)
    return f"<h2>Clips</h2>\n{table}"


def _chart(clip: ClipQuality) -> str:
    """PSNR from 20 to 60 dB over the frames, as a line."""
    values = [min(max(value, 20), 60) for value in clip.psnr_frames]
    last = max(len(values) - 1, 1)
    points = " ".join(
        f"{100 * i / last:.1f},{34 - (v - 20) * 0.8:.1f}" for i, v in enumerate(values)
    )
    name = f"PSNR of {clip.name} by frame, 20 to 60 dB"
    return (
        '<svg viewBox="0 0 100 36" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(name)}">'
        f'<polyline points="{points}"/></svg>'
    )


def _networks(report: QualityReport) -> str:
    rows = [_closeness_row(network) for network in report.networks]
    closeness = format_table(_CLOSENESS_HEADS, rows)
    calls = report.settings.repeats
    warmup = report.settings.warmup
    return (
        '<h2>Networks, on the same inputs</h2>\n<p class="soft">Inputs are those that the '
        "reference met along its sampling; the candidate was given the very same.</p>\n"
        f"{closeness}\n<h2>Size of the weights</h2>\n{_sizes(report)}\n"
        f'<h2>Speed</h2>\n<p class="soft">Wall clock, both in turns, {calls} calls after '
        f"{warmup} that do not count; measured on one input.</p>\n{_speeds(report)}"
    )


def _sizes(report: QualityReport) -> str:
    one = report.reference.label
    other = report.candidate.label
    heads = ["network", one, other, "ratio"]
    heads += [f"{other}, in int8", f"{other} over fp32", f"{other}, to scale"]
    rows = [_size_row(n.name, n.reference, n.candidate, n.size) for n in report.networks]
    rows.append(
        _size_row("all networks", report.reference, report.candidate, report.headline.weights)
    )
    largest = max((n.reference.weights for n in report.networks), default=1)
    bars = [draw_bar(n.candidate.weights / max(largest, 1)) for n in report.networks]
    return format_table(heads, rows, extra=[*bars, ""])


def _speeds(report: QualityReport) -> str:
    one = report.reference.label
    other = report.candidate.label
    heads = ["network", f"{one}, median", "90 of 100", f"{other}, median", "90 of 100", "as fast"]
    rows = [
        [n.name, *_times(n.reference), *_times(n.candidate), f"{n.speed:.2f} x"]
        for n in report.networks
    ]
    return format_table(heads, rows)


def _size_row(
    name: str, one: NetworkSide | BundleSide, other: NetworkSide | BundleSide, ratio: float
) -> list[str]:
    return [
        name,
        format_bytes(one.weights),
        format_bytes(other.weights),
        f"{ratio:.3f} x",
        _share(other.int8_share),
        f"{other.of_fp32:.3f} x",
    ]


def _share(share: float | None) -> str:
    return "not known" if share is None else f"{100 * share:.1f} %"


def _closeness_row(network: NetworkQuality) -> list[str]:
    one = network.reference
    other = network.candidate
    found = network.closeness
    decibels = describe_decibels(network.worst_output_snr)
    worst = "" if decibels == "equal" else f"{network.worst_output}: {decibels}"
    return [
        network.name,
        _both(one.precision, other.precision),
        _both(one.compute, other.compute),
        describe_decibels(found.snr),
        f"{found.cosine:.6f}",
        f"{found.largest:.3g}",
        f"{100 * found.relative:.2g} %",
        worst,
        f"{network.calls} of {network.seen}",
    ]


def _layers(report: QualityReport) -> str:
    layers = report.layers
    if not layers:
        return ""
    counts = Counter(layer.mode for layer in layers)
    told = ", ".join(f"{count} {mode}" for mode, count in sorted(counts.items()))
    tables = _kept_layers(layers) + _costly_layers(layers)
    return f'<h2>Layers</h2>\n<p class="soft">{escape(told)}.</p>\n{tables}'


def _kept_layers(layers: Sequence[LayerQuality]) -> str:
    """Those that are not int8, by the reason why."""
    kept: dict[tuple[str, str, str], list[str]] = {}
    for one in layers:
        if one.mode != "int8":
            kept.setdefault((one.network, one.mode, one.reason or "not said"), []).append(one.layer)
    if not kept:
        return ""
    rows = [
        [network, mode, reason, str(len(names)), ", ".join(names)]
        for (network, mode, reason), names in kept.items()
    ]
    table = format_table(["network", "kept in", "reason", "layers", "which"], rows, words=(2, 4))
    return f"<h3>Kept from int8, and why</h3>\n{table}\n"


def _costly_layers(layers: Sequence[LayerQuality]) -> str:
    costly = sorted(
        (one for one in layers if one.damage is not None), key=lambda one: -(one.damage or 0)
    )
    if not costly:
        return ""
    rows = [
        [one.network, one.layer, one.mode, f"{one.damage:.2f} dB"] for one in costly[:_MOST_LAYERS]
    ]
    more = len(costly) - len(rows)
    left = f'\n<p class="note">{more} more are in the JSON.</p>' if more else ""
    table = format_table(["network", "layer", "mode", "damage alone"], rows, words=(1,))
    return f"<h3>Layers that cost most</h3>\n{table}{left}"


def _conditions(report: QualityReport) -> str:
    found = report.conditions
    run = report.settings
    sides = (report.reference, report.candidate)
    facts = {
        "machine": found.machine.describe(),
        "Python": found.python,
        "libraries": ", ".join(f"{name} {version}" for name, version in found.libraries.items()),
        "date": found.date,
        "sampling": f"{spell_steps(run.steps)}, {run.fps:g} fps, guidance {run.guidance:g}, "
        f"overlap {run.overlap}, seed {run.seed}",
        **{f"bundle {side.label}": _describe_side(side) for side in sides},
        "origin": report.origin,
    }
    items = "\n".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items()
    )
    return f"<h2>Conditions</h2>\n<dl>\n{items}\n</dl>"


def _describe_side(side: BundleSide) -> str:
    threads = f"{side.threads} threads" if side.threads else "threads left to the backend"
    return (
        f"{side.name}: {side.variant} for {side.target}, {side.backend}, {threads}, "
        f"identity {side.identity[:16]}"
    )


def _times(side: NetworkSide) -> list[str]:
    return [format_seconds(side.median), format_seconds(side.p90)]


def _both(one: str, other: str) -> str:
    return one if one == other else f"{one} → {other}"


def write_quality_report(report: QualityReport, folder: Path) -> tuple[Path, Path]:
    """Write ``quality.json`` and ``quality.html`` into a folder that is there.

    Each is written whole or not at all.

    Raises:
        OutputError: one cannot be written.
    """
    data = folder / JSON_NAME
    page = folder / PAGE_NAME
    write_whole(data, format_quality_json(report))
    write_whole(page, format_quality_page(report))
    return data, page
