"""Weight files as lazily read tensors: ``.safetensors``, and what ``torch.save`` writes.

Nothing is executed.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from echoexport.runtime.errors import CheckpointError

_NUMPY_DTYPES = {
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


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies.

    Bytes of ``file`` from ``offset``, or, for old formats, the values themselves.
    """

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: str
    offset: int
    values: np.ndarray | None = None

    def read(self) -> np.ndarray:
        """The values, in their stored precision (bfloat16 widened to float32).

        Raises:
            CheckpointError: the file ends before the tensor does, or cannot be read any
                more.
        """
        if self.values is not None:
            return self.values
        stored = np.dtype("uint16" if self.dtype == "bfloat16" else self.dtype)
        count = math.prod(self.shape)
        try:
            flat = np.fromfile(self.file, dtype=stored, count=count, offset=self.offset)
        except OSError as error:
            raise CheckpointError(f"{self.file}: cannot read {self.key!r}: {error}") from error
        if flat.size != count:
            raise CheckpointError(
                f"{self.file}: truncated at {self.key!r}: wanted {count} values, found "
                f"{flat.size}; fetch it again"
            )
        if self.dtype == "bfloat16":
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        return flat.reshape(self.shape)


class TensorFile(Mapping[str, StoredTensor]):
    """The tensors of one file by key, and ``extras``: what else it holds (Whisper's ``dims``)."""

    def __init__(
        self,
        path: Path,
        tensors: dict[str, StoredTensor],
        *,
        extras: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.extras = dict(extras or {})
        self._tensors = tensors

    def __getitem__(self, key: str) -> StoredTensor:
        return self._tensors[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def renamed(self, names: Mapping[str, str]) -> TensorFile:
        """The same file under other keys; ``names`` maps stored key to wanted key, others stay."""
        return TensorFile(
            self.path,
            {names.get(key, key): tensor for key, tensor in self._tensors.items()},
            extras=self.extras,
        )


def open_tensor_file(path: Path) -> TensorFile:
    """Read a file's table of tensors, not their values.

    Raises:
        CheckpointError: the file is missing, truncated, not a weight file, or a pickle
            that wants to run code.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        return _open_safetensors(path)
    return _open_torch(path)


def _open_safetensors(path: Path) -> TensorFile:
    """Eight bytes of header length, the header, the values' bytes.

    The header is JSON: dtype, shape and byte range of each tensor.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size - 8:
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        tensors = {
            key: _safetensors_entry(path, key, entry, start=8 + length)
            for key, entry in header.items()
        }
        ends = [8 + length + entry["data_offsets"][1] for entry in header.values()]
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OSError,
        RecursionError,
        struct.error,
    ) as error:
        raise CheckpointError(
            f"{path}: not a readable safetensors file ({error}); fetch it again"
        ) from error
    if ends and max(ends) > size:
        raise CheckpointError(
            f"{path}: truncated: wanted {max(ends)} bytes, found {size}; fetch it again"
        )
    return TensorFile(path, tensors)


def _safetensors_entry(path: Path, key: str, entry: dict[str, Any], *, start: int) -> StoredTensor:
    if entry["dtype"] not in _NUMPY_DTYPES:
        raise ValueError(f"{key!r} has dtype {entry['dtype']}")
    shape = tuple(int(side) for side in entry["shape"])
    (begin, end) = entry["data_offsets"]
    dtype = _NUMPY_DTYPES[entry["dtype"]]
    if begin < 0 or min(shape, default=0) < 0 or end - begin != math.prod(shape) * _width(dtype):
        raise ValueError(f"{key!r} of shape {list(shape)}, {dtype}, lies in bytes {begin} to {end}")
    return StoredTensor(path, key, shape, dtype, start + begin)


def _width(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _open_torch(path: Path) -> TensorFile:
    contents = _load_table(path)
    extras: dict[str, Any] = {}
    table = contents
    for wrapper in ("model_state_dict", "state_dict"):
        if isinstance(contents.get(wrapper), dict):
            table = contents[wrapper]
            extras = {key: value for key, value in contents.items() if key != wrapper}
            break
    import torch

    tensors = {key: value for key, value in table.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise CheckpointError(f"{path}: holds no tensors; a state dict is wanted")
    stored = {
        _check_key(path, key): _torch_entry(path, key, tensor) for key, tensor in tensors.items()
    }
    if any(entry is None for entry in stored.values()):
        return TensorFile(path, _load_values(path, list(tensors)), extras=extras)
    return TensorFile(
        path, {key: entry for key, entry in stored.items() if entry is not None}, extras=extras
    )


def _load_table(path: Path) -> dict[str, Any]:
    """Keys, shapes and byte offsets, with no values in memory.

    The file is loaded under fake tensors.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        return _torch_load(path)


def _torch_load(path: Path) -> dict[str, Any]:
    import pickle
    import warnings

    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            contents = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused: it is a pickle that wants more than tensors, or is damaged "
            f"({_first_line(error)}); "
            "fetch it again, or save it as a plain state dict or as safetensors"
        ) from error
    except Exception as error:  # a damaged file makes torch's reader raise anything
        raise CheckpointError(
            f"{path}: truncated or not a torch file ({_first_line(error)}); fetch it again"
        ) from error
    if not isinstance(contents, dict):
        raise CheckpointError(f"{path}: holds a {type(contents).__name__}; a state dict is wanted")
    return contents


def _first_line(error: BaseException) -> str:
    text = str(error)
    marker = "WeightsUnpickler error: "
    text = text.split(marker, 1)[1] if marker in text else text
    return text.strip().split("\n", 1)[0][:160] or type(error).__name__


def _check_key(path: Path, key: Any) -> str:
    if not isinstance(key, str):
        raise CheckpointError(
            f"{path}: holds a tensor under {key!r}; names are wanted, as in a state dict"
        )
    return key


def _torch_entry(path: Path, key: str, tensor: Any) -> StoredTensor | None:
    """Where the bytes are.

    None where the format or the layout does not say (old pickles, odd strides).
    """
    layout, dtype = (str(kind).removeprefix("torch.") for kind in (tensor.layout, tensor.dtype))
    if layout != "strided" or dtype not in _NUMPY_DTYPES.values():
        raise CheckpointError(
            f"{path}: {key!r} is {layout} {dtype}; wanted dense float16, bfloat16 or float32"
        )
    offset = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
    if offset is None or not tensor.is_contiguous():
        return None
    start = int(offset) + int(tensor.storage_offset()) * int(tensor.element_size())
    return StoredTensor(path, key, tuple(tensor.shape), dtype, start)


def _load_values(path: Path, keys: list[str]) -> dict[str, StoredTensor]:
    import torch

    contents = _torch_load(path)
    table = next(
        (
            contents[w]
            for w in ("model_state_dict", "state_dict")
            if isinstance(contents.get(w), dict)
        ),
        contents,
    )
    result = {}
    for key in keys:
        tensor = table[key].contiguous()
        tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
        values = tensor.numpy()
        result[key] = StoredTensor(path, key, tuple(values.shape), str(values.dtype), 0, values)
    return result
