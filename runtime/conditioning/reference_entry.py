"""One file of the reference cache: named arrays with a checksum, without pickle.

::

    magic, 8 bytes
    length of the header, 8 bytes, little endian
    header, JSON: the entry's key, and name, dtype and shape of each array
    the arrays in that order, in C order, each from the next multiple of 64 bytes on
    sha256 of all before, 32 bytes

A file is read with one allocation, and its arrays are read-only views of it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.errors import SettingError

__all__ = [
    "CachedArrays",
    "encode_header",
    "entry_bytes",
    "plain_dtype",
    "raw_bytes",
    "read_entry",
    "write_entry",
]

CachedArrays = dict[str, NDArray[Any]]

MAGIC = b"EERC\x00\x01\r\n"
PREFIX_BYTES = len(MAGIC) + 8
ALIGNMENT = 64
DIGEST_BYTES = hashlib.sha256().digest_size
PLAIN_DTYPE = re.compile(r"[<>|][fiub][1248]")
"""Floats, integers and booleans of a size that is the same on every machine."""


def plain_dtype(array: NDArray[Any]) -> str:
    """The array's dtype as the file spells it, such as ``<f2``.

    Raises ``SettingError`` if it is not plain numbers.
    """
    name = str(array.dtype.str)
    if not PLAIN_DTYPE.fullmatch(name):
        raise SettingError(
            f"the reference cache takes float, integer and bool arrays, not {array.dtype}"
        )
    return name


def raw_bytes(array: NDArray[Any]) -> memoryview:
    """The bytes of a C-contiguous array, without a copy."""
    return array.reshape(-1).view(np.uint8).data


def encode_header(key: str, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """All that comes before the arrays."""
    listed = [
        {"name": n, "dtype": plain_dtype(a), "shape": list(a.shape)} for n, a in arrays.items()
    ]
    text = json.dumps({"key": key, "arrays": listed}).encode()
    return MAGIC + len(text).to_bytes(8, "little") + text


def entry_bytes(header: bytes, arrays: Mapping[str, NDArray[Any]]) -> int:
    """Size of the file that ``write_entry`` makes."""
    end = len(header)
    for array in arrays.values():
        end = _aligned(end) + array.nbytes
    return end + DIGEST_BYTES


def write_entry(file: BinaryIO, header: bytes, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a whole entry; ``arrays`` are C-contiguous and those that ``header`` was made of."""
    digest = hashlib.sha256()
    position = 0
    for block in (memoryview(header), *(raw_bytes(array) for array in arrays.values())):
        padding = bytes(_aligned(position) - position)
        for piece in (memoryview(padding), block):
            digest.update(piece)
            file.write(piece)
        position += len(padding) + len(block)
    file.write(digest.digest())


def read_entry(path: Path, key: str) -> CachedArrays | None:
    """The arrays of the file, or None if it is broken or another key's.

    Raises ``OSError`` where it cannot be read.
    """
    with path.open("rb") as file:
        content = np.fromfile(file, dtype=np.uint8)
    if len(content) < PREFIX_BYTES + DIGEST_BYTES:
        return None
    content.setflags(write=False)
    body = content[:-DIGEST_BYTES]
    digest = content[-DIGEST_BYTES:]
    if hashlib.sha256(body.data).digest() != digest.tobytes():
        return None
    try:
        return _views(body, key)
    # a header that makes no sense
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _views(body: NDArray[np.uint8], key: str) -> CachedArrays | None:
    """CachedArrays of an entry whose checksum holds.

    Raises any of the errors above where the header lies.
    """
    end = PREFIX_BYTES + int.from_bytes(body[len(MAGIC) : PREFIX_BYTES].tobytes(), "little")
    header = json.loads(body[PREFIX_BYTES:end].tobytes())
    if body[: len(MAGIC)].tobytes() != MAGIC or header["key"] != key:
        return None
    arrays: CachedArrays = {}
    for item in header["arrays"]:
        name = item["name"]
        dtype = item["dtype"]
        shape = item["shape"]
        if not PLAIN_DTYPE.fullmatch(dtype) or not all(type(n) is int and n >= 0 for n in shape):
            return None
        start = _aligned(end)
        end = start + math.prod(shape) * np.dtype(dtype).itemsize
        arrays[name] = body[start:end].view(dtype).reshape(shape)
    return arrays if end == len(body) else None


def _aligned(position: int) -> int:
    return -(-position // ALIGNMENT) * ALIGNMENT
