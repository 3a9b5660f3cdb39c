"""``echoexport compare`` on profiles: side by side, against limits, as a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from echoexport.export.cli.comparisons.outcome import require_held
from echoexport.runtime.errors import SettingError

__all__ = ["are_profiles", "compare_profile_files"]


def are_profiles(paths: Sequence[Path]) -> bool:
    """Whether the paths are files, which bundles never are.

    Raises:
        SettingError: some are and some are not, or there is none.
    """
    if not paths:
        raise SettingError(
            "nothing to compare: name two bundles, or one report.json of echoexport profile or more"
        )
    files = [
        path for path in paths if path.is_file() or (path.suffix == ".json" and not path.is_dir())
    ]
    if files and len(files) != len(paths):
        other = next(path for path in paths if path not in files)
        raise SettingError(
            f"{other} is no profile and {files[0]} no bundle: compare bundles, or profiles, "
            "not both"
        )
    return bool(files)


def compare_profile_files(
    paths: Sequence[Path],
    *,
    fail_if: Sequence[str],
    json_file: Path | None,
    page_file: Path | None,
    markdown_file: Path | None,
) -> None:
    """Compare profiles and print what differs.

    Raises:
        InputError: a file that is no profile.
        SettingError: a limit that cannot be read, or on a figure that is not there.
        LimitError: a limit is broken; the first is named.
    """
    from echoexport.profiles.measuring.latency import format_json
    from echoexport.profiles.pages.comparison_page import (
        format_comparison_markdown,
        format_comparison_page,
    )
    from echoexport.profiles.reports.limits import parse_limit
    from echoexport.profiles.reports.profile import read_profile
    from echoexport.profiles.reports.profile_compare import compare_profiles
    from echoexport.runtime.contract.schema import dump
    from echoexport.runtime.files.aside import write_whole

    limits = [parse_limit(text) for text in fail_if]
    reports = [read_profile(path) for path in paths]
    comparison = compare_profiles(reports, [_name(path) for path in paths], limits=limits)
    text = format_comparison_markdown(comparison)
    if json_file is not None:
        write_whole(json_file, format_json(dump(comparison)))
    if page_file is not None:
        write_whole(page_file, format_comparison_page(comparison))
    if markdown_file is not None:
        write_whole(markdown_file, text)
    click.echo(text)
    require_held(comparison.failures)


def _name(path: Path) -> str:
    """The folder's name for a report.json, else the file's."""
    return path.resolve().parent.name if path.name == "report.json" else path.stem
