"""A file that holds sound, to be read as often as it is needed, pipes included."""

from __future__ import annotations

import io
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

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
    content: bytes | Path
    """The bytes of a short pipe; else the file that they can be read from, again and
    again."""

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
        with _refusing(self.path):
            return self.content.open("rb")


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
def _drain(path: Path) -> Iterator[bytes | Path]:
    """All that a pipe gives: in memory, or in a temporary file where it is much."""
    with ExitStack() as kept:
        with _refusing(path), path.open("rb") as pipe:
            head = pipe.read(_IN_MEMORY)
            if not head:
                raise AudioError(f"{path}: the pipe gives nothing")
            if len(head) < _IN_MEMORY:
                content: bytes | Path = head
            else:
                content = kept.enter_context(_keep(head, pipe, path=path))
        yield content


@contextmanager
def _keep(head: bytes, pipe: BinaryIO, *, path: Path) -> Iterator[Path]:
    """A temporary file of ``head`` and whatever else the pipe gives."""
    try:
        with tempfile.NamedTemporaryFile(prefix="echoexport-voice-") as file:
            block = head
            while block:
                file.write(block)
                if file.tell() > _MOST:
                    raise AudioError(f"{path}: more than {_MOST >> 30} GB come; give a file")
                block = pipe.read(_BLOCK)
            file.flush()
            yield Path(file.name)
    except OSError as error:
        raise AudioError(f"{path}: temporary files cannot hold it ({error.strerror})") from error


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
