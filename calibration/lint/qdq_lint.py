"""Our own rules for Q/DQ.

NVIDIA's parser refuses some of what breaks them, and takes the rest without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from echoexport.calibration.lint.finding import Finding

if TYPE_CHECKING:
    import onnx

# The axis of a weight's output channels, by the operator that reads it.
CHANNEL_AXES = {"Conv": 0, "MatMul": 1}

# The version of QuantizeLinear that came with fp16 scales.
OLDEST_FP16_OPSET = 19

QUANTIZE = "QuantizeLinear"
DEQUANTIZE = "DequantizeLinear"


def check_qdq(model: onnx.ModelProto) -> Iterator[Finding]:
    """Every rule for Q/DQ that the graph breaks.

    Scales are constants in the graph itself, positive, finite and normal; zero points
    are int8 and 0. Activations have one scale, weights one for each output channel, and
    weights are stored as int8. Each Q is read by its DQ alone. Only the inputs of a
    Conv or MatMul with an int8 weight, and a residual Add's, may be quantized: no bias,
    no attention, no output.
    """
    graph = _Graph(model)
    for node in model.graph.node:
        if node.op_type in (QUANTIZE, DEQUANTIZE):
            yield from _check_scale(node, graph)
            yield from _check_zero_point(node, graph)
        if node.op_type == QUANTIZE:
            yield from _check_quantize(node, graph)
        elif node.op_type == DEQUANTIZE and node.input[0] in graph.constants:
            yield from _check_weight(node, graph)
        elif node.op_type == DEQUANTIZE:
            yield from _check_activation(node, graph)


class _Graph:
    """Who makes and who reads a value."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.outputs = {value.name for value in model.graph.output}

    @cached_property
    def producers(self) -> dict[str, onnx.NodeProto]:
        return {name: node for node in self.model.graph.node for name in node.output}

    @cached_property
    def readers(self) -> dict[str, list[tuple[onnx.NodeProto, int]]]:
        found: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
        for node in self.model.graph.node:
            for place, name in enumerate(node.input):
                found.setdefault(name, []).append((node, place))
        return found

    @cached_property
    def opset(self) -> int:
        return max(
            (one.version for one in self.model.opset_import if one.domain in ("", "ai.onnx")),
            default=0,
        )

    def values(self, name: str) -> np.ndarray | None:
        """A small constant's values; None for what is no constant or lies in a file of its own."""
        from onnx import TensorProto, numpy_helper

        tensor = self.constants.get(name)
        if tensor is None or tensor.data_location == TensorProto.EXTERNAL:
            return None
        return np.asarray(numpy_helper.to_array(tensor))

    def is_int8_weight(self, name: str) -> bool:
        """Whether a value is a dequantized constant."""
        node = self.producers.get(name)
        return node is not None and node.op_type == DEQUANTIZE and node.input[0] in self.constants


def _check_scale(node: onnx.NodeProto, graph: _Graph) -> Iterator[Finding]:
    scale = graph.values(node.input[1])
    if scale is None:
        yield Finding(
            "qdq scale",
            node.name,
            f"{node.input[1]!r} is not a constant that the graph itself holds",
        )
        return
    if not np.isfinite(scale).all() or not (scale > 0).all():
        yield Finding(
            "qdq scale", node.name, f"{node.input[1]!r} must be positive and finite throughout"
        )
    elif scale.dtype.kind == "f" and (scale < np.finfo(scale.dtype).tiny).any():
        yield Finding(
            "qdq scale",
            node.name,
            f"{scale.min():.3g} is a subnormal {scale.dtype}: engines make it 0",
        )
    if scale.dtype == np.float16 and graph.opset < OLDEST_FP16_OPSET:
        detail = f"fp16 scales need opset {OLDEST_FP16_OPSET} or newer, this is {graph.opset}"
        yield Finding("qdq opset", node.name, detail)


def _check_zero_point(node: onnx.NodeProto, graph: _Graph) -> Iterator[Finding]:
    if len(node.input) < 3 or not node.input[2]:
        if node.op_type == QUANTIZE:
            yield Finding(
                "qdq zero point",
                node.name,
                "without one QuantizeLinear gives uint8; an int8 0 is wanted",
            )
        return
    zero = graph.values(node.input[2])
    scale = graph.values(node.input[1])
    if zero is None:
        yield Finding(
            "qdq zero point",
            node.name,
            f"{node.input[2]!r} is not a constant that the graph itself holds",
        )
    elif zero.dtype != np.int8 or zero.any():
        yield Finding(
            "qdq zero point",
            node.name,
            f"must be 0 and int8, is {zero.dtype} {zero.ravel()[:1].tolist()}",
        )
    elif scale is not None and scale.shape != zero.shape:
        yield Finding(
            "qdq zero point", node.name, f"is of shape {zero.shape}, its scale of {scale.shape}"
        )


def _check_quantize(node: onnx.NodeProto, graph: _Graph) -> Iterator[Finding]:
    if node.input[0] in graph.constants:
        yield Finding("qdq weight", node.name, f"{node.input[0]!r} is a constant: store it as int8")
    scale = graph.values(node.input[1])
    if scale is not None and scale.ndim:
        yield Finding(
            "qdq activation",
            node.name,
            f"has {scale.size} scales; an activation has one, without an axis",
        )
    readers = graph.readers.get(node.output[0], [])
    if (
        node.output[0] in graph.outputs
        or not readers
        or any(reader.op_type != DEQUANTIZE for reader, _ in readers)
    ):
        yield Finding(
            "qdq pair", node.name, "a DequantizeLinear and nothing else must read what it gives"
        )


def _check_weight(node: onnx.NodeProto, graph: _Graph) -> Iterator[Finding]:
    from onnx import TensorProto

    tensor = graph.constants[node.input[0]]
    scale = graph.values(node.input[1])
    if tensor.data_type != TensorProto.INT8:
        yield Finding(
            "qdq weight", node.name, f"{tensor.name!r} is {_type_name(tensor)}; int8 is wanted"
        )
    readers = graph.readers.get(node.output[0], [])
    if not readers or node.output[0] in graph.outputs:
        yield Finding("qdq reader", node.name, f"{tensor.name!r} is no layer's weight")
    for reader, place in readers:
        wanted = CHANNEL_AXES.get(reader.op_type)
        if wanted is None or place != 1:
            bias = reader.op_type == "Conv" and place == 2
            what = "a bias" if bias else f"input {place} of a {reader.op_type}"
            detail = f"{tensor.name!r} is {what} of {reader.name}: it stays float"
            yield Finding("qdq reader", node.name, detail)
        elif scale is not None:
            yield from _check_channels(node, tensor, scale, reader=reader)


def _check_channels(
    node: onnx.NodeProto, tensor: onnx.TensorProto, scale: np.ndarray, *, reader: onnx.NodeProto
) -> Iterator[Finding]:
    """One scale for each output channel of a weight."""
    wanted = CHANNEL_AXES[reader.op_type]
    axis = _find_axis(node)
    sides = tuple(tensor.dims)
    if scale.ndim == 1 and axis % max(1, len(sides)) == wanted and scale.size == sides[wanted]:
        return
    found = f"axis {axis} with {scale.size} scales" if scale.ndim else "one scale for all"
    what = f"{tensor.name!r} {list(sides)} of a {reader.op_type}"
    yield Finding("qdq axis", node.name, f"{what}: axis {wanted} is wanted, found {found}")


def _check_activation(node: onnx.NodeProto, graph: _Graph) -> Iterator[Finding]:
    source = graph.producers.get(node.input[0])
    if source is None or source.op_type != QUANTIZE:
        yield Finding(
            "qdq pair", node.name, "what it reads is neither a constant nor from a QuantizeLinear"
        )
    elif list(source.input[1:]) != list(node.input[1:]):
        yield Finding(
            "qdq pair", node.name, f"its scale or zero point is not that of {source.name}"
        )
    if node.output[0] in graph.outputs:
        yield Finding("qdq reader", node.name, "an output of the graph must not be quantized")
    for reader, place in graph.readers.get(node.output[0], []):
        if reader.op_type in CHANNEL_AXES and place == 0:
            if not graph.is_int8_weight(reader.input[1]):
                what = (
                    "its weight is float"
                    if reader.input[1] in graph.constants
                    else "it has no weight (attention?)"
                )
                yield Finding(
                    "qdq reader",
                    node.name,
                    f"{reader.op_type} {reader.name} must stay float: {what}",
                )
        elif reader.op_type != "Add" or any(name in graph.constants for name in reader.input):
            detail = f"input {place} of {reader.op_type} {reader.name} must stay float"
            yield Finding("qdq reader", node.name, detail)


def _find_axis(node: onnx.NodeProto) -> int:
    """ONNX's own default is 1."""
    return next((int(one.i) for one in node.attribute if one.name == "axis"), 1)


def _type_name(tensor: Any) -> str:
    from onnx import TensorProto

    return str(TensorProto.DataType.Name(tensor.data_type)).lower()
