"""Linear layers, convolutions and norms as ONNX operators."""

from __future__ import annotations

import math
from typing import Any

from torch.fx import Node

from echoexport.export.subnets.lowering.lowered import Lowered, Lowerings, argument, shape_of
from echoexport.runtime.errors import GraphError

LAYERS = Lowerings()

_CONVOLUTION = ((3, "stride", 1), (4, "padding", 0), (5, "dilation", 1))


@LAYERS.enter("aten.linear.default")
def _linear(g: Lowered, node: Node) -> str:
    """MatMul with the weight stored as (in, out).

    The layout that per-channel quantization wants on axis 1.
    """
    if node.args[1] not in g.transposed:
        raise GraphError(
            f"the weight of {node.name} is computed; only a parameter is stored transposed"
        )
    x = g.value(node.args[0])
    weight = g.value(node.args[1])
    bias = argument(node, 2, "bias")
    y = g.builder.add(
        "MatMul",
        [x, weight],
        name=f"{node.name}.matmul" if bias else node.name,
        shape=shape_of(node),
    )
    return y if bias is None else g.add("Add", [y, g.value(bias)], node)


@LAYERS.enter("aten.matmul.default")
def _product(g: Lowered, node: Node) -> str:
    """Of two computed matrices, or of stacks of them."""
    return g.add("MatMul", [g.value(factor) for factor in node.args[:2]], node)


@LAYERS.enter("aten.conv2d.default", "aten.conv1d.default")
def _convolution(g: Lowered, node: Node) -> str:
    rank = len(shape_of(node)) - 2
    stride, padding, dilation = (
        _per_axis(argument(node, i, n, d), rank) for i, n, d in _CONVOLUTION
    )
    inputs = [g.value(node.args[0]), g.value(node.args[1])]
    bias = argument(node, 2, "bias")
    inputs += [] if bias is None else [g.value(bias)]
    kernel = list(shape_of(node.args[1])[2:])  # type: ignore[arg-type]
    return g.add(
        "Conv",
        inputs,
        node,
        strides=stride,
        pads=padding + padding,
        dilations=dilation,
        kernel_shape=kernel,
        group=argument(node, 6, "groups", 1),
    )


def _per_axis(value: Any, rank: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * rank if len(values) == 1 else values


@LAYERS.enter("aten.group_norm.default")
def _group_norm(g: Lowered, node: Node) -> str:
    """Opset 20 has no usable GroupNormalization.

    InstanceNormalization over each group, then scale and shift.
    """
    shape = shape_of(node)
    b = g.builder
    groups = int(argument(node, 1, "num_groups"))
    weight, bias = _gains(node, first=2)
    flat = [shape[0], groups, math.prod(shape[1:]) // groups]
    grouped = b.reshape(g.value(node.args[0]), flat, name=f"{node.name}.grouped")
    ones = b.constant([1.0] * groups)
    zeros = b.constant([0.0] * groups)
    eps = float(argument(node, 4, "eps", 1e-5))
    normal = b.add(
        "InstanceNormalization",
        [grouped, ones, zeros],
        name=f"{node.name}.normal",
        shape=flat,
        epsilon=eps,
    )
    y = b.reshape(normal, shape, name=f"{node.name}.map")
    per_channel = [shape[1]] + [1] * (len(shape) - 2)
    scale = b.reshape(g.value(weight), per_channel, name=f"{node.name}.scale")
    shift = b.reshape(g.value(bias), per_channel, name=f"{node.name}.shift")
    y = b.add("Mul", [y, scale], name=f"{node.name}.scaled", shape=shape)
    return g.add("Add", [y, shift], node)


@LAYERS.enter("aten.layer_norm.default")
def _layer_norm(g: Lowered, node: Node) -> str:
    inputs = [g.value(value) for value in (node.args[0], *_gains(node, first=2))]
    axis = -len(argument(node, 1, "normalized_shape"))
    return g.add(
        "LayerNormalization", inputs, node, axis=axis, epsilon=float(argument(node, 4, "eps", 1e-5))
    )


def _gains(node: Node, *, first: int) -> tuple[Any, Any]:
    weight = argument(node, first, "weight")
    bias = argument(node, first + 1, "bias")
    if weight is None or bias is None:
        raise GraphError(
            f"normalization {node.name} has no weight or no bias; only one with both is lowered"
        )
    return weight, bias
