"""Reports of crowds as Markdown: one by itself, several side by side."""

from __future__ import annotations

from collections.abc import Sequence

from echoexport.profiles.pages.profile_markdown import format_rows
from echoexport.profiles.reports.limits import Metric, describe_metric
from echoexport.profiles.reports.load_report import LoadReport, list_load_metrics

_ABOUT_ZERO = frozenset({"av_offset", "av_offset_worst", "av_drift"})
"""Figures of which a share says nothing."""


def format_load(report: LoadReport) -> str:
    """One report, for the terminal."""
    return "\n".join([_describe(report), *_list_notes(report), ""])


def format_load_comparison(reports: Sequence[LoadReport], labels: Sequence[str]) -> str:
    """Figures side by side, each change against the first."""
    metrics = [list_load_metrics(report) for report in reports]
    names = list(dict.fromkeys(name for known in metrics for name in known))
    heads = ["figure", labels[0]]
    for label in labels[1:]:
        heads += [label, "change"]
    rows = []
    for name in names:
        first = metrics[0].get(name)
        row = [name, _show(first)]
        for known in metrics[1:]:
            row += [_show(known.get(name)), _describe_change(first, known.get(name))]
        rows.append(row)
    lines = [format_rows(heads, rows), ""]
    for label, report in zip(labels, reports, strict=True):
        lines += [f"* {label}: {note}" for note in _list_notes(report)]
    return "\n".join([*lines, ""])


def _describe(report: LoadReport) -> str:
    rows = [(name, _show(metric)) for name, metric in list_load_metrics(report).items()]
    each = ", ".join(f"{fps:.2f}" for fps in report.fps)
    return format_rows(("figure", "measured"), [*rows, ("fps of each", each)])


def _list_notes(report: LoadReport) -> list[str]:
    """What no figure says."""
    notes = []
    if report.refused_at is not None:
        notes.append(f"session {report.refused_at} was refused: {report.refused_because}")
    else:
        notes.append(f"{report.streams} sessions were let in, and none was refused")
    return notes + [f"a stream ended early: {error}" for error in report.errors]


def _show(metric: Metric | None) -> str:
    if metric is None:
        return ""
    if metric.name in _ABOUT_ZERO:
        return f"{metric.value * 1e3:.1f} ms"
    return f"{metric.value:.5g}" if not metric.unit else describe_metric(metric)


def _describe_change(first: Metric | None, other: Metric | None) -> str:
    """A share where that says something, else a difference."""
    if first is None or other is None:
        return ""
    if first.name in _ABOUT_ZERO:
        return f"{1e3 * (other.value - first.value):+.1f} ms"
    if first.value > 0:
        return f"{100 * (other.value / first.value - 1):+.1f} %"
    return f"{other.value - first.value:+g}"
