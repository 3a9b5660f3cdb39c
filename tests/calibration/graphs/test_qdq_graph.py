"""Q/DQ in a graph: where pairs stand, what they share, their steps, and plans that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.graphs.qdq_graph import (
    add_qdq,
    find_skips,
    quantized_weights,
    to_scale,
)
from echoexport.calibration.plan import LayerPlan, NetworkPlan
from echoexport.runtime.errors import CalibrationError, UnknownNameError


@pytest.fixture
def graph(make_graph: Callable[..., FloatGraph], tmp_path: Path) -> FloatGraph:
    return make_graph(tmp_path)


def test_an_int8_layer_reads_pairs_and_gives_its_value_as_it_is(graph: FloatGraph) -> None:
    model = add_qdq(graph, NetworkPlan("int8", {"conv": LayerPlan("int8", 2.54)}))
    nodes = {node.name: node for node in model.graph.node}
    assert list(nodes["conv"].input) == ["x.dequantized", "conv.weight.dequantized", "conv.bias"]
    assert list(nodes["conv"].output) == ["seen"]
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) == 1
    assert sum(node.op_type == "DequantizeLinear" for node in model.graph.node) == 2
    order = [node.name for node in model.graph.node]
    assert order.index("conv") == 3, "what a layer reads is made right before it"


def test_a_layer_of_int8_weights_reads_its_activation_in_float(graph: FloatGraph) -> None:
    model = add_qdq(graph, NetworkPlan("int8", {"out": LayerPlan("weights")}))
    (layer,) = (node for node in model.graph.node if node.name == "linear_o")
    assert list(layer.input) == ["kvq", "out.weight.dequantized"]
    assert not [node for node in model.graph.node if node.op_type == "QuantizeLinear"]


def test_a_plan_of_float_layers_changes_nothing(graph: FloatGraph) -> None:
    model = add_qdq(graph, NetworkPlan("fp32", {"out": LayerPlan("float")}))
    assert model.graph.node == graph.model.graph.node
    assert model is not graph.model


def test_a_plan_that_names_what_is_not_there_or_has_no_range_is_refused(graph: FloatGraph) -> None:
    with pytest.raises(UnknownNameError, match="unknown layer of net 'conv_9'"):
        add_qdq(graph, NetworkPlan("int8", {"conv_9": LayerPlan("int8", 1.0)}))
    for amax in (None, 0.0, -1.0):
        with pytest.raises(CalibrationError, match="layer conv is to be int8 but has no range"):
            add_qdq(graph, NetworkPlan("int8", {"conv": LayerPlan("int8", amax)}))


def test_skips_are_what_adds_take_past_int8_layers(graph: FloatGraph) -> None:
    assert [(skip.node, skip.value) for skip in find_skips(graph, frozenset({"to_q"}))] == [
        ("add_1", "kv")
    ]
    assert list(find_skips(graph, frozenset({"conv", "out"}))) == []


def test_stored_weights_are_those_of_every_layer_that_is_not_float(graph: FloatGraph) -> None:
    layers = {
        "conv": LayerPlan("int8", 1.0),
        "out": LayerPlan("weights"),
        "last": LayerPlan("float"),
    }
    found = quantized_weights(graph, NetworkPlan("int8", layers))
    assert {name: layer.channel_axis for name, layer in found.items()} == {
        "conv.weight": 0,
        "out.weight": 1,
    }


@given(st.floats(0, 6e4), st.sampled_from([np.float16, np.float32]))
def test_a_step_is_a_normal_number_that_reaches_the_range(amax: float, dtype: type) -> None:
    step = to_scale(amax, np.dtype(dtype))
    assert step.dtype == dtype
    assert step >= np.finfo(dtype).tiny
    if amax > 127 * np.finfo(dtype).tiny:
        assert float(step) == pytest.approx(amax / 127, rel=float(np.finfo(dtype).eps))


def test_what_is_zero_throughout_has_a_step_of_one() -> None:
    assert to_scale([0.0, 127.0], np.dtype(np.float32)).tolist() == [1.0, 1.0]
