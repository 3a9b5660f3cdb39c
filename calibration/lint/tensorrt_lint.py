"""What the ONNX parsers of TensorRT 10.3, 10.16 and 11.4 refuse, found without them.

Operators, types and limits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from echoexport.calibration.lint.finding import Finding
from echoexport.calibration.lint.tensorrt_operators import (
    LARGE_VOLUMES,
    PAD_AXES,
    REPLACEMENTS,
    ParserLine,
    find_line,
)

if TYPE_CHECKING:
    import onnx

LARGEST_MESSAGE = 2**31 - 1
"""Bytes of a protobuf message at most: no library reads a longer one."""

_MOST_AXES = 8  # nvinfer1::Dims::MAX_DIMS
_OLDEST_OPSET = 9
_DOMAINS = ("", "ai.onnx")

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

_RESIZE = {
    "coordinate_transformation_mode": (
        ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners"),
        "half_pixel",
    ),
    "mode": (("nearest", "linear"), "nearest"),
    "nearest_mode": (
        ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"),
        "round_prefer_floor",
    ),
    "antialias": ((0,), 0),
    "keep_aspect_ratio_policy": (("stretch",), "stretch"),
}
_PAD_MODES = ("constant", "reflect", "edge", "wrap")


@dataclass(frozen=True)
class Value:
    """Type name ("" where it is not known) and sides of a value; a side that is not known is 0."""

    dtype: str
    sides: tuple[int, ...]


class TypedGraph:
    """A graph with the type of every value, as far as ONNX infers it."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}

    @cached_property
    def values(self) -> dict[str, Value]:
        """By name: inputs, constants, outputs, and what nodes give."""
        found = dict(_list_values(self.model))
        if any(
            name and name not in found for node in self.model.graph.node for name in node.output
        ):
            found = {**dict(_list_values(_infer(self.model))), **found}
        return found

    @property
    def opset(self) -> int:
        """Version of the default operators, 0 for none."""
        return max(
            (one.version for one in self.model.opset_import if one.domain in _DOMAINS), default=0
        )

    def type_of(self, name: str) -> str:
        """A value's type name, "" for none that is known."""
        return self.values[name].dtype if name in self.values else ""

    def sides_of(self, name: str) -> tuple[int, ...] | None:
        """A value's sides, None where even their number is not known."""
        return self.values[name].sides if name in self.values else None


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
        if types is None or node.domain not in _DOMAINS:
            yield _refuse_operator(node)
            continue
        yield from _check_types(node, graph, types)
        yield from _check_volumes(node, graph, line)
        for check in _LIMITS.get(node.op_type, ()):
            yield from check(node, graph, line)


def _check_opset(graph: TypedGraph, line: ParserLine) -> Iterator[Finding]:
    if not _OLDEST_OPSET <= graph.opset <= line.opset:
        detail = f"opset {graph.opset}; {_OLDEST_OPSET} to {line.opset} are parsed"
        yield Finding("parser opset", "model", detail, fix="export at opset 20")


def _check_storage(model: onnx.ModelProto) -> Iterator[Finding]:
    """The message can be read, and its weights lie beside it wherever the folder goes."""
    if _measure_message(model) > LARGEST_MESSAGE:
        detail = f"the file would be larger than {LARGEST_MESSAGE} bytes"
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
    if node.domain not in _DOMAINS:
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


Check = Callable[["onnx.NodeProto", TypedGraph, ParserLine], Iterator[Finding]]


def _check_resize(node: onnx.NodeProto, graph: TypedGraph, line: ParserLine) -> Iterator[Finding]:
    given = _attributes(node)
    for key, (allowed, default) in _RESIZE.items():
        if given.get(key, default) not in allowed:
            fix = f"use {' or '.join(map(str, allowed))}"
            yield Finding("resize", node.name, f"{key} {given[key]!r} is not parsed", fix=fix)
    if "axes" in given:
        yield Finding(
            "resize", node.name, "scales some axes only", fix="name scales or sizes of all axes"
        )
    if len(node.input) > 1 and node.input[1]:
        yield Finding("resize", node.name, "crops a region", fix="leave the region out")


def _check_pad(node: onnx.NodeProto, graph: TypedGraph, line: ParserLine) -> Iterator[Finding]:
    mode = _attributes(node).get("mode", "constant")
    if mode not in _PAD_MODES:
        yield Finding(
            "pad", node.name, f"mode {mode!r} is not parsed", fix=f"use {' or '.join(_PAD_MODES)}"
        )
    if len(node.input) > 3 and node.input[3] and line.version < PAD_AXES:
        yield Finding("pad", node.name, "names its axes in an input", fix="give pads of all axes")


def _check_cast(node: onnx.NodeProto, graph: TypedGraph, line: ParserLine) -> Iterator[Finding]:
    from onnx import TensorProto

    kind = _attributes(node).get("to", TensorProto.UNDEFINED)
    types = line.find_types("Cast") or ()
    target = _name_type(kind)
    if target not in types:
        detail = f"to {target or 'an unknown type'}; {', '.join(sorted(types))} are parsed"
        yield Finding(
            "cast", node.name, detail, fix="int8 comes from QuantizeLinear only, float64 not at all"
        )


def _check_normalization(
    node: onnx.NodeProto, graph: TypedGraph, line: ParserLine
) -> Iterator[Finding]:
    if any(node.output[1:]):
        yield Finding(
            "normalization",
            node.name,
            "gives more than the normalized value",
            fix="drop the other outputs",
        )
    sides = graph.sides_of(node.input[0])
    if node.op_type == "InstanceNormalization" and sides is not None and not 3 <= len(sides) <= 5:
        detail = f"over {len(sides)} axes; 3 to 5 are parsed"
        yield Finding(
            "normalization", node.name, detail, fix="reshape to (n, channels, values) before it"
        )


def _check_conv(node: onnx.NodeProto, graph: TypedGraph, line: ParserLine) -> Iterator[Finding]:
    sides = graph.sides_of(node.input[0])
    if sides is not None and not 3 <= len(sides) <= 5:
        yield Finding(
            "conv",
            node.name,
            f"over {len(sides) - 2} axes; 1 to 3 are parsed",
            fix="reshape before it",
        )


def _check_pool(node: onnx.NodeProto, graph: TypedGraph, line: ParserLine) -> Iterator[Finding]:
    if any(step != 1 for step in _attributes(node).get("dilations", [])):
        yield Finding("pool", node.name, "with dilations", fix="pool without them")
    if any(node.output[1:]):
        yield Finding("pool", node.name, "gives indices", fix="drop them")


def _check_constant_input(
    node: onnx.NodeProto, graph: TypedGraph, line: ParserLine
) -> Iterator[Finding]:
    """Axes, shapes and sizes that an engine of static shapes must know when it is built."""
    for name in node.input[1:]:
        if name and name not in graph.constants:
            detail = f"{node.op_type} takes its {name!r} from data"
            yield Finding("constant input", node.name, detail, fix="fold it on the host")


def _check_blocks(node: onnx.NodeProto, graph: TypedGraph, line: ParserLine) -> Iterator[Finding]:
    if _attributes(node).get("block_size", 0):
        yield Finding(
            "qdq block",
            node.name,
            "scales blocks of an axis",
            fix="one scale per channel, or one for all",
        )


_SHAPED = (
    "Expand",
    "Pad",
    "Reshape",
    "Resize",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "Unsqueeze",
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
)
_LIMITS: dict[str, tuple[Check, ...]] = {
    **dict.fromkeys(_SHAPED, (_check_constant_input,)),
    "Resize": (_check_constant_input, _check_resize),
    "Pad": (_check_constant_input, _check_pad),
    "Cast": (_check_cast,),
    "InstanceNormalization": (_check_normalization,),
    "LayerNormalization": (_check_normalization,),
    "Conv": (_check_conv,),
    "ConvTranspose": (_check_conv,),
    "MaxPool": (_check_pool,),
    "AveragePool": (_check_pool,),
    "QuantizeLinear": (_check_constant_input, _check_blocks),
    "DequantizeLinear": (_check_constant_input, _check_blocks),
}


def _list_values(model: onnx.ModelProto) -> Iterator[tuple[str, Value]]:
    for tensor in model.graph.initializer:
        yield tensor.name, Value(_name_type(tensor.data_type), tuple(tensor.dims))
    for info in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        kind = info.type.tensor_type
        yield (
            info.name,
            Value(_name_type(kind.elem_type), tuple(side.dim_value for side in kind.shape.dim)),
        )


def _infer(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with what ONNX infers; as it is where that fails, which the type rule reports."""
    from onnx import shape_inference

    try:
        return shape_inference.infer_shapes(model)
    except Exception:  # its errors are classes of a C++ module, without a common base
        return model


def _measure_message(model: onnx.ModelProto) -> int:
    """Bytes; protobuf itself cannot count a message that is too large."""
    raw = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    return raw if raw > LARGEST_MESSAGE else model.ByteSize()


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    from onnx import helper

    given = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    return {
        name: value.decode() if isinstance(value, bytes) else value for name, value in given.items()
    }


def _name_type(kind: int) -> str:
    """numpy's name of an ONNX type, "" for what numpy has none of; 4-bit and 8-bit floats too."""
    from onnx import TensorProto

    if kind == TensorProto.UNDEFINED:
        return ""
    name = str(TensorProto.DataType.Name(kind)).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)


def _size_of(kind: int) -> int:
    from onnx import helper

    return int(helper.tensor_dtype_to_np_dtype(kind).itemsize)
