"""Files and folders written whole or not at all: aside, and renamed when they are done."""

from __future__ import annotations

import ctypes
import errno
import glob
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from echoexport.runtime.errors import OutputError
from echoexport.runtime.files.staging import (
    hide_name,
    is_at,
    lock_path,
    staged_file,
    staged_folder,
)

__all__ = [
    "check_output",
    "exchange_names",
    "list_files",
    "mend_place",
    "refuse_briefly",
    "refuse_output",
    "replaced_file",
    "replaced_folder",
    "require_writable",
    "take_place",
    "write_whole",
]

_HERE = -100  # AT_FDCWD of Linux's fcntl.h: names as they stand
_EXCHANGE = 2  # RENAME_EXCHANGE of its fs.h

_OLD = ".old-echoexport-"


@contextmanager
def replaced_file(
    path: Path,
    *,
    aside: Path | None = None,
    beside: Path | None = None,
    parents: bool = False,
    refuse: Callable[[Path, OSError], OutputError] | None = None,
) -> Iterator[Path]:
    """A hidden path to write to, renamed to ``path`` after a clean block, else removed.

    Whatever ends the block early, Ctrl-C included, leaves what was there before.

    Args:
        path: what is replaced, or made anew.
        aside: what to write to, on the same disk; by default an empty file beside
            ``path``, which is cleared at the next start where this process is killed.
        beside: lies elsewhere on the disk; the empty file is then made next to it.
        parents: whether the folders above ``path`` are made.
        refuse: words an ``OSError``, the block's own included; None lets it pass.

    Raises:
        OutputError: what ``refuse`` makes of an ``OSError``.
        OSError: with no ``refuse``, the file cannot be written.
    """
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        with staged_file(beside or path) if aside is None else _removed(aside) as staged:
            yield staged
            staged.replace(path)
    except OSError as error:
        if refuse is None:
            raise
        raise refuse(path, error) from error


@contextmanager
def replaced_folder(path: Path, *, keep: Path | None = None) -> Iterator[Path]:
    """A new hidden folder, which takes ``path``'s place after a clean block, else is removed.

    It lies beside ``path``. The folders above are made. Whatever ends the block early,
    Ctrl-C included, leaves what was there before. ``keep`` is as for
    :func:`take_place`.

    Raises:
        OSError: the folder cannot be made or renamed.
    """
    with suppress(FileExistsError):  # a file; making the folder below then says so
        path.parent.mkdir(parents=True, exist_ok=True)
    mend_place(path, keep=keep)
    with staged_folder(path) as aside:
        yield aside
        take_place(aside, path, keep=keep)


def take_place(finished: Path, path: Path, *, keep: Path | None = None) -> None:
    """Put a finished folder where it belongs; what is there gives way.

    Both change places in one step where the system has one, so that a kill leaves the
    old one or the new one there. ``keep`` is where the old one goes, in place of what
    is there; it may be ``finished``, and the two change places. None removes the old
    one.

    Raises:
        OSError: a folder cannot be renamed.
    """
    if not path.exists():
        finished.rename(path)
        return
    with _held(path):
        if not exchange_names(finished, path):
            _exchange_in_turns(finished, path)
        if keep == finished:
            return
        if keep is not None and not (keep.exists() and exchange_names(finished, keep)):
            _put_at(finished, keep)
        shutil.rmtree(finished, ignore_errors=True)


def exchange_names(one: Path, other: Path) -> bool:
    """Let two files or folders of one disk change places in one step.

    Linux has that since 3.15, on most file systems. False, and nothing changed, where
    this system has not.

    Raises:
        OSError: one is not there, or must not be renamed.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def mend_place(path: Path, *, keep: Path | None = None) -> None:
    """Put back what a process that was killed between two renames had moved away.

    Only where names cannot be exchanged in one step. It goes to ``path`` where nothing
    is there, else to ``keep``, else it is removed. A living process's own stays.
    """
    start = hide_name(path.name, _OLD)
    with suppress(OSError):
        for left in sorted(path.parent.glob(f"{glob.escape(start)}*")):
            held = lock_path(left)
            if held is None:
                continue
            try:
                if not is_at(held, left):
                    continue
                place = path if not os.path.lexists(path) else keep
                if place is not None and not os.path.lexists(place):
                    left.rename(place)
                else:
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(held)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """A lock on what gives way: it goes with it to its hidden name, and tells that we live."""
    held = None
    with suppress(OSError):
        held = lock_path(path)
    try:
        yield
    finally:
        if held is not None:
            os.close(held)


def _exchange_in_turns(finished: Path, path: Path) -> None:
    """As :func:`exchange_names`, in three renames; an interrupt between them puts all back."""
    old = path.parent / f"{hide_name(path.name, _OLD)}{secrets.token_hex(6)}"
    try:
        path.rename(old)
        finished.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    old.rename(finished)


def _put_at(old: Path, keep: Path) -> None:
    """Move a folder to where another may be, which goes whole."""
    with staged_folder(keep) as away:
        if keep.exists():
            keep.rename(away / "kept")
        old.rename(keep)


@contextmanager
def _removed(aside: Path) -> Iterator[Path]:
    """A name that somebody else chose; what is there at the end is removed."""
    try:
        yield aside
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


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
