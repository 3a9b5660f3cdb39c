"""What a sum adds: values, biases of channels, and where a bias may be taken out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from echoexport.export.graphs.edited_graph import EditedGraph
from echoexport.export.ort_cuda.sums import compute_vector, is_read_once, split_bias, split_sum

B = 2
T = 5
C = 6


def find(graph: EditedGraph, output: str) -> Any:
    return graph.makers[output]


@pytest.mark.parametrize("turned", [True, False])
def test_a_vector_over_the_last_axis_is_a_bias_on_either_side(sketch: Any, turned: bool) -> None:
    draft = sketch()
    sides = [draft.input(B, T, C), draft.weight(C)]
    total = draft.add("Add", *(reversed(sides) if turned else sides))
    graph = EditedGraph(draft.model(total))
    assert split_bias(graph, find(graph, total)) == tuple(sides)


@pytest.mark.parametrize("shape", [(1,), (T, C), (1, 1, C)])
def test_a_constant_of_another_shape_is_no_bias(sketch: Any, shape: tuple[int, ...]) -> None:
    draft = sketch()
    total = draft.add("Add", draft.input(B, T, C), draft.weight(*shape))
    graph = EditedGraph(draft.model(total))
    assert split_bias(graph, find(graph, total)) is None


def test_a_vector_that_is_given_is_no_bias(sketch: Any) -> None:
    draft = sketch()
    total = draft.add("Add", draft.input(B, T, C), draft.input(C))
    graph = EditedGraph(draft.model(total))
    assert split_bias(graph, find(graph, total)) is None


def test_the_biases_of_both_operands_are_taken_out_and_added_once(sketch: Any) -> None:
    draft = sketch()
    values = [draft.input(B, T, C) for _ in range(2)]
    total = draft.add("Add", *(draft.add("Add", value, draft.weight(C)) for value in values))
    graph = EditedGraph(draft.finish(total))
    source, skip, bias = split_sum(graph, find(graph, total))
    assert [source, skip] == values
    assert bias == f"{total}.bias"
    assert graph.shapes[bias] == (C,)


def test_a_sum_with_a_bias_alone_has_no_other_value(sketch: Any) -> None:
    draft = sketch()
    value = draft.input(B, T, C)
    vector = draft.weight(C)
    total = draft.add("Add", value, vector)
    graph = EditedGraph(draft.model(total))
    assert split_sum(graph, find(graph, total)) == (value, None, vector)


def test_the_operand_of_the_sums_own_shape_comes_first(sketch: Any) -> None:
    draft = sketch()
    row = draft.input(1, 1, C)
    value = draft.input(B, T, C)
    total = draft.add("Add", row, value)
    graph = EditedGraph(draft.model(total))
    assert split_sum(graph, find(graph, total)) == (value, row, None)


def test_a_biased_value_that_is_read_twice_keeps_its_bias(sketch: Any) -> None:
    draft = sketch()
    value = draft.input(B, T, C)
    biased = draft.biased(B, T, C)
    total = draft.add("Add", value, biased)
    graph = EditedGraph(draft.finish(total, draft.add("Relu", biased)))
    assert split_sum(graph, find(graph, total)) == (value, biased, None)


def test_a_value_that_is_given_out_is_not_read_once(sketch: Any) -> None:
    draft = sketch()
    inside = draft.add("Relu", draft.input(B, T, C))
    outside = draft.add("Relu", inside)
    end = draft.add("Relu", outside)
    graph = EditedGraph(draft.model(end, outside))
    assert [is_read_once(graph, name) for name in (inside, outside, end)] == [True, False, False]


@pytest.mark.parametrize(("dtype", "kind"), [("float32", 1), ("float16", 10)])
def test_vectors_are_computed_in_float32_and_given_in_the_graphs_type(
    sketch: Any, dtype: str, kind: int
) -> None:
    draft = sketch(dtype)
    vectors = [draft.weight(C) for _ in range(2)]
    value = draft.add("Relu", draft.input(B, T, C))
    graph = EditedGraph(draft.model(value))
    assert graph.dtype == np.dtype(dtype)
    name = compute_vector(graph, "Add", vectors, "stem")
    made = graph.nodes[-4:]
    assert [node.op_type for node in made] == ["Cast", "Cast", "Add", "Cast"]
    assert [node.attribute[0].i for node in (made[0], made[1], made[3])] == [1, 1, kind]
    assert graph.is_vector(name)
