"""Temporary folders: private, cleared when their process died, their faults told as theirs."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from echoexport.runtime.errors import OutputError
from echoexport.runtime.files.staging import staged_folder

__all__ = ["temporary_folder"]


@contextmanager
def temporary_folder(purpose: str, *, instead: Sequence[Path] = ()) -> Iterator[Path]:
    """A new folder where the system keeps such (``$TMPDIR``, else ``/tmp``), for a while.

    ``purpose`` is a word of its name. ``instead`` are folders that do as well where there
    is no such place, for a few bytes that a library wants to read from a file.

    Raises:
        OutputError: there is no such place, or it cannot be written; or the block failed
            to write into the folder.
    """
    root = _find_root(instead)
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(staged_folder(root / f"echoexport-{purpose}", mode=0o700))
        except OSError as error:
            raise _refuse(root, error) from error
        try:
            yield folder
        except OSError as error:
            if not _is_of(error, folder):
                raise
            raise _refuse(root, error) from error


def _find_root(instead: Sequence[Path]) -> Path:
    try:
        return Path(tempfile.gettempdir())
    except OSError as error:  # it tries each by writing a few bytes
        for folder in instead:
            if os.access(folder, os.W_OK | os.X_OK):
                return folder
        raise OutputError(
            "temporary folder: neither $TMPDIR nor /tmp nor the working folder can be written; "
            "make room, or set TMPDIR to another folder"
        ) from error


def _is_of(error: OSError, folder: Path) -> bool:
    """Whether it is about a file of the folder; one that is full no longer says which."""
    if error.filename:
        return folder in Path(os.fsdecode(error.filename)).parents
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _refuse(root: Path, error: OSError) -> OutputError:
    return OutputError(
        f"temporary folder {root}: cannot be used: {error.strerror or error}; make room, or set "
        "TMPDIR to another folder"
    )
