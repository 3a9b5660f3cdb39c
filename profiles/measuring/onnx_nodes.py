"""Nodes and parameter names of an ONNX file, read without the onnx package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from echoexport.runtime.errors import GraphError

__all__ = ["GraphNode", "OnnxGraph", "read_graph"]

# Field numbers of onnx.proto3, and wire types of the Protocol Buffers encoding.
_MODEL_GRAPH = 7
_GRAPH_NODE = 1
_GRAPH_INITIALIZER = 5
_TENSOR_NAME = 8
_NODE_INPUT = 1
_NODE_OUTPUT = 2
_NODE_NAME = 3
_NODE_OPERATOR = 4
_VARINT = 0
_EIGHT_BYTES = 1
_DELIMITED = 2
_FOUR_BYTES = 5


@dataclass(frozen=True)
class GraphNode:
    """A node: its name, operator, and the names of the values that it reads and makes."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class OnnxGraph:
    """Nodes in their order, and the names of what is stored with them: weights and constants."""

    nodes: tuple[GraphNode, ...] = ()
    parameters: frozenset[str] = frozenset()


def read_graph(path: Path) -> OnnxGraph:
    """The graph of an ONNX file, without its subgraphs.

    Raises:
        GraphError: the file cannot be read, is cut, or holds no graph.
    """
    try:
        content = memoryview(path.read_bytes())
        graphs = _find_fields(content, _MODEL_GRAPH)
        nodes = tuple(
            _read_node(node) for graph in graphs for node in _find_fields(graph, _GRAPH_NODE)
        )
        tensors = (tensor for graph in graphs for tensor in _find_fields(graph, _GRAPH_INITIALIZER))
        parameters = frozenset(
            str(name, "utf-8") for tensor in tensors for name in _find_fields(tensor, _TENSOR_NAME)
        )
    except OSError as error:
        raise GraphError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, IndexError) as error:
        raise GraphError(f"{path}: not a readable ONNX file: {error}") from error
    if not nodes:
        raise GraphError(f"{path}: holds no graph; an ONNX file is wanted")
    return OnnxGraph(nodes, parameters)


def _read_node(content: memoryview) -> GraphNode:
    fields: dict[int, list[str]] = {
        _NODE_INPUT: [],
        _NODE_OUTPUT: [],
        _NODE_NAME: [],
        _NODE_OPERATOR: [],
    }
    for number, value in _read_fields(content):
        if number in fields:
            fields[number].append(str(value, "utf-8"))
    name, operator = ("".join(fields[number][-1:]) for number in (_NODE_NAME, _NODE_OPERATOR))
    return GraphNode(name, operator, tuple(fields[_NODE_INPUT]), tuple(fields[_NODE_OUTPUT]))


def _find_fields(content: memoryview, wanted: int) -> list[memoryview]:
    return [value for number, value in _read_fields(content) if number == wanted]


def _read_fields(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field that has a length.

    Numbers of a fixed size are passed over. Source: "Encoding",
    protobuf.dev/programming-guides/encoding.
    """
    place = 0
    while place < len(content):
        tag, place = _read_varint(content, place)
        wire = tag & 7
        if wire == _DELIMITED:
            length, place = _read_varint(content, place)
            if place + length > len(content):
                raise ValueError("it ends too early")
            yield tag >> 3, content[place : place + length]
            place += length
        elif wire == _VARINT:
            _, place = _read_varint(content, place)
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            place += 8 if wire == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"wire type {wire} is none")


def _read_varint(content: memoryview, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first, and the place after it."""
    value = shift = 0
    while True:
        byte = content[place]
        value |= (byte & 0x7F) << shift
        place = place + 1
        shift = shift + 7
        if byte < 0x80:
            return value, place
        if shift > 63:
            raise ValueError("a number has no end")
