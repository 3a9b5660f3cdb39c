"""From aten operators, as torch.export captures them, to ONNX operators: one short function each.

Why not ``torch.onnx.export``: unoptimised it leaves thousands of shape computations and
sequence operators in the graph, which NVIDIA's parser and OpenVINO dislike, and
optimised it renames the parameters and needs their values. The six networks use some
twenty operators with static shapes, so lowering them here gives a clean graph in a
second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnx import TensorProto
from torch.fx import Node

from echoexport.export.subnets.graph_builder import GraphBuilder
from echoexport.runtime.errors import GraphError

MOST_SCORES = 2**31 - 1
"""Scores that one attention computes at once: TensorRT before 10.10 takes no value of
more elements."""

Lowering = Callable[["Lowered", Node], Any]
_TABLE: dict[str, Lowering] = {}


class Lowered:
    """What lowering functions see: the builder, and the ONNX name of every fx value so far.

    transposed: the parameters that are stored as (in, out).
    """

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder
        self.names: dict[Node, Any] = {}
        self.transposed: set[Node] = set()

    def value(self, argument: Any) -> str:
        """The ONNX name of an argument: an earlier node's, or a constant's of the graph's dtype."""
        return (
            self.names[argument] if isinstance(argument, Node) else self.builder.constant(argument)
        )

    def add(self, op: str, inputs: Sequence[str], node: Node, **attributes: Any) -> str:
        """One ONNX node that gives ``node``'s value."""
        return self.builder.add(op, inputs, name=node.name, shape=shape_of(node), **attributes)

    def lower(self, node: Node) -> None:
        """Translate one call.

        Raises:
            GraphError: an operator without a lowering.
        """
        name = str(node.target)
        if name not in _TABLE:
            raise GraphError(
                f"no lowering for {name} (node {node.name}); known: {', '.join(sorted(_TABLE))}"
            )
        self.names[node] = _TABLE[name](self, node)


def shape_of(node: Node) -> tuple[int, ...]:
    """The static shape that tracing recorded."""
    return tuple(int(side) for side in node.meta["val"].shape)


def argument(node: Node, index: int, name: str, default: Any = None) -> Any:
    """A positional or keyword argument."""
    return node.args[index] if len(node.args) > index else node.kwargs.get(name, default)


def lowers(*names: str) -> Callable[[Lowering], Lowering]:
    """Enter a function in the table for these aten overloads."""

    def enter(function: Lowering) -> Lowering:
        _TABLE.update(dict.fromkeys(names, function))
        return function

    return enter


@lowers("aten.linear.default")
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


@lowers("aten.conv2d.default", "aten.conv1d.default")
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


_CONVOLUTION = ((3, "stride", 1), (4, "padding", 0), (5, "dilation", 1))


def _per_axis(value: Any, rank: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * rank if len(values) == 1 else values


@lowers("aten.group_norm.default")
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


@lowers("aten.layer_norm.default")
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


@lowers("aten.scaled_dot_product_attention.default")
def _attention(g: Lowered, node: Node) -> str:
    """Of the whole batch at once, or of equal parts of it one by one where there would be too many scores."""
    if len(node.args) > 3 or node.kwargs:
        raise GraphError(
            f"attention {node.name} has a mask, dropout or scale of its own; none is lowered"
        )
    name = node.name
    values = [g.value(each) for each in node.args[:3]]
    shapes = [shape_of(each) for each in node.args[:3]]  # type: ignore[arg-type]
    count = _count_parts(*shapes)
    if count == 1:
        return _attend(g.builder, values, shapes, name=name, output=name)
    shapes = [(shape[0] // count, *shape[1:]) for shape in shapes]
    split = [
        g.builder.split(value, count, name=f"{name}.{what}", shape=shape)
        for what, value, shape in zip(("queries", "keys", "values"), values, shapes, strict=True)
    ]
    parts = [
        _attend(g.builder, part, shapes, name=name, output=f"{name}.part")
        for part in zip(*split, strict=True)
    ]
    return g.add("Concat", parts, node, axis=0)


def _count_parts(query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...]) -> int:
    """The fewest equal parts of the batch whose scores are not too many each.

    1 where no number of parts would do.
    """
    batch = query[0]
    scores = math.prod(query[:-1]) * key[-2]
    if key[0] != batch or value[0] != batch:
        return 1
    divisors = (count for count in range(1, batch + 1) if batch % count == 0)
    return next((count for count in divisors if scores // count <= MOST_SCORES), 1)


def _attend(
    b: GraphBuilder,
    values: Sequence[str],
    shapes: Sequence[tuple[int, ...]],
    *,
    name: str,
    output: str,
) -> str:
    """MatMul, Softmax, MatMul: what every engine's fusion looks for.

    The scale goes on the query, the smaller side.
    """
    (query, key, value) = values
    (q_shape, k_shape, v_shape) = shapes
    scaled = b.add(
        "Mul", [query, b.constant(q_shape[-1] ** -0.5)], name=f"{name}.query", shape=q_shape
    )
    key_shape = (*k_shape[:-2], k_shape[-1], k_shape[-2])
    turned = b.add("Transpose", [key], name=f"{name}.key", shape=key_shape, perm=[0, 1, 3, 2])
    scores = (*q_shape[:-1], k_shape[-2])
    score = b.add("MatMul", [scaled, turned], name=f"{name}.scores", shape=scores)
    weight = b.add("Softmax", [score], name=f"{name}.weights", shape=scores, axis=-1)
    return b.add("MatMul", [weight, value], name=output, shape=(*q_shape[:-1], v_shape[-1]))


@lowers("aten.silu.default")
def _silu(g: Lowered, node: Node) -> str:
    x = g.value(node.args[0])
    gate = g.builder.add("Sigmoid", [x], name=f"{node.name}.gate", shape=shape_of(node))
    return g.add("Mul", [x, gate], node)


@lowers("aten.gelu.default")
def _gelu(g: Lowered, node: Node) -> str:
    return g.add(
        "Gelu", [g.value(node.args[0])], node, approximate=argument(node, 1, "approximate", "none")
    )


def _lower_binary(op: str) -> Lowering:
    def lower(g: Lowered, node: Node) -> str:
        if node.kwargs:
            raise GraphError(
                f"{node.target} {node.name} has {dict(node.kwargs)}; no such option is lowered"
            )
        return g.add(op, [g.value(node.args[0]), g.value(node.args[1])], node)

    return lower


for _aten, _onnx in {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"}.items():
    _TABLE[f"aten.{_aten}.Tensor"] = _lower_binary(_onnx)


@lowers("aten.gt.Scalar")
def _greater(g: Lowered, node: Node) -> str:
    return g.add(
        "Greater", [g.value(node.args[0]), g.value(node.args[1])], node, element=TensorProto.BOOL
    )


@lowers("aten.where.self")
def _where(g: Lowered, node: Node) -> str:
    return g.add("Where", [g.value(a) for a in node.args[:3]], node)


@lowers(
    "aten.reshape.default",
    "aten.view.default",
    "aten.flatten.using_ints",
    "aten.unsqueeze.default",
    "aten.squeeze.dim",
)
def _reshape(g: Lowered, node: Node) -> str:
    """All shapes are known, so every rearrangement that keeps the order of values is one Reshape."""
    shape = shape_of(node)
    element = TensorProto.BOOL if node.meta["val"].dtype == torch.bool else None
    inputs = [g.value(node.args[0]), g.builder.constant(list(shape), "int64")]
    return g.builder.add("Reshape", inputs, name=node.name, shape=shape, element=element)


@lowers("aten.transpose.int")
def _transpose(g: Lowered, node: Node) -> str:
    rank = len(shape_of(node))
    order = list(range(rank))
    i, j = (int(argument(node, place, f"dim{place - 1}")) % rank for place in (1, 2))
    order[i], order[j] = order[j], order[i]
    return g.add("Transpose", [g.value(node.args[0])], node, perm=order)


@lowers("aten.cat.default")
def _concat(g: Lowered, node: Node) -> str:
    parts = [g.value(part) for part in node.args[0]]  # type: ignore[union-attr]
    return g.add("Concat", parts, node, axis=int(argument(node, 1, "dim", 0)))


@lowers("aten.stack.default")
def _stack(g: Lowered, node: Node) -> str:
    shape = shape_of(node)
    axis = int(argument(node, 1, "dim", 0)) % len(shape_of(node))
    one = [*shape[:axis], 1, *shape[axis + 1 :]]
    parts = [g.builder.reshape(g.value(a), one, name=f"{node.name}.part") for a in node.args[0]]  # type: ignore[union-attr]
    return g.add("Concat", parts, node, axis=axis)


@lowers("aten.slice.Tensor")
def _slice(g: Lowered, node: Node) -> str:
    source = shape_of(node.args[0])  # type: ignore[arg-type]
    axis = int(argument(node, 1, "dim", 0)) % len(source)
    start, end, step = (
        argument(node, 2 + i, name) for i, name in enumerate(("start", "end", "step"))
    )
    if step not in (None, 1):
        raise GraphError(f"slice {node.name} has step {step}; only 1 is lowered")
    start, end, _ = slice(start, end).indices(source[axis])
    return _cut(
        g, node.args[0], name=node.name, axis=axis, bounds=(start, end), shape=shape_of(node)
    )


def _cut(
    g: Lowered, value: Any, *, name: str, axis: int, bounds: tuple[int, int], shape: tuple[int, ...]
) -> str:
    limits = [g.builder.constant([limit], "int64") for limit in (*bounds, axis)]
    return g.builder.add("Slice", [g.value(value), *limits], name=name, shape=shape)


@lowers("aten.chunk.default")
def _chunk(g: Lowered, node: Node) -> list[str]:
    """A list of slices; the calls that pick from it find them by position."""
    axis = int(argument(node, 2, "dim", 0)) % len(shape_of(node.args[0]))  # type: ignore[arg-type]
    parts = []
    start = 0
    for part in node.meta["val"]:
        shape = tuple(int(side) for side in part.shape)
        bounds = (start, start + shape[axis])
        parts.append(
            _cut(g, node.args[0], name=f"{node.name}.part", axis=axis, bounds=bounds, shape=shape)
        )
        start = bounds[1]
    return parts


@lowers("aten.alias.default")
def _same(g: Lowered, node: Node) -> str:
    """A slice of everything, such as the position table where the window is as long as it."""
    return g.value(node.args[0])


@lowers("<built-in function getitem>")
def _pick(g: Lowered, node: Node) -> str:
    source, index = node.args
    return str(g.names[source][index])  # type: ignore[index]


@lowers("aten.upsample_nearest2d.vec")
def _upsample(g: Lowered, node: Node) -> str:
    """Floor and asymmetric is torch's nearest neighbour."""
    source = shape_of(node.args[0])  # type: ignore[arg-type]
    shape = shape_of(node)
    how = {
        "mode": "nearest",
        "nearest_mode": "floor",
        "coordinate_transformation_mode": "asymmetric",
    }
    if all(new == 2 * old for new, old in zip(shape[2:], source[2:], strict=True)):
        inputs = [g.value(node.args[0]), "", g.builder.constant([1.0, 1.0, 2.0, 2.0], "float32")]
    else:
        inputs = [g.value(node.args[0]), "", "", g.builder.constant(list(shape), "int64")]
    return g.add("Resize", inputs, node, **how)


@lowers("aten.pad.default")
def _pad(g: Lowered, node: Node) -> str:
    """torch lists pads from the last axis inwards, begin and end together.

    ONNX all begins, then all ends.
    """
    pads = argument(node, 1, "pad")
    mode = argument(node, 2, "mode", "constant")
    fill = argument(node, 3, "value")
    if mode != "constant" or min(pads) < 0:
        raise GraphError(
            f"pad {node.name} is {mode!r} by {list(pads)}; only constants from 0 on are lowered"
        )
    rank = len(shape_of(node))
    begins = [0] * rank
    ends = [0] * rank
    for i, (begin, end) in enumerate(zip(pads[::2], pads[1::2], strict=True)):
        begins[rank - 1 - i] = int(begin)
        ends[rank - 1 - i] = int(end)
    amounts = g.builder.constant(begins + ends, "int64")
    return g.add(
        "Pad",
        [g.value(node.args[0]), amounts, g.builder.constant(fill or 0.0)],
        node,
        mode="constant",
    )


@lowers("aten.new_ones.default", "aten.new_zeros.default")
def _filled(g: Lowered, node: Node) -> str:
    value = 1.0 if "ones" in str(node.target) else 0.0
    return g.builder.constant(torch.full(shape_of(node), value).numpy())
