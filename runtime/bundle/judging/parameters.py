"""The constants of a graph: each whole, and in its place in the one file beside it."""

from __future__ import annotations

from math import prod

from echoexport.runtime.bundle.judging.graph_file import GraphFile, Sides, Tensor
from echoexport.runtime.bundle.judging.shapes import LARGEST_VALUE
from echoexport.runtime.bundle.judging.wire import ObjectionError

__all__ = ["ELEMENTS", "MOST_SIDES", "collect_tensors"]

ELEMENTS = {
    1: ("float32", 4),
    3: ("int8", 1),
    7: ("int64", 8),
    9: ("bool", 1),
    10: ("float16", 2),
}
"""ONNX's types that our graphs hold, their names in numpy, and bytes a number."""

MOST_SIDES = 8

_MOST_TENSORS = 65536
_LONGEST_NUMBER = 19  # digits


def collect_tensors(graph: GraphFile, weights_name: str, weights_bytes: int) -> dict[str, Tensor]:
    """The constants by name; those beside the graph may lie in one file, of a known size.

    Raises:
        ObjectionError: a constant lies elsewhere, outside the file or in part, or is of
            a type or size that none of ours has.
    """
    if len(graph.tensors) > _MOST_TENSORS:
        raise ObjectionError(f"it has {len(graph.tensors)} constants")
    tensors: dict[str, Tensor] = {}
    for tensor in graph.tensors:
        if tensor.name in tensors or not tensor.name:
            raise ObjectionError(f"two constants are called {tensor.name!r}, or none")
        tensors[tensor.name] = tensor
        wanted = _measure(tensor)
        if tensor.listed:
            raise ObjectionError(f"constant {tensor.name!r} holds its numbers as a list")
        if tensor.external:
            _check_place(tensor, wanted, weights_name, weights_bytes)
        elif tensor.raw is None or tensor.raw[1] - tensor.raw[0] != wanted:
            raise ObjectionError(f"constant {tensor.name!r} is not of {wanted} bytes")
    return tensors


def _measure(tensor: Tensor) -> int:
    """Bytes that its values take."""
    if tensor.element not in ELEMENTS:
        raise ObjectionError(f"constant {tensor.name!r} is of ONNX's type {tensor.element}")
    count = _count_numbers(tensor.name, tensor.dims)
    return count * ELEMENTS[tensor.element][1]


def _count_numbers(name: str, dims: Sides) -> int:
    if len(dims) > MOST_SIDES or min(dims, default=1) < 1 or prod(dims) > LARGEST_VALUE:
        raise ObjectionError(f"{name!r} has the sides {list(dims[:MOST_SIDES])}")
    return prod(dims)


def _check_place(tensor: Tensor, wanted: int, weights_name: str, weights_bytes: int) -> None:
    """The bundle's own file of weights, and within it."""
    external = tensor.external
    location = external.get("location", "")
    if location != weights_name:
        raise ObjectionError(
            f"constant {tensor.name!r} lies in {location[:200]!r}, not in {weights_name}"
        )
    if external.keys() - {"location"} != {"offset", "length"} or tensor.raw is not None:
        raise ObjectionError(
            f"constant {tensor.name!r} does not say where in {weights_name} it lies"
        )
    offset = _read_place(tensor, "offset")
    length = _read_place(tensor, "length")
    if length != wanted:
        raise ObjectionError(f"constant {tensor.name!r} takes {length} bytes; its shape {wanted}")
    if offset + length > weights_bytes:
        raise ObjectionError(
            f"constant {tensor.name!r} ends at byte {offset + length} of {weights_name}, which has "
            f"{weights_bytes}"
        )


def _read_place(tensor: Tensor, key: str) -> int:
    digits = tensor.external[key]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _LONGEST_NUMBER):
        raise ObjectionError(f"constant {tensor.name!r} has the {key} {digits[:40]!r}")
    return int(digits)
