"""What TensorRT's parsers refuse of single operators: modes, axes, types and inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from echoexport.calibration.lint.finding import Finding
from echoexport.calibration.lint.tensorrt_operators import PAD_AXES, ParserLine
from echoexport.calibration.lint.typed_graph import TypedGraph, name_type, read_attributes

if TYPE_CHECKING:
    import onnx

__all__ = ["LIMITS", "LimitCheck"]

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
LimitCheck = Callable[["onnx.NodeProto", TypedGraph, ParserLine], Iterator[Finding]]


def _check_resize(node: onnx.NodeProto, graph: TypedGraph, line: ParserLine) -> Iterator[Finding]:
    given = read_attributes(node)
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
    mode = read_attributes(node).get("mode", "constant")
    if mode not in _PAD_MODES:
        yield Finding(
            "pad", node.name, f"mode {mode!r} is not parsed", fix=f"use {' or '.join(_PAD_MODES)}"
        )
    if len(node.input) > 3 and node.input[3] and line.version < PAD_AXES:
        yield Finding("pad", node.name, "names its axes in an input", fix="give pads of all axes")


def _check_cast(node: onnx.NodeProto, graph: TypedGraph, line: ParserLine) -> Iterator[Finding]:
    from onnx import TensorProto

    kind = read_attributes(node).get("to", TensorProto.UNDEFINED)
    types = line.find_types("Cast") or ()
    target = name_type(kind)
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
    if any(step != 1 for step in read_attributes(node).get("dilations", [])):
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
    if read_attributes(node).get("block_size", 0):
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
LIMITS: dict[str, tuple[LimitCheck, ...]] = {
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
