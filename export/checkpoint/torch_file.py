"""Files of ``torch.save``, in the new format and the old: where their tensors lie."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from echoexport.export.checkpoint.stored_tensor import StoredTensor, count_span, measure_value
from echoexport.export.checkpoint.torch_pickle import (
    LARGEST_PICKLE,
    PickledTensor,
    Storage,
    TensorUnpickler,
    UnwantedNameError,
)
from echoexport.runtime.errors import CheckpointError

__all__ = ["TorchFile", "read_torch_file"]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_DTYPES = (
    *("float64", "float32", "float16", "bfloat16"),
    *("int64", "int32", "int16", "int8", "uint8", "bool"),
)
_OTHER_NAMES = {"double": "float64", "float": "float32", "half": "float16", "long": "int64"}
_OTHER_NAMES |= {"int": "int32", "short": "int16"}
_OTHER_WIDTHS = {"complex64": 8, "complex128": 16, "qint32": 4}


class TorchFile:
    """What a file holds, and where its storages begin."""

    def __init__(self, path: Path, contents: Any, places: Mapping[str, tuple[int, int]]) -> None:
        """``places``: first byte and number of bytes of each storage by key."""
        self.path = path
        self.contents = contents
        self._places = places

    def locate(self, key: str, tensor: PickledTensor) -> StoredTensor:
        """Where a tensor's values are.

        Raises:
            CheckpointError: its dtype is none of weights, or it lies outside its storage.
        """
        dtype = _OTHER_NAMES.get(tensor.dtype, tensor.dtype)
        if dtype not in _DTYPES:
            raise CheckpointError(
                f"{self.path}: {key!r} is {dtype}; wanted dense float16, bfloat16 or float32"
            )
        width = measure_value(dtype)
        start, size = self._places.get(tensor.storage.key, (0, -1))
        span = count_span(tensor.shape, tensor.strides)
        strides = _find_strides(tensor)
        known = size >= _measure_storage(tensor.storage)
        if not known or (tensor.offset + span) * width > size or _repeats(tensor, strides):
            raise CheckpointError(
                f"{self.path}: truncated or not a torch file ({key!r} lies outside its values, or "
                "they are missing); fetch it again"
            )
        offset = start + tensor.offset * width
        return StoredTensor(self.path, key, tensor.shape, dtype, offset, strides=strides)


def read_torch_file(path: Path, *, old: bool) -> TorchFile:
    """What a file holds; no values are read. ``old``: the format before PyTorch 1.6.

    Raises:
        CheckpointError: the file is truncated, compressed, of another byte order, or a
            pickle that wants more than tensors.
    """
    try:
        return _read_old(path) if old else _read_archive(path)
    except CheckpointError:
        raise
    except UnwantedNameError as error:
        raise CheckpointError(
            f"{path}: refused: it is a pickle that wants more than tensors, or is damaged "
            f"({_clip(error)}); fetch it again, or save it as a plain state dict or as safetensors"
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged archive or pickle makes the library raise anything
        raise CheckpointError(
            f"{path}: truncated or not a torch file ({_clip(error)}); fetch it again"
        ) from error


def _read_archive(path: Path) -> TorchFile:
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        entries = {entry.filename: entry for entry in archive.infolist()}
        root = _find_root(path, entries)
        order = entries.get(f"{root}byteorder")
        if order is not None and _read_entry(archive, order).strip() != b"little":
            raise _refuse_order(path)
        unpickler = TensorUnpickler(BytesIO(_read_entry(archive, entries[f"{root}data.pkl"])))
        contents = unpickler.load()
        places = {
            key: _locate_entry(file, entries[f"{root}data/{key}"])
            for key in unpickler.storages
            if f"{root}data/{key}" in entries
        }
    return TorchFile(path, contents, places)


def _find_root(path: Path, entries: Mapping[str, Any]) -> str:
    """The folder inside the archive, with its slash."""
    roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("data.pkl")]
    roots = [root for root in roots if not root or root.endswith("/")]
    if not roots:
        inside = ", ".join(sorted(entries)[:3]) or "nothing"
        raise CheckpointError(
            f"{path}: a zip archive of {inside[:100]!r}, not what torch.save writes; is it to be "
            "unpacked first?"
        )
    root = min(roots, key=len)
    if f"{root}constants.pkl" in entries:
        raise CheckpointError(f"{path}: a TorchScript program; a plain state dict is wanted")
    return root


def _require_stored(entry: zipfile.ZipInfo) -> None:
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise ValueError(f"{entry.filename[:80]} is compressed; torch.save compresses nothing")


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    _require_stored(entry)
    if entry.file_size > LARGEST_PICKLE:
        raise ValueError(f"{entry.filename[:80]} has {entry.file_size} bytes")
    return archive.read(entry)


def _locate_entry(file: BinaryIO, entry: zipfile.ZipInfo) -> tuple[int, int]:
    """First byte and number of bytes of a storage's values."""
    _require_stored(entry)
    file.seek(entry.header_offset)
    mark, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    if mark != b"PK\x03\x04":
        raise ValueError(f"{entry.filename[:80]} is not where the archive says")
    return entry.header_offset + _LOCAL_HEADER.size + name + extra, entry.file_size


def _read_old(path: Path) -> TorchFile:
    """Five pickles in a row, then the values, each storage's after their number."""
    with path.open("rb") as file:
        if TensorUnpickler(file).load() != _MAGIC or TensorUnpickler(file).load() != _PROTOCOL:
            raise ValueError("a pickle, but not by torch.save")
        system = TensorUnpickler(file).load()
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise _refuse_order(path)
        unpickler = TensorUnpickler(file)
        contents = unpickler.load()
        keys = TensorUnpickler(file).load()
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise pickle.UnpicklingError("no list of storages")
        places = dict(_walk_storages(file, keys, storages=unpickler.storages))
        end = file.seek(0, 2)
    if any(start + size > end for start, size in places.values()):
        raise ValueError("the file ends before its values do")
    return TorchFile(path, contents, places)


def _walk_storages(
    file: BinaryIO, keys: list[str], *, storages: Mapping[str, Storage]
) -> list[tuple[str, tuple[int, int]]]:
    found = []
    for key in keys:
        (count,) = struct.unpack("<q", file.read(8))
        if count != storages[key].count:
            raise ValueError(f"storage {key[:80]!r} has {count} values")
        size = _measure_storage(storages[key])
        found.append((key, (file.tell(), size)))
        file.seek(size, 1)
    return found


def _measure_storage(storage: Storage) -> int:
    """Bytes of a storage."""
    known = storage.dtype in _DTYPES
    width = measure_value(storage.dtype) if known else _OTHER_WIDTHS.get(storage.dtype, 1)
    return storage.count * width


def _find_strides(tensor: PickledTensor) -> tuple[int, ...] | None:
    """None where the values lie in a row."""
    step = 1
    for side, stride in zip(reversed(tensor.shape), reversed(tensor.strides), strict=True):
        if side != 1 and stride != step:
            return None if 0 in tensor.shape else tensor.strides
        step *= side
    return None


def _repeats(tensor: PickledTensor, strides: tuple[int, ...] | None) -> bool:
    """Whether a few values stand for many, which a small file could make terabytes of."""
    if strides is None:
        return False
    return count_span(tensor.shape, None) > count_span(tensor.shape, strides)


def _refuse_order(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path}: its values are in big-endian byte order; save it again on a little-endian machine"
    )


def _clip(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
