"""Activations, arithmetic and choices, value by value."""

from __future__ import annotations

import torch
from onnx import TensorProto
from torch.fx import Node

from echoexport.export.subnets.lowering.lowered import (
    Lowered,
    Lowering,
    Lowerings,
    argument,
    shape_of,
)
from echoexport.runtime.errors import GraphError

VALUES = Lowerings()


@VALUES.enter("aten.silu.default")
def _silu(g: Lowered, node: Node) -> str:
    x = g.value(node.args[0])
    gate = g.builder.add("Sigmoid", [x], name=f"{node.name}.gate", shape=shape_of(node))
    return g.add("Mul", [x, gate], node)


@VALUES.enter("aten.gelu.default")
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
    VALUES[f"aten.{_aten}.Tensor"] = _lower_binary(_onnx)


@VALUES.enter("aten.gt.Scalar")
def _greater(g: Lowered, node: Node) -> str:
    return g.add(
        "Greater", [g.value(node.args[0]), g.value(node.args[1])], node, element=TensorProto.BOOL
    )


@VALUES.enter("aten.where.self")
def _where(g: Lowered, node: Node) -> str:
    return g.add("Where", [g.value(a) for a in node.args[:3]], node)


@VALUES.enter("aten.alias.default")
def _same(g: Lowered, node: Node) -> str:
    """A slice of everything, such as the position table where the window is as long as it."""
    return g.value(node.args[0])


@VALUES.enter("<built-in function getitem>")
def _pick(g: Lowered, node: Node) -> str:
    source, index = node.args
    return str(g.names[source][index])  # type: ignore[index]


@VALUES.enter("aten.new_ones.default", "aten.new_zeros.default")
def _filled(g: Lowered, node: Node) -> str:
    value = 1.0 if "ones" in str(node.target) else 0.0
    return g.builder.constant(torch.full(shape_of(node), value).numpy())
