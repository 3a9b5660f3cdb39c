"""Keeps a portrait's reference arrays in memory and on disk between runs.

These are its keys, values and face features.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.conditioning.reference_entry import (
    CachedArrays,
    encode_header,
    entry_bytes,
    plain_dtype,
    raw_bytes,
    read_entry,
    write_entry,
)
from echoexport.runtime.engine.held_arrays import freeze
from echoexport.runtime.errors import SettingError
from echoexport.runtime.files.aside import replaced_file

__all__ = ["CacheStats", "CachedArrays", "ReferenceCache", "cache_key"]

MEMORY_BYTES = 256 * 2**20
"""Default bound in memory: a few portraits at 512 px in fp16 (about 46 MB of keys and
values each)."""
DISK_BYTES = 2 * 2**30
_SUFFIX = ".reference"
KEY = re.compile(r"[0-9a-f]{8,128}")


@dataclass(frozen=True)
class CacheStats:
    """What a cache did since it was opened or reset."""

    hits: int = 0
    """Those from disk included."""
    misses: int = 0
    """Those where a broken entry was dropped included."""
    disk_hits: int = 0
    """Entries that were found on disk alone."""
    dropped: int = 0
    """Broken entries."""


def cache_key(*parts: bytes | str | NDArray[Any]) -> str:
    """sha256 in hex over the parts, in order; arrays count with dtype and shape.

    Each part goes in with its kind and length, so that parts cut differently never
    agree. Raises ``SettingError`` for no parts, a part of another type, or an array
    that is not plain numbers.
    """
    if not parts:
        raise SettingError("a cache key needs at least one part")
    digest = hashlib.sha256()
    for part in parts:
        for kind, content in _tagged(part):
            digest.update(kind + len(content).to_bytes(8, "little"))
            digest.update(content)
    return digest.hexdigest()


class ReferenceCache:
    """Named arrays by key, in memory and on disk, those not used for longest dropped first.

    ``folder`` None keeps entries in memory only. ``memory_bytes`` and ``disk_bytes``
    bound the two; an entry larger than a bound is not kept there. A disk that is full
    or cannot be written is given up, for this object, with one ``RuntimeWarning``;
    memory still serves. Processes may share a folder, and threads an object.
    """

    def __init__(
        self, folder: Path | None, *, memory_bytes: int = MEMORY_BYTES, disk_bytes: int = DISK_BYTES
    ) -> None:
        if memory_bytes < 0 or disk_bytes < 0:
            raise SettingError(
                f"cache bounds must be 0 or more: memory {memory_bytes}, disk {disk_bytes} bytes"
            )
        self.folder = folder
        self._memory = _MemoryStore(memory_bytes)
        self._disk = None if folder is None else _DiskStore(folder, disk_bytes)
        self._counts = dict.fromkeys(("hits", "misses", "disk_hits", "dropped"), 0)
        self._lock = threading.Lock()

    @property
    def stats(self) -> CacheStats:
        """Counts so far; a snapshot."""
        with self._lock:
            return CacheStats(**self._counts)

    def get(self, key: str) -> CachedArrays | None:
        """The arrays put under ``key``, read-only, or None.

        Raises ``SettingError`` for a malformed key.
        """
        _check_key(key)
        with self._lock:
            held = self._memory.get(key)
            self._counts["hits"] += held is not None
        if held is None:
            return self._get_from_disk(key)
        if self._disk is not None:
            self._disk.touch(key)  # or the entry used most would look the oldest on disk
        return dict(held)

    def put(self, key: str, arrays: Mapping[str, NDArray[Any]]) -> CachedArrays:
        """Keep ``arrays`` under ``key`` and return what is kept.

        That is read-only and safe from the caller's changes. CachedArrays that nobody can
        write to any more are kept as they are, others are copied once. Raises
        ``SettingError`` for a malformed key or arrays that are not plain numbers.
        """
        _check_key(key)
        kept = {name: _frozen(array) for name, array in arrays.items()}
        with self._lock:
            self._memory.put(key, kept)
        if self._disk is not None:
            self._disk.write(key, kept)
        return dict(kept)

    def reset(self) -> None:
        """Forget what is in memory and the counts; entries on disk stay."""
        with self._lock:
            self._memory.clear()
            self._counts = dict.fromkeys(self._counts, 0)

    def _get_from_disk(self, key: str) -> CachedArrays | None:
        arrays, dropped = (None, False) if self._disk is None else self._disk.read(key)
        with self._lock:
            self._counts["dropped"] += dropped
            if arrays is None:
                self._counts["misses"] += 1
                return None
            self._counts["hits"] += 1
            self._counts["disk_hits"] += 1
            self._memory.put(key, arrays)
        return dict(arrays)


class _MemoryStore:
    """Entries in memory, the least recently used first."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._entries: OrderedDict[str, CachedArrays] = OrderedDict()

    def get(self, key: str) -> CachedArrays | None:
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def put(self, key: str, arrays: CachedArrays) -> None:
        self._entries.pop(key, None)
        if _size(arrays) > self._bound:
            return
        self._entries[key] = arrays
        while sum(map(_size, self._entries.values())) > self._bound:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        self._entries.clear()


class _DiskStore:
    """Entries as files of one folder; a file's modification time says when it was used last.

    A file is written under a name of its own and renamed when complete, so that a crash
    leaves the old entry or none, and a reader never sees half of one; what a dead writer
    left goes when the next one writes. A power cut may leave half; the checksum then
    drops it.
    """

    def __init__(self, folder: Path, bound: int) -> None:
        self._folder = folder
        self._bound = bound
        self._writable = True

    def touch(self, key: str) -> None:
        now = time.time_ns()
        with contextlib.suppress(OSError):
            os.utime(self._path(key), ns=(now, now))

    def read(self, key: str) -> tuple[CachedArrays | None, bool]:
        """The entry or None, and whether a broken one was dropped."""
        path = self._path(key)
        try:
            if path.stat().st_size > self._bound:  # kept under another bound; may not fit here
                return None, False
            arrays = read_entry(path, key)
        except OSError:
            return None, False
        if arrays is None:
            with contextlib.suppress(OSError):
                path.unlink()
            return None, True
        self.touch(key)
        return arrays, False

    def write(self, key: str, arrays: CachedArrays) -> None:
        header = encode_header(key, arrays)
        size = entry_bytes(header, arrays)
        if not self._writable or size > self._bound:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # faces are private
            self._make_room(key, size)
            with replaced_file(self._path(key)) as aside, aside.open("wb") as file:
                write_entry(file, header, arrays)
            self.touch(key)
            self._make_room(key, size)  # another process may have written meanwhile
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._writable = False
        warnings.warn(
            f"the reference cache {self._folder} cannot be written ({error.strerror or error}); "
            f"portraits are kept in memory only. ECHOEXPORT_CACHE names another folder",
            RuntimeWarning,
            stacklevel=4,
        )

    def _make_room(self, key: str, size: int) -> None:
        """Delete entries other than ``key`` until ``size`` bytes fit.

        Those not used for longest go first.
        """
        others = sorted(entry for entry in self._entries() if entry[1] != self._path(key))
        total = size + sum(entry[2] for entry in others)
        for _, path, freed in others:
            if total <= self._bound:
                return
            path.unlink(missing_ok=True)
            total -= freed

    def _entries(self) -> Iterator[tuple[int, Path, int]]:
        """(last use in ns, path, bytes) of every entry."""
        with os.scandir(self._folder) as found:
            for item in found:
                with contextlib.suppress(FileNotFoundError):  # another process may have deleted it
                    status = item.stat(follow_symlinks=False)
                    if item.name.endswith(_SUFFIX):
                        yield status.st_mtime_ns, self._folder / item.name, status.st_size

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{_SUFFIX}"


def _tagged(part: bytes | str | NDArray[Any]) -> Iterator[tuple[bytes, bytes | memoryview]]:
    """A key's part as (kind, content) pairs."""
    if isinstance(part, bytes):
        yield b"b", part
    elif isinstance(part, str):
        yield b"s", part.encode("utf-8", "surrogatepass")
    elif isinstance(part, np.ndarray):
        yield b"t", f"{plain_dtype(part)} {part.shape}".encode()
        yield b"d", raw_bytes(np.ascontiguousarray(part))
    else:
        raise SettingError(
            f"a cache key is made of bytes, text and arrays, not of {type(part).__name__}"
        )


def _check_key(key: str) -> None:
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise SettingError(
            f"a cache key is 8 to 128 lower-case hex digits (as cache_key gives), not {key!r}"
        )


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """The array as ``freeze`` gives it; ``SettingError`` if it is not plain numbers."""
    plain_dtype(array)
    return freeze(array)


def _size(arrays: CachedArrays) -> int:
    return sum(array.nbytes for array in arrays.values())
