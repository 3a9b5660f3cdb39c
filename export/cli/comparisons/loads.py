"""``echoexport compare`` on reports of ``echoexport load``: side by side, against limits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from echoexport.runtime.errors import LimitError, SettingError

__all__ = ["are_loads", "compare_load_files"]


def are_loads(paths: Sequence[Path]) -> bool:
    """Whether any of these files is such a report; then all of them must be."""
    from echoexport.profiles.reports.load_report import is_load

    return any(is_load(path) for path in paths)


def compare_load_files(
    paths: Sequence[Path],
    *,
    fail_if: Sequence[str],
    json_file: Path | None,
    page_file: Path | None,
    markdown_file: Path | None,
) -> None:
    """Compare reports and print what differs.

    Raises:
        InputError: a file that is no such report.
        SettingError: a limit that cannot be read, or on a figure that is not there; a page.
        LimitError: a limit is broken; the first is named.
    """
    import json

    from echoexport.profiles.pages.load_markdown import format_load_comparison
    from echoexport.profiles.reports.limits import check_limit, parse_limit
    from echoexport.profiles.reports.load_report import list_load_metrics, read_load
    from echoexport.runtime.contract.schema import dump
    from echoexport.runtime.files.aside import write_whole

    if page_file is not None:
        raise SettingError("--page is for profiles and bundles; loads have --markdown and --json")
    limits = [parse_limit(text) for text in fail_if]
    reports = [read_load(path) for path in paths]
    labels = _label(paths)
    metrics = [list_load_metrics(report) for report in reports]
    failures = [
        told
        for number, label in enumerate(labels)
        for limit in limits
        if (
            told := check_limit(
                limit,
                metrics[number],
                baseline=metrics[0] if number else None,
                label=label,
            )
        )
    ]
    text = format_load_comparison(reports, labels)
    if json_file is not None:
        written = {"labels": labels, "reports": dump(reports), "failures": failures}
        write_whole(json_file, json.dumps(written, indent=1) + "\n")
    if markdown_file is not None:
        write_whole(markdown_file, text)
    click.echo(text)
    if failures:
        more = len(failures) - 1
        raise LimitError(failures[0] + (f" (and {more} more)" if more else ""))


def _label(paths: Sequence[Path]) -> list[str]:
    """Each by its file's name, numbered where two have one."""
    names = [path.stem for path in paths]
    if len(set(names)) == len(names):
        return names
    return [f"{name} ({number})" for number, name in enumerate(names, start=1)]
