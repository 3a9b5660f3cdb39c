"""A file that holds sound, to be read as often as it is needed, pipes included."""

from __future__ import annotations

import io
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

from echoexport.runtime.errors import AudioError

__all__ = ["StoredSound", "store_sound"]

_IN_MEMORY = 64 * 2**20  # bytes; a longer pipe goes on in a temporary file
_MOST = 2 * 2**30  # bytes of a pipe: three hours at CD quality
_BLOCK = 1 << 20


@dataclass(frozen=True)
class StoredSound:
    """A sound file's content, wherever it lies."""

    path: Path
    """As the user named it."""
    content: bytes | Path | IO[bytes]
    """The file; of a short pipe its bytes, of a long one a temporary file without a
    name, which nothing can leave behind."""

    @property
    def name(self) -> str:
        """How errors call it."""
        return str(self.path)

    def open(self) -> BinaryIO:
        """The content from its begin, as a reader of its own.

        Raises ``AudioError`` where it cannot be opened.
        """
        if isinstance(self.content, bytes):
            return io.BytesIO(self.content)
        if not isinstance(self.content, Path):
            return io.BufferedReader(_SharedFile(self.content.fileno()))
        with _refusing(self.path):
            return self.content.open("rb")


class _SharedFile(io.RawIOBase):
    """One of several readers of an open file, with a place of its own in it."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._place = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, counted as files count."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place}.get(whence)
        self._place = offset + (os.fstat(self._number).st_size if base is None else base)
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as the file goes."""
        found = os.pread(self._number, len(buffer), self._place)
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)


@contextmanager
def store_sound(source: str | Path | StoredSound) -> Iterator[StoredSound]:
    """A sound for as long as the context lasts; a pipe is read here, once and whole.

    Raises ``AudioError``: missing, a folder, empty, a pipe without end, unreadable.
    """
    if isinstance(source, StoredSound):
        yield source
        return
    path = Path(source)
    with _refusing(path):
        mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise AudioError(f"{path}: is a folder; give a sound file")
    if stat.S_ISREG(mode):
        if not path.stat().st_size:
            raise AudioError(f"{path}: the file is empty")
        yield StoredSound(path, path.absolute())
        return
    with _drain(path) as content:
        yield StoredSound(path, content)


@contextmanager
def _drain(path: Path) -> Iterator[bytes | IO[bytes]]:
    """All that a pipe gives: in memory, or in a temporary file where it is much."""
    with ExitStack() as kept:
        with _refusing(path), path.open("rb") as pipe:
            head = pipe.read(_IN_MEMORY)
            if not head:
                raise AudioError(f"{path}: the pipe gives nothing")
            if len(head) < _IN_MEMORY:
                content: bytes | IO[bytes] = head
            else:
                content = kept.enter_context(_keep(head, pipe, path=path))
        yield content


def _keep(head: bytes, pipe: BinaryIO, *, path: Path) -> IO[bytes]:
    """A temporary file of ``head`` and whatever else the pipe gives; closing it removes it."""
    with ExitStack() as kept:
        try:
            file = kept.enter_context(tempfile.TemporaryFile())
            block = head
            while block:
                file.write(block)
                if file.tell() > _MOST:
                    raise AudioError(f"{path}: more than {_MOST >> 30} GB come; give a file")
                block = pipe.read(_BLOCK)
            file.flush()
        except OSError as error:
            told = f"{path}: temporary files cannot hold it ({error.strerror})"
            raise AudioError(told) from error
        kept.pop_all()
        return file


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn a failure to open or read into an ``AudioError`` that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise AudioError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise AudioError(
            f"{path}: cannot be opened ({getattr(error, 'strerror', None) or error})"
        ) from error
