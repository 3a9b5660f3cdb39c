"""Where one tensor of a weight file lies, and its values when they are asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echoexport.runtime.errors import CheckpointError

__all__ = ["StoredTensor", "count_span", "measure_value"]


@dataclass(frozen=True)
class StoredTensor:
    """Bytes of ``file`` from ``offset``, or the values themselves."""

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: str
    """As NumPy calls it, or "bfloat16"."""
    offset: int
    """Of the first value, in bytes."""
    values: np.ndarray | None = None
    strides: tuple[int, ...] | None = None
    """In values, where the tensor is a view of others; None where its values lie in a row."""

    def read(self) -> np.ndarray:
        """The values, in their stored precision (bfloat16 widened to float32).

        Raises:
            CheckpointError: the file ends before the tensor does, or cannot be read any
                more.
        """
        if self.values is not None:
            return self.values
        flat = self._read_flat()
        if self.dtype == "bfloat16":
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        if self.strides is None:
            return flat.reshape(self.shape)
        steps = tuple(step * flat.itemsize for step in self.strides)
        return np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat, self.shape, steps))

    def _read_flat(self) -> np.ndarray:
        """What lies between the first and the last value, in a row."""
        count = count_span(self.shape, self.strides)
        stored = np.dtype("uint16" if self.dtype == "bfloat16" else self.dtype)
        try:
            flat = np.fromfile(self.file, dtype=stored, count=count, offset=self.offset)
        except OSError as error:
            raise CheckpointError(f"{self.file}: cannot read {self.key!r}: {error}") from error
        if flat.size != count:
            raise CheckpointError(
                f"{self.file}: truncated at {self.key!r}: wanted {count} values, found "
                f"{flat.size}; fetch it again"
            )
        return flat


def count_span(shape: tuple[int, ...], strides: tuple[int, ...] | None) -> int:
    """How many values lie from a tensor's first to its last, both counted."""
    if strides is None or 0 in shape:
        return math.prod(shape)
    return 1 + sum((side - 1) * step for side, step in zip(shape, strides, strict=True))


def measure_value(dtype: str) -> int:
    """Bytes of one value."""
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
