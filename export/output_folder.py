"""Where a bundle is written.

Aside, in a hidden folder of its own, which takes the output's place when it is whole.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from echoexport.runtime.bundle.files import list_files
from echoexport.runtime.contract.manifest import FILE_NAME, FORMAT
from echoexport.runtime.errors import OutputError


@contextmanager
def written_aside(output: Path, *, keep: Path | None = None) -> Iterator[Path]:
    """A hidden folder beside ``output`` that takes its place at the end, or is removed.

    Whatever ends the block early, Ctrl-C included, leaves what was there before. A link
    is followed: what it leads to is replaced. ``keep`` is where the replaced folder
    goes, in place of what is there; None removes it.

    Raises:
        OutputError: the output is neither new, nor empty, nor a bundle without other
            files in it, at the beginning or at the end; or cannot be written.
    """
    try:
        output = Path(
            os.path.realpath(output)
        )  # Path.resolve raises its own kind of error on a loop of links
        check_output(output)
        # Not by process number: in containers these repeat, and what a killed build
        # left would be in the way.
        aside = output.parent / f".{output.name}.part-{uuid.uuid4().hex[:12]}"
        try:
            aside.mkdir(parents=True)
            yield aside
            check_output(output)  # once more: since the beginning hours may have passed
            _take_place(aside, output, keep)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"{output}: cannot write the bundle: {error.strerror or error}"
        ) from error


def check_output(output: Path) -> None:
    """Refuse to replace anything that is not a bundle, or a bundle that other files were put into.

    Raises:
        OutputError: what is there must stay.
    """
    if not output.exists():
        return
    if not output.is_dir():
        raise OutputError(f"{output}: is a file; name a folder")
    files = list_files(output)
    if not files:
        return
    own = _own_files(output / FILE_NAME)
    if own is None:
        raise OutputError(
            f"{output}: a folder with other things in it; name a new folder or an old bundle"
        )
    for name in files:
        if name not in own:
            raise OutputError(
                f"{output / name}: not a part of the old bundle, which would be replaced; move "
                "it away"
            )


def _own_files(manifest: Path) -> set[str] | None:
    """Files of the bundle whose manifest this is, whatever release wrote it.

    None if it is no bundle's.
    """
    try:
        data: Any = json.loads(manifest.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if (
        not isinstance(data, dict)
        or data.get("format") != FORMAT
        or not isinstance(data.get("files"), dict)
    ):
        return None
    return {FILE_NAME, *data["files"]}


def _take_place(aside: Path, output: Path, keep: Path | None) -> None:
    """Put a finished folder where it belongs.

    Between the two renames an interrupt puts the old one back.
    """
    if not output.exists():
        aside.rename(output)
        return
    old = aside.with_name(aside.name.replace(".part-", ".old-"))
    try:
        output.rename(old)
        aside.rename(output)
    except BaseException:
        if old.exists() and not output.exists():
            old.rename(output)
        raise
    if keep is not None:
        shutil.rmtree(keep, ignore_errors=True)
        old.rename(keep)
    shutil.rmtree(old, ignore_errors=True)
