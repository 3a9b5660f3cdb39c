"""Numbers that lie in a graph itself, where shapes are made of them."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from echoexport.runtime.bundle.judging.graph_file import Node, Tensor
from echoexport.runtime.bundle.judging.wire import ObjectionError

__all__ = ["Constants"]

_FLOAT32 = 1
_INT64 = 7
_LONGEST_LIST = 4096


class Constants:
    """Lists of numbers by name, read when they are asked for."""

    def __init__(self, content: bytes, tensors: Mapping[str, Tensor]) -> None:
        self._content = content
        self._tensors = tensors
        self._integers: dict[str, tuple[int, ...]] = {}

    def read_integers(self, node: Node, place: int) -> tuple[int, ...]:
        """The whole numbers that a node is given at a place.

        Raises:
            ObjectionError: they are none, too many, or come out of data.
        """
        name = node.inputs[place]
        if name not in self._integers:
            content = self._find(name, element=_INT64)
            self._integers[name] = struct.unpack(f"<{len(content) // 8}q", content)
        return self._integers[name]

    def read_floats(self, node: Node, place: int) -> tuple[float, ...]:
        """The same of numbers in fp32."""
        content = self._find(node.inputs[place], element=_FLOAT32)
        return struct.unpack(f"<{len(content) // 4}f", content)

    def _find(self, name: str, *, element: int) -> bytes:
        tensor = self._tensors.get(name)
        if tensor is None or tensor.raw is None or tensor.element != element:
            raise ObjectionError(f"it takes {name!r} from no list of constants in the file")
        start, stop = tensor.raw
        if len(tensor.dims) > 1 or stop - start > 8 * _LONGEST_LIST:
            raise ObjectionError(f"{name!r} is no short list of numbers")
        return self._content[start:stop]
