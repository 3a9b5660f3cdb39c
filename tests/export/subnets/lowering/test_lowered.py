"""What lowering functions see, and the tables that they are entered in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.fx import Graph, Node

from echoexport.export.subnets.graph_builder import GraphBuilder
from echoexport.export.subnets.lowering.lowered import Lowered, Lowerings, argument, shape_of


@pytest.fixture
def node() -> Node:
    """A call with one positional and one keyword argument, of a (2, 3) value."""
    graph = Graph()
    made = graph.call_function(torch.add, (1.5,), {"alpha": 2})
    made.meta["val"] = torch.empty(2, 3, device="meta")
    return made


def test_an_argument_is_found_by_place_by_name_or_has_its_default(node: Node) -> None:
    assert argument(node, 0, "input") == 1.5
    assert argument(node, 2, "alpha") == 2
    assert argument(node, 1, "other") is None
    assert argument(node, 1, "other", 7) == 7


def test_the_shape_is_the_one_that_tracing_recorded(node: Node) -> None:
    assert shape_of(node) == (2, 3)


def test_a_value_is_an_earlier_nodes_name_or_a_constant(node: Node) -> None:
    lowered = Lowered(GraphBuilder(dtype="float32"))
    lowered.names[node] = "given"
    assert lowered.value(node) == "given"
    constant = lowered.value(1.5)
    assert constant != "given"
    assert lowered.value(1.5) == constant


def test_an_added_node_gives_the_calls_value_at_its_shape(node: Node) -> None:
    builder = GraphBuilder(dtype="float32")
    name = Lowered(builder).add("Relu", ["x"], node)
    (made,) = builder.nodes
    assert (made.op_type, list(made.input), list(made.output)) == ("Relu", ["x"], [name])
    sides = [side.dim_value for side in builder.infos[-1].type.tensor_type.shape.dim]
    assert sides == [2, 3]


def test_a_function_is_entered_for_every_overload_and_stays_itself() -> None:
    table = Lowerings()

    def lower(g: Lowered, node: Node) -> Any:
        return "value"

    assert table.enter("one", "two")(lower) is lower
    assert table == {"one": lower, "two": lower}
