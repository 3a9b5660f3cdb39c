"""An ONNX file as data: its nodes, tensors and values, without what engines never need.

Field numbers are those of onnx.proto, github.com/onnx/onnx.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from echoexport.runtime.bundle.judging.wire import Field, ObjectionError, Wire, read_signed

__all__ = ["AttributeValue", "Described", "GraphFile", "Node", "Sides", "Tensor", "read_graph_file"]

AttributeValue = int | float | bytes | tuple[int, ...] | tuple[float, ...] | tuple[bytes, ...]
Sides = tuple[int, ...]


class Node(NamedTuple):
    """One operation, by the names of the values that it reads and makes."""

    name: str
    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, AttributeValue]


class Tensor(NamedTuple):
    """A constant: its values lie in the file between two places, or in one beside it."""

    name: str
    element: int
    dims: Sides
    raw: tuple[int, int] | None
    listed: bool
    """Its values stand in the file as a list of numbers."""
    external: dict[str, str]
    """What it says of the file beside it; empty where its values lie in this one."""


class Described(NamedTuple):
    """What a graph says of a value's type and shape."""

    name: str
    element: int
    dims: Sides


class GraphFile(NamedTuple):
    """All of it that is judged. Operators go by their domain, "" for ONNX's own."""

    format: int
    opsets: dict[str, int]
    nodes: list[Node]
    tensors: list[Tensor]
    inputs: list[Described]
    outputs: list[Described]
    values: list[Described]


def read_graph_file(content: bytes) -> GraphFile:
    """Take an ONNX file apart.

    Raises:
        ObjectionError: it is cut, damaged or none, or holds what none of our graphs does:
            graphs within a node, functions, training, sequences, sparse tensors.
    """
    return _Reader(content).read_file()


# Tags: the number of a field times 8, and its wire type (0 a number, 2 with a length, 5
# four bytes).
_FILE_FORMAT = 1 << 3
_FILE_GRAPH = 7 << 3 | 2
_FILE_OPSET = 8 << 3 | 2
_NOT_IN_FILES = {20 << 3 | 2: "a graph for training", 25 << 3 | 2: "functions of its own"}
_OPSET_DOMAIN = 1 << 3 | 2
_OPSET_VERSION = 2 << 3
_GRAPH_NODE = 1 << 3 | 2
_GRAPH_TENSOR = 5 << 3 | 2
_GRAPH_VALUES = {11 << 3 | 2: "inputs", 12 << 3 | 2: "outputs", 13 << 3 | 2: "values"}
_NOT_IN_GRAPHS = {14 << 3 | 2: "annotations of quantization", 15 << 3 | 2: "sparse tensors"}
_NODE_INPUT = 1 << 3 | 2
_NODE_OUTPUT = 2 << 3 | 2
_NODE_NAME = 3 << 3 | 2
_NODE_OPERATOR = 4 << 3 | 2
_NODE_ATTRIBUTE = 5 << 3 | 2
_NODE_DOMAIN = 7 << 3 | 2
_TENSOR_DIM = 1 << 3
_TENSOR_DIMS = 1 << 3 | 2
_TENSOR_ELEMENT = 2 << 3
_TENSOR_NAME = 8 << 3 | 2
_TENSOR_RAW = 9 << 3 | 2
_TENSOR_EXTERNAL = 13 << 3 | 2
_TENSOR_LOCATION = 14 << 3
_TENSOR_LISTS = {number << 3 | 2 for number in (4, 5, 6, 7, 10, 11)} | {
    4 << 3 | 5,
    5 << 3,
    7 << 3,
    10 << 3 | 1,
    11 << 3,
}
_TENSOR_SEGMENT = 3 << 3 | 2
_ENTRY_KEY = 1 << 3 | 2
_ENTRY_VALUE = 2 << 3 | 2
_VALUE_NAME = 1 << 3 | 2
_VALUE_TYPE = 2 << 3 | 2
_TYPE_TENSOR = 1 << 3 | 2
_TYPE_NOTE = 6 << 3 | 2
_TENSOR_TYPE_ELEMENT = 1 << 3
_TENSOR_TYPE_SHAPE = 2 << 3 | 2
_SHAPE_DIM = 1 << 3 | 2
_DIM_VALUE = 1 << 3
_DIM_NAME = 2 << 3 | 2
_ATTRIBUTE_NAME = 1 << 3 | 2
_ATTRIBUTE_FLOAT = 2 << 3 | 5
_ATTRIBUTE_INT = 3 << 3
_ATTRIBUTE_TEXT = 4 << 3 | 2
_ATTRIBUTE_FLOATS = 7 << 3 | 2
_ATTRIBUTE_ONE_FLOAT = 7 << 3 | 5
_ATTRIBUTE_INTS = 8 << 3 | 2
_ATTRIBUTE_ONE_INT = 8 << 3
_ATTRIBUTE_TEXTS = 9 << 3 | 2
_ATTRIBUTE_KIND = 20 << 3
_NOT_IN_ATTRIBUTES = {
    5 << 3 | 2: "a tensor",
    6 << 3 | 2: "a graph",
    10 << 3 | 2: "tensors",
    11 << 3 | 2: "graphs",
    14 << 3 | 2: "a type",
    15 << 3 | 2: "types",
    21 << 3 | 2: "the attribute of a function",
    22 << 3 | 2: "a sparse tensor",
    23 << 3 | 2: "sparse tensors",
}
_LARGEST_NODE = 1 << 16  # bytes
_INLINE = 0
_EXTERNAL = 1


class _Reader:
    """Reads one file; what occurs many times in it is read once."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._wire = Wire(content)
        self._attributes: dict[bytes, tuple[str, AttributeValue]] = {}
        self._types: dict[bytes, tuple[int, Sides]] = {}
        self._entries: dict[bytes, tuple[str, str]] = {}

    def read_file(self) -> GraphFile:
        found = GraphFile(0, {}, [], [], [], [], [])
        graphs = 0
        for tag, start, stop in self._wire.read_fields(0, len(self._content)):
            if tag == _FILE_GRAPH:
                graphs += 1
                self._read_graph(found, start, stop)
            elif tag == _FILE_OPSET:
                domain, version = self._read_opset(start, stop)
                found.opsets[domain] = version
            elif tag == _FILE_FORMAT:
                found = found._replace(format=start)
            elif tag in _NOT_IN_FILES:
                raise ObjectionError(f"it holds {_NOT_IN_FILES[tag]}")
        if graphs != 1:
            raise ObjectionError(f"it holds {graphs or 'no'} graph{'s' if graphs else ''}")
        return found

    def _read_opset(self, start: int, stop: int) -> tuple[str, int]:
        domain = ""
        version = 0
        for tag, first, last in self._wire.read_fields(start, stop):
            if tag == _OPSET_DOMAIN:
                domain = self._read_domain(first, last)
            elif tag == _OPSET_VERSION:
                version = read_signed(first)
        return domain, version

    def _read_domain(self, start: int, stop: int) -> str:
        domain = self._wire.read_text(start, stop)
        return "" if domain == "ai.onnx" else domain

    def _read_graph(self, found: GraphFile, start: int, stop: int) -> None:
        for tag, first, last in self._wire.read_fields(start, stop):
            if tag == _GRAPH_NODE:
                found.nodes.append(self._read_node(first, last))
            elif tag in _GRAPH_VALUES:
                getattr(found, _GRAPH_VALUES[tag]).append(self._read_value(first, last))
            elif tag == _GRAPH_TENSOR:
                found.tensors.append(self._read_tensor(first, last))
            elif tag in _NOT_IN_GRAPHS:
                raise ObjectionError(f"it holds {_NOT_IN_GRAPHS[tag]}")

    def _read_node(self, start: int, stop: int) -> Node:
        if stop - start > _LARGEST_NODE:
            raise ObjectionError(f"a node takes {stop - start} bytes")
        content = self._content
        name = operator = domain = ""
        inputs: list[str] = []
        outputs: list[str] = []
        attributes: dict[str, AttributeValue] = {}
        try:
            for tag, first, last in self._wire.read_fields(start, stop):
                if tag == _NODE_INPUT:
                    inputs.append(str(content[first:last], "utf-8"))
                elif tag == _NODE_OUTPUT:
                    outputs.append(str(content[first:last], "utf-8"))
                elif tag == _NODE_ATTRIBUTE:
                    key, value = self._find_attribute(first, last)
                    if key in attributes:
                        raise ObjectionError(f"node {name!r} has two attributes {key!r}")
                    attributes[key] = value
                elif tag == _NODE_NAME:
                    name = str(content[first:last], "utf-8")
                elif tag == _NODE_OPERATOR:
                    operator = str(content[first:last], "utf-8")
                elif tag == _NODE_DOMAIN:
                    domain = self._read_domain(first, last)
        except UnicodeDecodeError:
            raise ObjectionError("a name in a node is no text") from None
        return Node(name, operator, domain, tuple(inputs), tuple(outputs), attributes)

    def _find_attribute(self, start: int, stop: int) -> tuple[str, AttributeValue]:
        key = self._content[start:stop]
        found = self._attributes.get(key)
        if found is None:
            found = self._attributes[key] = self._read_attribute(start, stop)
        return found

    def _read_attribute(self, start: int, stop: int) -> tuple[str, AttributeValue]:
        fields = self._wire.read_fields(start, stop)
        name = ""
        kind = 0
        for tag, first, last in fields:
            if tag == _ATTRIBUTE_NAME:
                name = self._wire.read_text(first, last)
            elif tag == _ATTRIBUTE_KIND:
                kind = first
            elif tag in _NOT_IN_ATTRIBUTES:
                raise ObjectionError(f"a node holds {_NOT_IN_ATTRIBUTES[tag]} in an attribute")
        readers: dict[int, Callable[[list[Field]], AttributeValue]] = {
            1: self._read_float,
            2: self._read_int,
            3: self._read_bytes,
            6: self._read_floats,
            7: self._read_ints,
            8: self._read_texts,
        }
        if kind not in readers:
            raise ObjectionError(f"attribute {name!r} of a node is of kind {kind}")
        return name, readers[kind](fields)

    def _read_float(self, fields: list[Field]) -> float:
        places = [first for tag, first, _ in fields if tag == _ATTRIBUTE_FLOAT]
        return struct.unpack_from("<f", self._content, places[-1])[0] if places else 0.0

    def _read_int(self, fields: list[Field]) -> int:
        values = [first for tag, first, _ in fields if tag == _ATTRIBUTE_INT]
        return read_signed(values[-1]) if values else 0

    def _read_bytes(self, fields: list[Field]) -> bytes:
        texts = [(first, last) for tag, first, last in fields if tag == _ATTRIBUTE_TEXT]
        return self._content[slice(*texts[-1])] if texts else b""

    def _read_floats(self, fields: list[Field]) -> tuple[float, ...]:
        parts = [
            self._content[first:last]
            for tag, first, last in fields
            if tag in (_ATTRIBUTE_FLOATS, _ATTRIBUTE_ONE_FLOAT)
        ]
        joined = b"".join(parts)
        if len(joined) % 4:
            raise ObjectionError("a list of numbers in an attribute is cut")
        return struct.unpack(f"<{len(joined) // 4}f", joined)

    def _read_ints(self, fields: list[Field]) -> tuple[int, ...]:
        return self._read_whole(fields, one=_ATTRIBUTE_ONE_INT, many=_ATTRIBUTE_INTS)

    def _read_texts(self, fields: list[Field]) -> tuple[bytes, ...]:
        return tuple(
            self._content[first:last] for tag, first, last in fields if tag == _ATTRIBUTE_TEXTS
        )

    def _read_whole(self, fields: list[Field], *, one: int, many: int) -> tuple[int, ...]:
        """Whole numbers of a list, which stand each by itself or one behind the other."""
        values: list[int] = []
        for tag, first, last in fields:
            if tag == one:
                values.append(read_signed(first))
            elif tag == many:
                values.extend(self._wire.read_numbers(first, last))
        return tuple(values)

    def _read_tensor(self, start: int, stop: int) -> Tensor:
        fields = self._wire.read_fields(start, stop)
        name = ""
        element = location = 0
        raw = None
        listed = False
        external: dict[str, str] = {}
        for tag, first, last in fields:
            if tag == _TENSOR_NAME:
                name = self._wire.read_text(first, last)
            elif tag == _TENSOR_ELEMENT:
                element = first
            elif tag == _TENSOR_RAW:
                raw = (first, last)
            elif tag == _TENSOR_EXTERNAL:
                key, value = self._find_entry(first, last)
                if key in external:
                    raise ObjectionError(f"tensor {name!r} names its {key} twice")
                external[key] = value
            elif tag == _TENSOR_LOCATION:
                location = first
            elif tag in _TENSOR_LISTS:
                listed = True
            elif tag == _TENSOR_SEGMENT:
                raise ObjectionError(f"tensor {name!r} is one part of several")
        if location == _INLINE and raw is not None:
            # where they lay before: ONNX Runtime 1.21 leaves it on what it has taken in
            external = {}
        if location not in (_INLINE, _EXTERNAL) or (location == _EXTERNAL) != bool(external):
            raise ObjectionError(f"tensor {name!r} does not say where it lies")
        dims = self._read_whole(fields, one=_TENSOR_DIM, many=_TENSOR_DIMS)
        return Tensor(name, element, dims, raw, listed, external)

    def _find_entry(self, start: int, stop: int) -> tuple[str, str]:
        content = self._content[start:stop]
        found = self._entries.get(content)
        if found is None:
            key = value = ""
            for tag, first, last in self._wire.read_fields(start, stop):
                if tag == _ENTRY_KEY:
                    key = self._wire.read_text(first, last)
                elif tag == _ENTRY_VALUE:
                    value = self._wire.read_text(first, last)
            found = self._entries[content] = (key, value)
        return found

    def _read_value(self, start: int, stop: int) -> Described:
        name = ""
        kind = None
        for tag, first, last in self._wire.read_fields(start, stop):
            if tag == _VALUE_NAME:
                name = self._wire.read_text(first, last)
            elif tag == _VALUE_TYPE:
                if kind is not None:
                    raise ObjectionError(f"value {name!r} has two types")
                kind = self._content[first:last]
                element, dims = self._types.get(kind) or self._find_type(kind, first)
        if kind is None:
            raise ObjectionError(f"value {name!r} has no type")
        return Described(name, element, dims)

    def _find_type(self, kind: bytes, start: int) -> tuple[int, Sides]:
        found = self._types[kind] = self._read_type(start, start + len(kind))
        return found

    def _read_type(self, start: int, stop: int) -> tuple[int, Sides]:
        """Element type and sides of a tensor; a side that is not known is -1."""
        found = [one for one in self._wire.read_fields(start, stop) if one[0] != _TYPE_NOTE]
        if [tag for tag, _, _ in found] != [_TYPE_TENSOR]:
            raise ObjectionError("a value in it is no tensor")
        element = 0
        shapes = []
        for tag, first, last in self._wire.read_fields(*found[0][1:]):
            if tag == _TENSOR_TYPE_ELEMENT:
                element = first
            elif tag == _TENSOR_TYPE_SHAPE:
                shapes.append((first, last))
        if len(shapes) != 1:
            raise ObjectionError("a value in it has no shape, or more than one")
        sides = self._wire.read_fields(*shapes[0])
        return element, tuple(
            self._read_side(first, last) for tag, first, last in sides if tag == _SHAPE_DIM
        )

    def _read_side(self, start: int, stop: int) -> int:
        side = -1
        for tag, first, _ in self._wire.read_fields(start, stop):
            if tag == _DIM_VALUE:
                side = read_signed(first)
            elif tag == _DIM_NAME:
                side = -1
        return side
