"""Gated products as two: the same numbers, nothing to split, and which are left alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from echoexport.export.graphs.edited_graph import EditedGraph
from echoexport.export.openvino.split_gates import SplitGates

pytest.importorskip("onnxruntime")

CLOSE = 100.0  # dB


def test_two_products_give_what_one_and_its_halves_give(
    sketch: Any, gate: Any, rewrite_all: Any, decibels: Any
) -> None:
    draft = sketch()
    model = draft.finish(*(gate(draft, (2, tokens, 8), 12) for tokens in (3, 5)))
    result, found = rewrite_all(model, SplitGates(), 2)
    used = Counter(node.op_type for node in result.graph.node)
    assert found == 2
    assert decibels(model, result) >= CLOSE
    assert (used["MatMul"], used["Gelu"]) == (4, 2)


def test_only_weights_and_biases_are_sliced(sketch: Any, gate: Any, rewrite_all: Any) -> None:
    draft = sketch()
    model = draft.finish(gate(draft, (2, 3, 8), 12))
    result, _ = rewrite_all(model, SplitGates(), 2)
    constants = {one.name for one in result.graph.initializer}
    sliced = [node.input[0] for node in result.graph.node if node.op_type == "Slice"]
    assert len(sliced) == 4
    assert set(sliced) <= constants


def test_a_gate_on_something_else_than_a_product_is_not_found(sketch: Any) -> None:
    draft = sketch()
    both = draft.add("Add", draft.input(1, 4, 8), draft.weight(8))
    bounds = [draft.integers(number) for number in (0, 4, 8)]
    axis = draft.integers(2)
    value = draft.add("Slice", both, bounds[0], bounds[1], axis)
    gated = draft.add("Gelu", draft.add("Slice", both, bounds[1], bounds[2], axis))
    model = draft.finish(draft.add("Mul", value, gated))
    assert SplitGates().find(EditedGraph(model)) == []
