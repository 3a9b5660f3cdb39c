"""A tuning as a page, and its table as text."""

from __future__ import annotations

from html import escape

from echoexport.profiles.measuring.figures import format_seconds
from echoexport.profiles.pages.page_parts import format_page, format_table
from echoexport.profiles.pages.profile_style import read_profile_style
from echoexport.profiles.pages.tuning_chart import draw_front
from echoexport.profiles.tuning.limits import ChoiceFigures
from echoexport.profiles.tuning.report import TuningReport, describe_tuning

__all__ = ["format_tuning_page", "format_tuning_table"]

_HEADS = (
    "bundle",
    "steps",
    "overlap",
    "decoder",
    "frames/s",
    "first frame",
    "PSNR, dB",
    "SSIM",
    "flicker",
    "lip-sync loss",
    "verdict",
)


def format_tuning_table(report: TuningReport) -> str:
    """A line for each choice, the quickest first, in columns."""
    rows = [_HEADS, *(_describe_row(report, one) for one in _order(report))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADS))]
    lines = []
    for row in rows:
        cells = [
            text.ljust(width) if column in (0, 3, len(_HEADS) - 1) else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def format_tuning_page(report: TuningReport) -> str:
    """One HTML page that needs nothing else: verdict, picture, table, conditions."""
    title = f"Steps and precision of {report.sides[0].name}"
    lines = [*describe_tuning(report), *(f"note: {note}" for note in report.notes)]
    listed = "".join(f"<li>{escape(line)}</li>" for line in lines)
    clips = report.results[0].trials
    frames = sum(trial.frames for trial in clips)
    machine = report.conditions.machine.describe()
    about = (
        f"Measured on {machine}, {report.conditions.date}; {len(clips)} clips of {frames} frames "
        f"in all at {report.fps:g} fps, seed {report.seed}. Against: "
        f"{report.reference.describe()}. First frame: networks open, the portrait known."
    )
    table = format_table(
        _HEADS,
        [_describe_row(report, one) for one in _order(report)],
        words=(0, 3, len(_HEADS) - 1),
    )
    sections = [
        f'<header class="verdict plain">\n<h1>{escape(title)}</h1>\n'
        f'<ul class="remedies">{listed}</ul>\n</header>',
        f"<h2>Quality against speed</h2>\n{draw_front(report)}",
        f'<h2>Every choice</h2>\n<p class="soft">{escape(about)}</p>\n{table}',
    ]
    return format_page(title, read_profile_style(), sections)


def _order(report: TuningReport) -> list[ChoiceFigures]:
    return sorted(report.results, key=lambda one: -one.frames_per_second)


def _describe_row(report: TuningReport, one: ChoiceFigures) -> tuple[str, ...]:
    loss = (
        "-"
        if one.lipsync_loss is None
        else f"{one.lipsync_loss:.3f}, worst {one.lipsync_worst or 0:.3f}"
    )
    return (
        one.choice.side,
        str(one.choice.steps),
        str(one.choice.overlap),
        one.choice.decoder,
        f"{one.frames_per_second:.1f}",
        format_seconds(one.first_frame),
        f"{one.psnr:.1f}, worst {one.psnr_worst:.1f}",
        f"{one.ssim:.4f}",
        f"{one.flicker:.3f}",
        loss,
        _describe_verdict(report, one),
    )


def _describe_verdict(report: TuningReport, one: ChoiceFigures) -> str:
    kept = report.chosen == report.present
    roles = {
        "chosen": None if kept else report.chosen,
        "default, kept" if kept else "default": report.present,
        "reference": report.reference,
    }
    words = [name for name, choice in roles.items() if choice == one.choice]
    return "; ".join([*words, *one.misses]) or "holds"
