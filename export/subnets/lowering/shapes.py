"""Views, slices, joins, pads and resizes."""

from __future__ import annotations

from typing import Any

import torch
from onnx import TensorProto
from torch.fx import Node

from echoexport.export.subnets.lowering.lowered import Lowered, Lowerings, argument, shape_of
from echoexport.runtime.errors import GraphError

SHAPES = Lowerings()


@SHAPES.enter(
    "aten.reshape.default",
    "aten.view.default",
    "aten.flatten.using_ints",
    "aten.unsqueeze.default",
    "aten.squeeze.dim",
)
def _reshape(g: Lowered, node: Node) -> str:
    """Every rearrangement that keeps the order of values is one Reshape: all shapes are known."""
    shape = shape_of(node)
    element = TensorProto.BOOL if node.meta["val"].dtype == torch.bool else None
    inputs = [g.value(node.args[0]), g.builder.constant(list(shape), "int64")]
    return g.builder.add("Reshape", inputs, name=node.name, shape=shape, element=element)


@SHAPES.enter("aten.transpose.int")
def _transpose(g: Lowered, node: Node) -> str:
    rank = len(shape_of(node))
    order = list(range(rank))
    i, j = (int(argument(node, place, f"dim{place - 1}")) % rank for place in (1, 2))
    order[i], order[j] = order[j], order[i]
    return g.add("Transpose", [g.value(node.args[0])], node, perm=order)


@SHAPES.enter("aten.cat.default")
def _concat(g: Lowered, node: Node) -> str:
    parts = [g.value(part) for part in node.args[0]]  # type: ignore[union-attr]
    return g.add("Concat", parts, node, axis=int(argument(node, 1, "dim", 0)))


@SHAPES.enter("aten.stack.default")
def _stack(g: Lowered, node: Node) -> str:
    shape = shape_of(node)
    axis = int(argument(node, 1, "dim", 0)) % len(shape_of(node))
    one = [*shape[:axis], 1, *shape[axis + 1 :]]
    parts = [
        g.builder.reshape(g.value(part), one, name=f"{node.name}.part")
        for part in node.args[0]  # type: ignore[union-attr]
    ]
    return g.add("Concat", parts, node, axis=axis)


@SHAPES.enter("aten.slice.Tensor")
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


@SHAPES.enter("aten.chunk.default")
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


@SHAPES.enter("aten.upsample_nearest2d.vec")
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


@SHAPES.enter("aten.pad.default")
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
    inputs = [g.value(node.args[0]), amounts, g.builder.constant(fill or 0.0)]
    return g.add("Pad", inputs, node, mode="constant")
