"""The shape of every value of a graph, from its operators and constants alone."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from echoexport.runtime.bundle.judging.constants import Constants
from echoexport.runtime.bundle.judging.graph_file import GraphFile, Node, Sides
from echoexport.runtime.bundle.judging.shape_rules import (
    ONE_BY_ONE,
    SHAPERS,
    TAKING_PRODUCTS,
    count_products,
)
from echoexport.runtime.bundle.judging.wire import ObjectionError

__all__ = ["LARGEST_VALUE", "LONGEST_RUN", "MOST_PRODUCTS", "MOST_VALUES", "find_shapes"]

LARGEST_VALUE = 1 << 31
"""Numbers in one value. A build leaves none that is larger: parsers refuse them."""

MOST_VALUES = 1 << 40
"""Numbers in all values of a call together. A UNet of 512 pixels and 12 frames has 2**36."""

MOST_PRODUCTS = 1 << 52
"""Multiplications of a call: three days at 16 GFLOP/s. A UNet of 512 pixels and 12
frames takes 2**43."""

LONGEST_RUN = 64
"""Operators one after another that take numbers one by one. Ours have 10 at most; an
engine that joins them may take very long over thousands."""


def find_shapes(
    graph: GraphFile, constants: Constants, *, known: Mapping[str, Sides]
) -> dict[str, Sides]:
    """Every value's shape; ``known`` are those of inputs and constants.

    Raises:
        ObjectionError: a node reads what nothing before it gives, or gives what is there
            already; shapes do not fit each other; values are too large, or take too
            long to compute or to compile.
    """
    shapes = {**known, "": ()}
    runs: dict[str, int] = {}
    numbers = products = 0
    for node in graph.nodes:
        try:
            given = [shapes[name] for name in node.inputs]
        except KeyError as error:
            raise ObjectionError(
                f"{_name(node)} reads {error}, which nothing before it gives"
            ) from None
        made = _shape(node, given, constants)
        for name, shape in zip(node.outputs, made, strict=False):
            if name in shapes and name:
                raise ObjectionError(f"{_name(node)} gives {name!r}, which is there already")
            count = prod(shape)
            if count > LARGEST_VALUE or count < 1:
                raise ObjectionError(f"{_name(node)} gives a value of {_describe(shape)} numbers")
            numbers += count
            if name:
                shapes[name] = shape
        if node.operator in ONE_BY_ONE:
            run = 1 + max(runs.get(name, 0) for name in node.inputs)
            if run > LONGEST_RUN:
                raise ObjectionError(f"{_name(node)} is one of {run} such operators in a row")
            runs[node.outputs[0]] = run
        if node.operator in TAKING_PRODUCTS:
            products += count_products(node, given, made)
        if numbers > MOST_VALUES or products > MOST_PRODUCTS:
            raise ObjectionError(f"up to {_name(node)} it computes more than any of ours")
    return shapes


def _shape(node: Node, given: list[Sides], constants: Constants) -> list[Sides]:
    try:
        made = SHAPERS[node.domain, node.operator](node, given, constants)
    except ObjectionError as error:
        raise ObjectionError(f"{_name(node)}: {error}") from None
    except (ArithmeticError, LookupError, TypeError, ValueError):
        raise ObjectionError(
            f"{_name(node)} does not take values of {', '.join(map(_describe, given))} with its "
            "attributes"
        ) from None
    if len(made) < len(node.outputs):
        raise ObjectionError(f"{_name(node)} has {len(node.outputs)} outputs")
    return made


def _name(node: Node) -> str:
    return f"node {node.name[:80]!r} ({node.operator})"


def _describe(shape: Sides) -> str:
    return "x".join(str(side)[:24] for side in shape[:8]) or "1"
