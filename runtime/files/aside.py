"""Files and folders written whole or not at all: aside, and renamed when they are done."""

from __future__ import annotations

import os
import secrets
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from echoexport.runtime.errors import OutputError

__all__ = [
    "check_output",
    "list_files",
    "name_staging",
    "refuse_briefly",
    "refuse_output",
    "replaced_file",
    "replaced_folder",
    "require_writable",
    "take_place",
    "write_whole",
]


@contextmanager
def replaced_file(
    path: Path,
    *,
    aside: Path | None = None,
    parents: bool = False,
    refuse: Callable[[Path, OSError], OutputError] | None = None,
) -> Iterator[Path]:
    """A hidden path to write to, renamed to ``path`` after a clean block, else removed.

    Whatever ends the block early, Ctrl-C included, leaves what was there before.

    Args:
        path: what is replaced, or made anew.
        aside: what to write to, on the same disk; by default a new name beside ``path``.
        parents: whether the folders above ``path`` are made.
        refuse: words an ``OSError``, the block's own included; None lets it pass.

    Raises:
        OutputError: what ``refuse`` makes of an ``OSError``.
        OSError: with no ``refuse``, the file cannot be written.
    """
    aside = name_staging(path) if aside is None else aside
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        aside.replace(path)
    except OSError as error:
        if refuse is None:
            raise
        raise refuse(path, error) from error
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


@contextmanager
def replaced_folder(path: Path, *, keep: Path | None = None) -> Iterator[Path]:
    """A new hidden folder, which takes ``path``'s place after a clean block, else is removed.

    It lies beside ``path``. The folders above are made. Whatever ends the block early,
    Ctrl-C included, leaves what was there before. ``keep`` is as for
    :func:`take_place`.

    Raises:
        OSError: the folder cannot be made or renamed.
    """
    # Not by process number: in containers these repeat, and what a killed process left
    # would be in the way.
    aside = path.parent / f".{path.name}.part-{uuid.uuid4().hex[:12]}"
    try:
        aside.mkdir(parents=True)
        yield aside
        take_place(aside, path, keep=keep)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def take_place(finished: Path, path: Path, *, keep: Path | None = None) -> None:
    """Put a finished folder where it belongs; what is there gives way.

    Between the two renames an interrupt puts the old one back. ``keep`` is where the
    old one goes, in place of what is there; it may be ``finished``, and the two change
    places. None removes the old one.

    Raises:
        OSError: a folder cannot be renamed.
    """
    if not path.exists():
        finished.rename(path)
        return
    old = path.parent / f".{path.name}.old-{uuid.uuid4().hex[:12]}"
    try:
        path.rename(old)
        finished.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    if keep is not None:
        shutil.rmtree(keep, ignore_errors=True)
        old.rename(keep)
    shutil.rmtree(old, ignore_errors=True)


def check_output(
    output: Path, own_files: Callable[[Path], Collection[str] | None], *, what: str
) -> None:
    """Refuse to replace anything that is not ours, or is but had other files put into it.

    Args:
        output: a folder that may be there.
        own_files: names of the files that belong to what is in a folder; None where
            nothing of the kind is.
        what: a bundle or a set, in one word.

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
    own = own_files(output)
    if own is None:
        raise OutputError(
            f"{output}: a folder with other things in it; name a new folder or an old {what}"
        )
    for name in files:
        if name not in own:
            raise OutputError(
                f"{output / name}: not a part of the old {what}, which would be replaced; move "
                "it away"
            )


def list_files(folder: Path) -> list[str]:
    """Every file below a folder, sorted; a link counts as one, whatever it leads to."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def require_writable(path: Path) -> None:
    """Refuse what cannot become a file by a rename; nothing is touched.

    Raises:
        OutputError: a folder, device or pipe is there, or the folder is missing or must
            not be written to.
    """
    place = Path(os.path.realpath(path.parent)) / path.name
    # /dev/stdout may lead to a plain file
    special = place.parent == Path("/dev") or Path("/proc") in place.parents
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
    with replaced_file(path, refuse=refuse_output) as aside:
        aside.write_text(text, encoding="utf-8")


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


def refuse_briefly(place: Path, error: OSError) -> OutputError:
    """The ``OutputError`` for a place that nobody chose: where writing failed, and why."""
    return OutputError(f"{place}: cannot be written: {error.strerror or error}")


def name_staging(target: Path) -> Path:
    """A new hidden name beside ``target``, to write to before the rename."""
    name = target.absolute().name
    return target.absolute().parent / f".{name[:64]}.{os.getpid()}-{secrets.token_hex(4)}.part"
