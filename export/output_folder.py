"""Where a bundle is written.

Aside, in a hidden folder of its own, which takes the output's place when it is whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from echoexport.runtime.contract.manifest import BUNDLE_FORMAT, MANIFEST_NAME
from echoexport.runtime.contract.signing.signatures import SIGNATURES_NAME
from echoexport.runtime.errors import OutputError
from echoexport.runtime.files.aside import check_output, replaced_folder
from echoexport.runtime.files.json_file import read_json


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
        # Path.resolve raises its own kind of error on a loop of links
        output = Path(os.path.realpath(output))
        check_bundle_place(output)
        with replaced_folder(output, keep=keep) as aside:
            yield aside
            check_bundle_place(output)  # once more: since the beginning hours may have passed
    except OSError as error:
        raise OutputError(
            f"{output}: cannot write the bundle: {error.strerror or error}"
        ) from error


def check_bundle_place(output: Path) -> None:
    """Refuse to replace anything that is not a bundle, or a bundle that other files were put into.

    Raises:
        OutputError: what is there must stay.
    """
    check_output(output, _own_files, what="bundle")


def _own_files(folder: Path) -> set[str] | None:
    """Files of the bundle in a folder, whatever release wrote it.

    None where it holds none.
    """
    try:
        data: Any = read_json(folder / MANIFEST_NAME)
    except (OSError, ValueError):
        return None
    if (
        not isinstance(data, dict)
        or data.get("format") != BUNDLE_FORMAT
        or not isinstance(data.get("files"), dict)
    ):
        return None
    return {MANIFEST_NAME, SIGNATURES_NAME, *data["files"]}
