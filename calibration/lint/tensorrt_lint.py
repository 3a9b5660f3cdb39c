"""What the ONNX parsers of TensorRT 10.3, 10.16 and 11.4 refuse, found without them.

Operators, types and limits.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from echoexport.calibration.lint.finding import Finding
from echoexport.calibration.lint.operator_limits import LIMITS
from echoexport.calibration.lint.tensorrt_operators import (
    LARGE_VOLUMES,
    REPLACEMENTS,
    ParserLine,
    find_line,
)
from echoexport.calibration.lint.typed_graph import DOMAINS, TypedGraph

if TYPE_CHECKING:
    import onnx

_LARGEST_MESSAGE = 2**31 - 1
"""Bytes of a protobuf message at most: no library reads a longer one."""

_MOST_AXES = 8  # nvinfer1::Dims::MAX_DIMS
_OLDEST_OPSET = 9

# Operators whose inputs at these places must be of one type: a strongly typed network
# converts nothing by itself.
_SAME_TYPE = {
    "Add": (0, 1),
    "Sub": (0, 1),
    "Mul": (0, 1),
    "Div": (0, 1),
    "MatMul": (0, 1),
    "Greater": (0, 1),
    "Less": (0, 1),
    "Conv": (0, 1, 2),
    "Gemm": (0, 1, 2),
    "InstanceNormalization": (0, 1, 2),
    "LayerNormalization": (0, 1, 2),
    "GroupNormalization": (0, 1, 2),
    "Where": (1, 2),
}

# Inputs that are no values to compute with: shapes, scales and the like.
_FIRST_ONLY = frozenset(
    {
        "CumSum",
        "DequantizeLinear",
        "Expand",
        "Gather",
        "GatherElements",
        "GatherND",
        "Pad",
        "QuantizeLinear",
        "Reshape",
        "Resize",
        "Slice",
        "Split",
        "Squeeze",
        "Tile",
        "TopK",
        "Trilu",
        "Unsqueeze",
    }
)


def check_tensorrt(model: onnx.ModelProto, versions: Iterable[str]) -> list[Finding]:
    """What the parsers of these versions ("10.3", "10.16.2") would refuse.

    One finding where several refuse alike.

    Raises:
        GraphError: a version that is older than 10.3.
    """
    graph = TypedGraph(model)
    merged = dict[Finding, list[str]]()
    for line in dict.fromkeys(find_line(version) for version in versions):
        for finding in _check_line(graph, line):
            merged.setdefault(finding, []).append(line.name)
    return [
        replace(finding, library=f"TensorRT {', '.join(lines)}")
        for finding, lines in merged.items()
    ]


def _check_line(graph: TypedGraph, line: ParserLine) -> Iterator[Finding]:
    yield from _check_opset(graph, line)
    yield from _check_storage(graph.model)
    yield from _check_interface(graph)
    for node in graph.model.graph.node:
        types = line.find_types(node.op_type)
        if types is None or node.domain not in DOMAINS:
            yield _refuse_operator(node)
            continue
        yield from _check_types(node, graph, types)
        yield from _check_volumes(node, graph, line)
        for check in LIMITS.get(node.op_type, ()):
            yield from check(node, graph, line)


def _check_opset(graph: TypedGraph, line: ParserLine) -> Iterator[Finding]:
    if not _OLDEST_OPSET <= graph.opset <= line.opset:
        detail = f"opset {graph.opset}; {_OLDEST_OPSET} to {line.opset} are parsed"
        yield Finding("parser opset", "model", detail, fix="export at opset 20")


def _check_storage(model: onnx.ModelProto) -> Iterator[Finding]:
    """The message can be read, and its weights lie beside it wherever the folder goes."""
    if _measure_message(model) > _LARGEST_MESSAGE:
        detail = f"the file would be larger than {_LARGEST_MESSAGE} bytes"
        yield Finding(
            "parser size", "model", detail, fix="keep the weights in a file beside the graph"
        )
    for tensor in model.graph.initializer:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if not entries:
            continue
        place = PurePosixPath(entries.get("location", ""))
        if not place.name or place.is_absolute() or ".." in place.parts or "\\" in str(place):
            detail = f"its data lie at {str(place)!r}"
            yield Finding(
                "external data",
                tensor.name,
                detail,
                fix="name a file beside the graph, without a folder",
            )
        wanted = math.prod(tensor.dims) * _size_of(tensor.data_type)
        if "length" in entries and entries["length"] != str(wanted):
            detail = f"{entries['length']} bytes of data for {wanted}"
            yield Finding("external data", tensor.name, detail, fix="write the weights again")


def _check_interface(graph: TypedGraph) -> Iterator[Finding]:
    """Engines are built for static shapes."""
    for value in (*graph.model.graph.input, *graph.model.graph.output):
        sides = graph.values[value.name].sides
        if any(side < 1 for side in sides):
            yield Finding(
                "static shape",
                value.name,
                f"is said to be {list(sides)}",
                fix="export for one size",
            )


def _refuse_operator(node: onnx.NodeProto) -> Finding:
    if node.domain not in DOMAINS:
        return Finding(
            "parser operator",
            node.name,
            f"{node.domain}.{node.op_type} is a plugin",
            fix="use operators of ONNX's own",
        )
    fix = REPLACEMENTS.get(node.op_type, "export it with operators that the parser has")
    return Finding("parser operator", node.name, f"{node.op_type} is not parsed", fix=fix)


def _check_types(
    node: onnx.NodeProto, graph: TypedGraph, types: Collection[str]
) -> Iterator[Finding]:
    names = list(node.input[:1]) if node.op_type in _FIRST_ONLY else list(node.input)
    names = names[1:] if node.op_type == "Where" else names
    for name in filter(None, dict.fromkeys(names)):
        found = graph.type_of(name)
        if found and found not in types:
            detail = f"{node.op_type} of {found} {name!r}; it takes {', '.join(sorted(types))}"
            yield Finding("parser type", node.name, detail, fix=_explain_type(node.op_type, found))
    seen = {
        graph.type_of(node.input[place]): node.input[place]
        for place in _SAME_TYPE.get(node.op_type, ())
        if place < len(node.input) and node.input[place] and graph.type_of(node.input[place])
    }
    if len(seen) > 1:
        mixed = " and ".join(f"{dtype} {name!r}" for dtype, name in sorted(seen.items()))
        yield Finding(
            "mixed types",
            node.name,
            f"{node.op_type} of {mixed}",
            fix="put a Cast before one of them",
        )


def _explain_type(operator: str, found: str) -> str:
    if operator == "DequantizeLinear" and found == "int32":
        return "leave the bias in float"
    if found == "uint8" or operator in ("QuantizeLinear", "DequantizeLinear"):
        return "quantize symmetrically, to int8"
    return "put a Cast before it"


def _check_volumes(node: onnx.NodeProto, graph: TypedGraph, line: ParserLine) -> Iterator[Finding]:
    for name in filter(None, node.output):
        sides = graph.sides_of(name)
        if sides is None:
            continue
        if len(sides) > _MOST_AXES:
            yield Finding(
                "rank",
                node.name,
                f"{name!r} has {len(sides)} axes, more than {_MOST_AXES}",
                fix="reshape",
            )
        if math.prod(sides) > 2**31 - 1 and line.version < LARGE_VOLUMES:
            detail = f"{name!r} has {math.prod(sides)} values, more than 2**31 - 1"
            yield Finding("volume", node.name, detail, fix="a smaller picture or window")


def _measure_message(model: onnx.ModelProto) -> int:
    """Bytes; protobuf itself cannot count a message that is too large."""
    raw = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    return raw if raw > _LARGEST_MESSAGE else model.ByteSize()


def _size_of(kind: int) -> int:
    from onnx import helper

    return int(helper.tensor_dtype_to_np_dtype(kind).itemsize)
