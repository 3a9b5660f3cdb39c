"""Keeps a voice's samples: in memory while they are few, then in a temporary file."""

from __future__ import annotations

import os
import tempfile
import weakref
from typing import IO

import numpy as np
from numpy.typing import NDArray

__all__ = ["SampleStore"]

_IN_MEMORY = 16 * 2**20  # bytes: nine minutes
_BLOCK = 1 << 20  # bytes that are written at once
_KIND = np.dtype("<i2")


class SampleStore:
    """Mono 16-bit samples, which are read in any order as float32 in [-1, 1].

    Up to nine minutes lie in memory. Of more, all goes to a temporary file without a
    name, 115 MB an hour, which nothing can leave behind; where there is no room for it,
    memory holds it. Several threads may read at once, while nobody adds.
    """

    def __init__(self) -> None:
        self._tail = bytearray()  # what is not in the file
        self._filed = 0  # bytes
        self._file: IO[bytes] | None = None
        self._full = False  # the file takes no more

    def __len__(self) -> int:
        return (self._filed + len(self._tail)) // _KIND.itemsize

    @property
    def in_memory(self) -> bool:
        """Whether no file was needed."""
        return not self._filed

    def add(self, samples: NDArray[np.int16]) -> None:
        """Add (n,) samples at the end."""
        self._tail += samples.astype(_KIND, copy=False).tobytes()
        most = _BLOCK if self._filed else _IN_MEMORY
        if len(self._tail) > most and not self._full:
            self._write()

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Samples ``start`` to ``stop``, fewer where they end before, each integer / 32768."""
        first = start * _KIND.itemsize
        last = stop * _KIND.itemsize
        found = b""
        if self._file is not None and first < self._filed:
            found = _read_all(self._file.fileno(), first, min(last, self._filed))
        if last > self._filed:
            found += self._tail[max(0, first - self._filed) : last - self._filed]
        samples = np.frombuffer(found, dtype=_KIND).astype(np.float32)
        samples *= np.float32(1 / 32768)  # a power of two: exact
        return samples

    def _write(self) -> None:
        """Move what memory holds to the file, as far as there is room."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
                weakref.finalize(self, self._file.close)
            while self._tail:
                count = self._file.write(self._tail)
                self._filed += count
                del self._tail[:count]
        except OSError:
            self._full = True


def _read_all(number: int, start: int, stop: int) -> bytes:
    """A file's bytes from ``start`` to ``stop``, from wherever others read it."""
    parts: list[bytes] = []
    while start < stop:
        part = os.pread(number, stop - start, start)
        parts.append(part)
        start += len(part)
    return b"".join(parts)
