"""Bytes that a cache keeps, with a check sum of ours: what was damaged is not read.

::

    magic, 8 bytes
    length of the content, 8 bytes, little endian
    zeros, 16 bytes
    sha256 of the key, the 32 bytes before and the content, 32 bytes
    the content

A key says what the content is of, so that one of something else is not read either.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from echoexport.runtime.files.aside import replaced_file

__all__ = ["allocate_memory", "fill_memory", "read_sealed", "seal_bytes", "write_sealed"]

_MAGIC = b"EESF\x00\x01\r\n"
_PREFIX = 32
_HEADER = 64
_BLOCK = 1 << 20
_WORTH_LARGE_PAGES = 1 << 23


def write_sealed(path: Path, content: bytes | memoryview, *, key: str) -> None:
    """Write ``content`` whole or not at all, folders included.

    Raises:
        OSError: it cannot be written.
    """
    header = _make_header(content, key=key)
    with replaced_file(path, parents=True) as aside, aside.open("wb") as file:
        file.write(header)
        file.write(content)


def seal_bytes(content: bytes | memoryview, *, key: str) -> bytes:
    """The bytes of a file that holds ``content``, for who writes it in another way."""
    return _make_header(content, key=key) + bytes(content)


def read_sealed(path: Path, *, key: str) -> memoryview | None:
    """The content, in memory of its own, or None where the file is damaged or of another key.

    Raises:
        OSError: there is none, or it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        header = file.read(_HEADER)
        size = os.fstat(file.fileno()).st_size - _HEADER
        prefix = header[:_PREFIX]
        if prefix != _MAGIC + max(size, 0).to_bytes(8, "little") + bytes(16):
            return None
        digest = _start_digest(key, prefix)
        content = allocate_memory(size)
        complete = fill_memory(content, file.readinto, told=digest.update)
    return content if complete and digest.digest() == header[_PREFIX:] else None


def allocate_memory(size: int) -> memoryview:
    """Zeros in pages of their own, which go back to the system when nobody has them any more."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    memory = mmap.mmap(-1, max(size, 1), flags=flags)
    if size >= _WORTH_LARGE_PAGES and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel that has none
            memory.madvise(mmap.MADV_HUGEPAGE)  # filling small pages takes three times as long
    return memoryview(memory)[:size]


def fill_memory(
    memory: memoryview,
    read: Callable[[memoryview], int | None],
    *,
    told: Callable[[memoryview], None],
) -> bool:
    """Fill memory block by block, each ``told`` while it is at hand; False at an early end."""
    start = 0
    while start < len(memory):
        count = read(memory[start : start + _BLOCK]) or 0
        if count == 0:
            return False
        told(memory[start : start + count])
        start += count
    return True


def _make_header(content: bytes | memoryview, *, key: str) -> bytes:
    prefix = _MAGIC + len(content).to_bytes(8, "little") + bytes(16)
    digest = _start_digest(key, prefix)
    digest.update(content)
    return prefix + digest.digest()


def _start_digest(key: str, prefix: bytes) -> hashlib._Hash:
    text = key.encode()
    return hashlib.sha256(len(text).to_bytes(8, "little") + text + prefix)
