"""Attention as ONNX operators, in parts where it has too many scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch.fx import Node

from echoexport.export.subnets.graph_builder import GraphBuilder
from echoexport.export.subnets.lowering.lowered import Lowered, Lowerings, argument, shape_of
from echoexport.runtime.errors import GraphError

ATTENTION = Lowerings()

MOST_SCORES = 2**31 - 1
"""Scores that one attention computes at once: TensorRT before 10.10 takes no value of
more elements."""


@ATTENTION.enter("aten.scaled_dot_product_attention.default")
def _attention(g: Lowered, node: Node) -> str:
    """Of the whole batch at once, or of equal parts of it one by one.

    Parts are for where there would be too many scores.
    """
    if len(node.args) > 4 or node.kwargs:
        raise GraphError(
            f"attention {node.name} has dropout, causality or a scale of its own; none is lowered"
        )
    name = node.name
    mask = _find_mask(g, node)
    values = [g.value(each) for each in node.args[:3]]
    shapes = [shape_of(each) for each in node.args[:3]]  # type: ignore[arg-type]
    count = _count_parts(*shapes)
    if count == 1:
        return _attend(g.builder, values, shapes, mask=mask, name=name, output=name)
    shapes = [(shape[0] // count, *shape[1:]) for shape in shapes]
    kinds = ("queries", "keys", "values")
    split = [
        g.builder.split(value, count, name=f"{name}.{kind}", shape=shape)
        for kind, value, shape in zip(kinds, values, shapes, strict=True)
    ]
    parts = [
        _attend(g.builder, part, shapes, mask=mask, name=name, output=f"{name}.part")
        for part in zip(*split, strict=True)
    ]
    return g.add("Concat", parts, node, axis=0)


def _find_mask(g: Lowered, node: Node) -> str | None:
    """What is added to all scores alike, whatever part of the batch they are of."""
    mask = argument(node, 3, "attn_mask")
    if mask is None:
        return None
    if shape_of(mask)[:-1] != (1, 1, 1):
        raise GraphError(f"attention {node.name}: a mask {shape_of(mask)} is not one row for all")
    return g.value(mask)


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
    mask: str | None,
    name: str,
    output: str,
) -> str:
    """MatMul, perhaps Add, Softmax, MatMul: what every engine's fusion looks for.

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
    if mask is not None:
        score = b.add("Add", [score, mask], name=f"{name}.masked", shape=scores)
    weight = b.add("Softmax", [score], name=f"{name}.weights", shape=scores, axis=-1)
    return b.add("MatMul", [weight, value], name=output, shape=(*q_shape[:-1], v_shape[-1]))
