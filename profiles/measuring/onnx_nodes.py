"""Nodes and parameter names of an ONNX file, read without the onnx package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from echoexport.runtime.bundle.judging.wire import ObjectionError, Wire
from echoexport.runtime.errors import GraphError

__all__ = ["GraphNode", "OnnxGraph", "read_graph"]

# Fields of onnx.proto: their numbers times 8, and 2 for those that have a length.
_MODEL_GRAPH = 7 << 3 | 2
_GRAPH_NODE = 1 << 3 | 2
_GRAPH_INITIALIZER = 5 << 3 | 2
_TENSOR_NAME = 8 << 3 | 2
_NODE_INPUT = 1 << 3 | 2
_NODE_OUTPUT = 2 << 3 | 2
_NODE_NAME = 3 << 3 | 2
_NODE_OPERATOR = 4 << 3 | 2


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
        nodes, parameters = _read_parts(path.read_bytes())
    except OSError as error:
        raise GraphError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ObjectionError as error:
        raise GraphError(f"{path}: not a readable ONNX file: {error}") from error
    if not nodes:
        raise GraphError(f"{path}: holds no graph; an ONNX file is wanted")
    return OnnxGraph(tuple(nodes), frozenset(parameters))


def _read_parts(content: bytes) -> tuple[list[GraphNode], set[str]]:
    """The nodes, and the names of the tensors."""
    wire = Wire(content)
    nodes = []
    names = set()
    for graph in _find_fields(wire, (0, len(content)), _MODEL_GRAPH):
        nodes += [_read_node(wire, node) for node in _find_fields(wire, graph, _GRAPH_NODE)]
        for tensor in _find_fields(wire, graph, _GRAPH_INITIALIZER):
            names |= {wire.read_text(*name) for name in _find_fields(wire, tensor, _TENSOR_NAME)}
    return nodes, names


def _read_node(wire: Wire, place: tuple[int, int]) -> GraphNode:
    fields: dict[int, list[str]] = {
        _NODE_INPUT: [],
        _NODE_OUTPUT: [],
        _NODE_NAME: [],
        _NODE_OPERATOR: [],
    }
    for tag, start, stop in wire.read_fields(*place):
        if tag in fields:
            fields[tag].append(wire.read_text(start, stop))
    name, operator = ("".join(fields[tag][-1:]) for tag in (_NODE_NAME, _NODE_OPERATOR))
    return GraphNode(name, operator, tuple(fields[_NODE_INPUT]), tuple(fields[_NODE_OUTPUT]))


def _find_fields(wire: Wire, place: tuple[int, int], wanted: int) -> list[tuple[int, int]]:
    return [(start, stop) for tag, start, stop in wire.read_fields(*place) if tag == wanted]
