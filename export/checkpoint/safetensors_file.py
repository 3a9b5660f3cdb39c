"""A ``.safetensors`` file: eight bytes of header length, the header, the values' bytes.

The header is JSON: dtype, shape and byte range of each tensor.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from echoexport.export.checkpoint.stored_tensor import StoredTensor, measure_value
from echoexport.runtime.errors import CheckpointError
from echoexport.runtime.files.json_file import parse_json

__all__ = ["read_safetensors"]

_LARGEST_HEADER = 1 << 24  # bytes; those of this family have some 100 KB
_MOST_AXES = 16
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file by key; no values are read.

    Raises:
        CheckpointError: the file cannot be read, is truncated, or its header makes no
            sense.
    """
    try:
        size = path.stat().st_size
        header, start = _read_header(path, size)
        header.pop("__metadata__", None)
        tensors = {key: _read_entry(path, key, entry, start) for key, entry in header.items()}
        ranges = sorted(tuple(entry["data_offsets"]) for entry in header.values())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise CheckpointError(
            f"{path}: not a readable safetensors file ({error}); fetch it again"
        ) from error
    _check_ranges(path, ranges, wanted=size - start)
    return tensors


def _read_header(path: Path, size: int) -> tuple[Any, int]:
    """The header, and where the values begin."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > size - 8:
            raise ValueError(f"a header of {length} bytes in a file of {size}")
        if length > _LARGEST_HEADER:
            raise ValueError(f"a header of {length} bytes; at most {_LARGEST_HEADER} are read")
        return parse_json(file.read(length)), 8 + length


def _read_entry(path: Path, key: str, entry: Mapping[str, Any], start: int) -> StoredTensor:
    name = entry["dtype"]
    if isinstance(name, str) and name.startswith(("F8_", "F6_", "F4")):
        raise CheckpointError(
            f"{path}: {key!r} is {name}; wanted float16, bfloat16 or float32: fetch the file "
            "that was not made smaller"
        )
    if name not in _DTYPES:
        raise ValueError(f"{key!r} has dtype {name}")
    shape = tuple(entry["shape"])
    (begin, end) = entry["data_offsets"]
    numbers = (*shape, begin, end)
    if len(shape) > _MOST_AXES or not all(type(n) is int and 0 <= n < 1 << 63 for n in numbers):
        raise ValueError(f"{key!r} has shape {entry['shape']} and lies in {begin} to {end}")
    dtype = _DTYPES[name]
    if end - begin != math.prod(shape) * measure_value(dtype):
        raise ValueError(f"{key!r} of shape {list(shape)}, {dtype}, lies in bytes {begin} to {end}")
    return StoredTensor(path, key, shape, dtype, start + begin)


def _check_ranges(path: Path, ranges: list[tuple[int, ...]], *, wanted: int) -> None:
    """The values fill the file, one tensor's after another's, as the format has it."""
    end = 0
    for begin, after in ranges:
        if begin != end:
            raise CheckpointError(
                f"{path}: not a readable safetensors file (its tensors overlap or leave a gap at "
                f"byte {min(begin, end)}); fetch it again"
            )
        end = after
    if end > wanted:
        raise CheckpointError(
            f"{path}: truncated: wanted {end} bytes of values, found {wanted}; fetch it again"
        )
    if end < wanted:
        raise CheckpointError(
            f"{path}: not a readable safetensors file ({wanted - end} bytes after its last "
            "tensor); fetch it again"
        )
