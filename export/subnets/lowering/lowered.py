"""What lowering functions see and give, and the tables that they are entered in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch.fx import Node

from echoexport.export.subnets.graph_builder import GraphBuilder

Lowering = Callable[["Lowered", Node], Any]
"""Writes one call's nodes and gives the name, or names, of its value."""


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


class Lowerings(dict[str, Lowering]):
    """Lowering functions by the name of the aten overload that they translate."""

    def enter(self, *names: str) -> Callable[[Lowering], Lowering]:
        """Enter a function for these overloads."""

        def enter(function: Lowering) -> Lowering:
            self.update(dict.fromkeys(names, function))
            return function

        return enter


def shape_of(node: Node) -> tuple[int, ...]:
    """The static shape that tracing recorded."""
    return tuple(int(side) for side in node.meta["val"].shape)


def argument(node: Node, index: int, name: str, default: Any = None) -> Any:
    """A positional or keyword argument."""
    return node.args[index] if len(node.args) > index else node.kwargs.get(name, default)
