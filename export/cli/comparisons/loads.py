"""``echoexport compare`` on reports of ``echoexport load``: side by side, against limits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from echoexport.export.cli.comparisons.outcome import require_held
from echoexport.runtime.errors import SettingError

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
        SettingError: a limit that cannot be read, or on a figure that is not there, or on a
            change of one report alone; a page.
        LimitError: a limit is broken; the first is named.
    """
    import json

    from echoexport.profiles.pages.load_markdown import format_load_comparison
    from echoexport.profiles.reports.limits import check_limits, parse_limit, tell_apart
    from echoexport.profiles.reports.load_report import list_load_metrics, read_load
    from echoexport.runtime.contract.schema import dump
    from echoexport.runtime.files.aside import write_whole

    if page_file is not None:
        raise SettingError("--page is for profiles and bundles; loads have --markdown and --json")
    limits = [parse_limit(text) for text in fail_if]
    reports = [read_load(path) for path in paths]
    labels = tell_apart([path.stem for path in paths])
    metrics = [list_load_metrics(report) for report in reports]
    failures = check_limits(limits, metrics, labels=labels, noun="report")
    text = format_load_comparison(reports, labels)
    if json_file is not None:
        written = {"labels": labels, "reports": dump(reports), "failures": failures}
        write_whole(json_file, json.dumps(written, indent=1) + "\n")
    if markdown_file is not None:
        write_whole(markdown_file, text)
    click.echo(text)
    require_held(failures)
