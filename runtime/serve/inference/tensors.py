"""Tensors as the protocol names and sends them, read as arrays and checked against a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from echoexport.runtime.bundle.network import describe_axes
from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec
from echoexport.runtime.errors import InputError

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "int8": "INT8",
    "uint16": "UINT16",
    "int16": "INT16",
    "uint32": "UINT32",
    "int32": "INT32",
    "uint64": "UINT64",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
"""The protocol's name of each of numpy's dtypes."""

_MOST_SHOWN = 60


@dataclass(frozen=True)
class SentTensor:
    """An input as a client sent it."""

    name: str
    """Of the tensor."""
    datatype: str
    """As the protocol names it."""
    shape: tuple[int, ...]
    """As the client says it is."""
    content: bytes | memoryview | Sequence[Any]
    """Little-endian values in C order, or numbers, flat or nested."""


def name_datatype(tensor: TensorSpec) -> str:
    """The protocol's name of what a tensor holds."""
    return DATATYPES[tensor.dtype]


def describe_tensor(tensor: TensorSpec) -> dict[str, Any]:
    """Name, datatype and shape, as metadata and answers have them."""
    return {
        "name": tensor.name,
        "datatype": name_datatype(tensor),
        "shape": list(tensor.shape),
    }


def write_tensor(array: np.ndarray) -> bytes:
    """Its values as they are sent: little-endian, in C order."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def count_bytes(tensors: Sequence[TensorSpec]) -> int:
    """Of all values of these tensors."""
    return sum(prod(tensor.shape) * np.dtype(tensor.dtype).itemsize for tensor in tensors)


def read_tensors(spec: SubnetSpec, sent: Sequence[SentTensor]) -> dict[str, np.ndarray]:
    """Every input of a network as an array of its shape and dtype, by name.

    Raises:
        InputError: one is missing, unknown, there twice, of another datatype or shape,
            or its values are no finite numbers that the datatype holds.
    """
    known = {tensor.name: tensor for tensor in spec.inputs}
    found: dict[str, np.ndarray] = {}
    for one in sent:
        if one.name not in known:
            names = ", ".join(known)
            raise InputError(f"{spec.name}: no input {shorten_name(one.name)}; it has: {names}")
        if one.name in found:
            raise InputError(f"{spec.name}: input {one.name!r} is there twice")
        found[one.name] = _read_tensor(known[one.name], one, network=spec.name)
    for tensor in spec.inputs:
        if tensor.name not in found:
            raise InputError(
                f"{spec.name}: input {tensor.name!r} is missing; wanted {describe_axes(tensor)}"
            )
    return found


def choose_outputs(spec: SubnetSpec, wanted: Sequence[str]) -> tuple[TensorSpec, ...]:
    """The outputs of these names in their order; all of them where none is named.

    Raises:
        InputError: one is unknown or named twice.
    """
    known = {tensor.name: tensor for tensor in spec.outputs}
    for place, name in enumerate(wanted):
        if name not in known:
            names = ", ".join(known)
            raise InputError(f"{spec.name}: no output {shorten_name(name)}; it has: {names}")
        if name in wanted[:place]:
            raise InputError(f"{spec.name}: output {name!r} is asked for twice")
    return tuple(known[name] for name in wanted) or spec.outputs


def shorten_name(name: str) -> str:
    """A client's word as an error shows it: quoted, on one line, and never long."""
    return repr(name if len(name) <= _MOST_SHOWN else f"{name[:_MOST_SHOWN]}...")


def _read_tensor(tensor: TensorSpec, sent: SentTensor, *, network: str) -> np.ndarray:
    what = f"{network}: input {tensor.name!r}"
    wanted = name_datatype(tensor)
    if sent.datatype != wanted:
        raise InputError(f"{what} is {shorten_name(sent.datatype)}; wanted {wanted!r}")
    if sent.shape != tensor.shape:
        shown = list(sent.shape[:8])
        raise InputError(f"{what} has shape {shown}; wanted {describe_axes(tensor)}")
    if isinstance(sent.content, (bytes, memoryview)):
        array = _read_bytes(tensor, sent.content, what=what)
    else:
        array = _read_numbers(tensor, sent.content, what=what)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{what} holds values that are not finite in {wanted}")
    return array


def _read_bytes(tensor: TensorSpec, content: bytes | memoryview, *, what: str) -> np.ndarray:
    due = count_bytes((tensor,))
    if len(content) != due:
        raise InputError(f"{what} has {len(content)} bytes; its shape and datatype take {due}")
    dtype = np.dtype(tensor.dtype)
    if dtype.kind == "b":
        return np.frombuffer(content, np.uint8).reshape(tensor.shape).astype(np.bool_)
    array = np.frombuffer(content, dtype.newbyteorder("<")).reshape(tensor.shape)
    return array.astype(dtype, copy=False)


def _read_numbers(tensor: TensorSpec, content: Sequence[Any], *, what: str) -> np.ndarray:
    try:
        array = np.asarray(content)
    except (ValueError, OverflowError):
        raise InputError(f"{what} holds rows of different lengths, or no numbers") from None
    if array.size != prod(tensor.shape):
        raise InputError(f"{what} has {array.size} values; its shape takes {prod(tensor.shape)}")
    dtype = np.dtype(tensor.dtype)
    if array.dtype.kind not in ("b" if dtype.kind == "b" else "iuf"):
        raise InputError(f"{what} holds other values than {name_datatype(tensor)} has")
    if dtype.kind in "iu" and not _fits(array, dtype):
        raise InputError(f"{what} holds values that are no {name_datatype(tensor)}")
    with np.errstate(over="ignore"):  # what it becomes is not finite, and is refused
        return array.astype(dtype).reshape(tensor.shape)


def _fits(array: np.ndarray, dtype: np.dtype[Any]) -> bool:
    """Whether an integer dtype holds each of these numbers."""
    limits = np.iinfo(dtype)
    whole = array.dtype.kind != "f" or bool((array == np.floor(array)).all())
    return whole and bool((array >= limits.min).all() and (array <= limits.max).all())
