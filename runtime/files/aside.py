"""Reports and traces as files: looked at before the long work, and written whole or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from echoexport.runtime.errors import OutputError

__all__ = ["require_writable", "write_whole"]


def require_writable(path: Path) -> None:
    """Refuse what cannot become a file by a rename; nothing is touched.

    Raises:
        OutputError: a folder, device or pipe is there, or the folder is missing or must
            not be written to.
    """
    place = Path(os.path.realpath(path.parent)) / path.name
    special = (
        place.parent == Path("/dev") or Path("/proc") in place.parents
    )  # /dev/stdout may lead to a plain file
    if special or (os.path.lexists(place) and not place.is_file()):
        # as root, the rename would put a plain file in the place of /dev/null
        raise OutputError(f"{path}: is no plain file, and cannot be replaced by one; name a file")
    if not place.parent.is_dir():
        raise refuse_output(path, FileNotFoundError())
    if not os.access(place.parent, os.W_OK):
        raise OutputError(f"{path}: its folder cannot be written to; choose another place")


def write_whole(path: Path, text: str) -> None:
    """Write UTF-8 aside and rename it.

    Raises:
        OutputError: it cannot be written, or is nothing that may be replaced; see
            :func:`require_writable`.
    """
    require_writable(path)
    aside = name_staging(path)
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except OSError as error:
        raise refuse_output(path, error) from error
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def refuse_output(place: str | Path, error: Exception) -> OutputError:
    """The ``OutputError`` that says where writing failed, why, and what would help."""
    if isinstance(error, BrokenPipeError):
        return OutputError(f"{place}: the program reading it has ended")
    if isinstance(error, FileNotFoundError):
        return OutputError(
            f"{place}: its folder does not exist; make it first: mkdir -p {Path(place).parent}"
        )
    reason = getattr(error, "strerror", None) or str(error)
    return OutputError(f"{place}: cannot be written ({reason}); choose another place or make room")


def name_staging(target: Path) -> Path:
    """A new hidden name beside ``target``, to write to before the rename."""
    name = target.absolute().name
    return target.absolute().parent / f".{name[:64]}.{os.getpid()}-{secrets.token_hex(4)}.part"
