"""Hidden names to write to, locked while their process lives and cleared once it is dead."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = [
    "clear_left",
    "hide_name",
    "is_at",
    "lock_path",
    "name_staging",
    "staged_file",
    "staged_folder",
]

_LONGEST = 255
"""Bytes of a file's name, the most that Linux's file systems take."""

_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL

_STAGED = re.compile(r"\..*\.part-echoexport-[0-9a-f]{12}", re.DOTALL)


@contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """An empty hidden file beside ``target``, locked; removed at the end if it is still there.

    What dead processes left in that folder is cleared first.

    Raises:
        OSError: the file cannot be made.
    """
    clear_left(target.absolute().parent)
    aside, held = _claim(target, folder=False)
    try:
        yield aside
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        os.close(held)


@contextmanager
def staged_folder(target: Path, *, mode: int = 0o777) -> Iterator[Path]:
    """As :func:`staged_file`, a folder; ``mode`` is who may look into it.

    Raises:
        OSError: the folder cannot be made.
    """
    clear_left(target.absolute().parent)
    aside, held = _claim(target, folder=True, mode=mode)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        os.close(held)


def clear_left(folder: Path) -> None:
    """Remove what processes left in a folder that are dead; what a living one holds stays.

    A lock tells them apart, which the system lets go of with the process. Numbers of
    processes would not: containers that share a folder have the same ones. Where the
    file system has no locks, everything stays.
    """
    with suppress(OSError):
        with os.scandir(folder) as entries:
            left = [Path(entry.path) for entry in entries if _STAGED.fullmatch(entry.name)]
        for path in left:
            _clear(path)


def name_staging(target: Path) -> Path:
    """A new hidden name beside ``target``, to write to before the rename."""
    place = target.absolute()
    return place.parent / hide_name(place.name, f".part-echoexport-{secrets.token_hex(6)}")


def hide_name(name: str, ending: str) -> str:
    """The hidden name ``.NAME`` with an ending; a long name is cut, and told apart by a digest."""
    whole = f".{name}{ending}"
    content = os.fsencode(name)
    if len(os.fsencode(whole)) <= _LONGEST:
        return whole
    digest = f"~{hashlib.sha256(content).hexdigest()[:12]}"
    room = _LONGEST - len(os.fsencode(f".{digest}{ending}"))
    return f".{content[:room].decode('utf-8', errors='ignore')}{digest}{ending}"


def lock_path(path: Path) -> int | None:
    """A descriptor of a file or folder that holds its lock; None where another process has it.

    Raises:
        OSError: it is not there, or the file system has no locks.
    """
    held = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        _lock(held)
    except BlockingIOError:
        os.close(held)
        return None
    except BaseException:
        os.close(held)
        raise
    return held


def is_at(held: int, path: Path) -> bool:
    """Whether a path still leads to what a descriptor is of."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(held), path.lstat())
    return False


def _claim(target: Path, *, folder: bool, mode: int = 0o777) -> tuple[Path, int]:
    while True:
        aside = name_staging(target)
        if folder:
            aside.mkdir(mode=mode)
        try:
            held = os.open(aside, os.O_RDONLY if folder else _NEW_FILE, 0o666)
        except FileNotFoundError:
            if folder:
                continue  # as below
            raise
        with suppress(OSError):  # a file system without locks
            _lock(held, wait=True)
        if is_at(held, aside):
            return aside, held
        os.close(held)  # another process took it for left, before it was locked


def _lock(held: int, *, wait: bool = False) -> None:
    try:
        import fcntl
    except ImportError as error:  # no such locks on Windows
        raise OSError("no locks") from error
    fcntl.flock(held, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _clear(path: Path) -> None:
    with suppress(OSError):
        held = lock_path(path)
        if held is None:
            return
        try:
            if os.fstat(held).st_uid != os.geteuid() or not is_at(held, path):
                return
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        finally:
            os.close(held)
