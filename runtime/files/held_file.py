"""A file that is opened once: what is hashed is what is used, and a change is noticed.

Whoever hashes a path and opens it again may meet another file, and whoever maps a file
that others may write meets their bytes, or an end where there was none. So a file is held
by a descriptor, read into memory of this process where a library takes it from there, and
compared with itself once a library has read it by its name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path, PurePosixPath

from echoexport.runtime.errors import BundleError
from echoexport.runtime.files.sealed_file import allocate_memory, fill_memory

__all__ = ["HeldFile"]

_BLOCK = 1 << 20
_FOLDER_FLAGS = os.O_CLOEXEC | os.O_DIRECTORY | getattr(os, "O_PATH", 0)
# a pipe in the place of a file is then refused, and not waited for
_FILE_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_AGAIN = "build or copy the bundle again"
_Mark = tuple[int, int, int, int, int]


class HeldFile:
    """One file of a bundle, open for as long as it is held; a context manager."""

    def __init__(self, folder: Path, name: str, *, size: int, sha256: str) -> None:
        """Open ``name`` of ``folder`` through no link but the folder's own.

        ``size`` in bytes and ``sha256`` are what the manifest says of it.

        Raises:
            BundleError: it is missing, a link, no plain file, or of another size, or
                cannot be opened.
        """
        self.path = folder / name
        self.size = size
        self.sha256 = sha256
        self._content: memoryview | None = None
        self._proved = False
        self._stopped = False
        self._folder = -1
        self._file = -1
        try:
            self._folder = _open_folder(folder, PurePosixPath(name).parts[:-1])
            self._file = os.open(self.path.name, _FILE_FLAGS, dir_fd=self._folder)
            found = os.fstat(self._file)
        except OSError as error:
            self.close()
            raise _refuse(self.path, error) from error
        self._mark = _mark_of(found)
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            self.close()
            what = f"{found.st_size} bytes" if stat.S_ISREG(found.st_mode) else "no plain file"
            raise BundleError(f"{self.path}: {what}, the manifest says {size}; {_AGAIN}")

    def __enter__(self) -> HeldFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pinned(self) -> Path:
        """A path to the file that leads through its folder's descriptor, for libraries.

        It stays the same folder, whatever is renamed around it. It is the plain path where
        the system has no such (it needs Linux's ``/proc``).
        """
        link = Path(f"/proc/self/fd/{self._folder}")
        return link / self.path.name if link.exists() else self.path

    def content(self) -> memoryview:
        """The whole file in memory of this process, which is what was hashed.

        Raises:
            BundleError: it is not what the manifest says, or cannot be read.
        """
        if self._content is None:
            memory = allocate_memory(self.size)
            self._prove(memory)
            self._content = memory
        return self._content

    def check(self) -> None:
        """Hash the file, where that has not been done.

        Raises:
            BundleError: it is not what the manifest says, or cannot be read.
        """
        if not self._proved:
            self._prove(None)

    def has_changed(self) -> bool:
        """Whether it was written, cut, renamed or replaced since it was opened.

        That it was linked or given other rights counts too: the system tells no
        difference. Meant for a file that is still held.
        """
        with suppress(OSError):
            here = os.stat(self.path.name, dir_fd=self._folder, follow_symlinks=False)
            return {_mark_of(here), _mark_of(os.fstat(self._file))} != {self._mark}
        return True

    def was_replaced(self) -> bool:
        """Whether other bytes may lie at its path by now; it need not be held any more."""
        with suppress(OSError):
            return _mark_of(self.path.lstat())[:4] != self._mark[:4]
        return True

    def stop_reading(self) -> None:
        """Let a thread that hashes the file meet an error at the next block, for good."""
        self._stopped = True

    def close(self) -> None:
        """Let go of file and memory; who still has the content keeps it."""
        self._content = None
        for descriptor in (self._file, self._folder):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._folder = -1

    def _prove(self, memory: memoryview | None) -> None:
        try:
            found = self._read(memory)
        except OSError as error:
            raise _refuse(self.path, error) from error
        if found != self.sha256:
            raise BundleError(
                f"{self.path}: sha256 is {found}, the manifest says {self.sha256}; build or copy "
                "it again"
            )
        self._proved = True

    def _read(self, memory: memoryview | None) -> str:
        """sha256 of as much as the manifest says there is, which goes to ``memory``."""
        digest = hashlib.sha256()

        def tell(block: memoryview) -> None:
            if self._stopped:
                raise BundleError(f"{self.path}: is not needed any more")
            digest.update(block)

        os.lseek(self._file, 0, os.SEEK_SET)
        with open(self._file, "rb", buffering=0, closefd=False) as file:
            if memory is not None:
                complete = fill_memory(memory, file.readinto, told=tell)
            else:
                complete = self._read_through(file, tell)
        if not complete:
            raise BundleError(f"{self.path}: was cut while it was read; {_AGAIN}")
        return digest.hexdigest()

    def _read_through(self, file: FileIO, told: Callable[[memoryview], None]) -> bool:
        """The same with one block of memory for all."""
        block = memoryview(bytearray(_BLOCK))
        left = self.size
        while left:
            count = file.readinto(block[: min(_BLOCK, left)])
            if not count:
                return False
            told(block[:count])
            left -= count
        return True


def _open_folder(folder: Path, inner: tuple[str, ...]) -> int:
    found = os.open(folder, _FOLDER_FLAGS)
    for part in inner:
        try:
            deeper = os.open(part, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=found)
        finally:
            os.close(found)
        found = deeper
    return found


def _mark_of(status: os.stat_result) -> _Mark:
    """What changes with a file's bytes, its times in ns last."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _refuse(path: Path, error: OSError) -> BundleError:
    if error.errno == errno.ELOOP:
        return BundleError(f"{path}: is a symbolic link; a bundle holds plain files")
    if error.errno == errno.ENOENT:
        return BundleError(f"{path}: missing; {_AGAIN}")
    return BundleError(f"{path}: cannot be read: {error.strerror or error}")
