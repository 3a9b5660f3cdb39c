"""Comparisons of profiles as Markdown and pages."""

from __future__ import annotations

from html import escape

from echoexport.profiles.pages.page_parts import format_page, format_table
from echoexport.profiles.pages.profile_markdown import format_rows
from echoexport.profiles.pages.profile_style import read_profile_style
from echoexport.profiles.reports.limits import (
    Metric,
    describe_change,
    describe_metric,
)
from echoexport.profiles.reports.profile_compare import (
    MetricRow,
    ProfileComparison,
)


def format_comparison_markdown(comparison: ProfileComparison) -> str:
    """Matrix, differences and culprits as Markdown."""
    parts = [format_rows(("device", *comparison.ways), _matrix_rows(comparison)), ""]
    parts += [
        format_rows(_list_heads(comparison), [_describe_row(row) for row in comparison.rows]),
        "",
    ]
    parts += [f"* {line}" for line in _list_lines(comparison)]
    return "\n".join([*parts, ""])


def format_comparison_page(comparison: ProfileComparison) -> str:
    """The same as one HTML page that needs nothing else."""
    failed = bool(comparison.failures)
    title = "Profiles side by side"
    word = (
        f"{len(comparison.failures)} limits are broken"
        if failed
        else " against ".join(reversed(comparison.labels))
    )
    lines = "".join(f"<li>{escape(line)}</li>" for line in _list_lines(comparison))
    verdict = (
        f'<header class="verdict {"misses" if failed else "plain"}">\n<h1>{title}: '
        f"<strong>{escape(word)}</strong></h1>\n"
        f'<ul class="remedies">{lines}</ul>\n</header>'
    )
    matrix = format_table(("device", *comparison.ways), _matrix_rows(comparison))
    table = format_table(_list_heads(comparison), [_describe_row(row) for row in comparison.rows])
    told = (
        "Changes are against the first, with 95 % intervals from the repeats; * exceeds the noise."
    )
    sections = [
        verdict,
        f"<h2>Frames a second by device and precision</h2>\n{matrix}",
        f'<h2>Figures</h2>\n<p class="soft">{told}</p>\n{table}',
    ]
    return format_page(title, read_profile_style(), sections)


def _list_lines(comparison: ProfileComparison) -> list[str]:
    lines = [f"FAILED {line}" for line in comparison.failures]
    for label, culprits in zip(comparison.labels[1:], comparison.culprits, strict=True):
        lines += [
            f"{label}: {line}" for line in culprits or ("no network differs by more than noise",)
        ]
    return [*lines, *(f"note: {note}" for note in comparison.notes)]


def _list_heads(comparison: ProfileComparison) -> list[str]:
    heads = ["figure", comparison.labels[0]]
    for label in comparison.labels[1:]:
        heads += [label, "change"]
    return heads


def _describe_row(row: MetricRow) -> list[str]:
    cells = [row.name, _describe_value(row, 0)]
    for index, change in enumerate(row.changes, 1):
        mark = " *" if change is not None and change.exceeds_noise else ""
        cells += [
            _describe_value(row, index),
            "" if change is None else f"{describe_change(change)}{mark}",
        ]
    return cells


def _describe_value(row: MetricRow, index: int) -> str:
    value = row.values[index]
    return "not available" if value is None else describe_metric(Metric(row.name, value, row.unit))


def _matrix_rows(comparison: ProfileComparison) -> list[list[str]]:
    return [
        [device, *cells]
        for device, cells in zip(comparison.devices, comparison.matrix, strict=True)
    ]
