"""A float graph: its layers by their weights, constants mapped one at a time, faults named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.runtime.errors import GraphError


@pytest.fixture
def graph(make_graph: Callable[..., FloatGraph], tmp_path: Path) -> FloatGraph:
    return make_graph(tmp_path)


def test_layers_are_operations_with_a_weight_of_their_own(graph: FloatGraph) -> None:
    assert graph.name == "net"
    assert list(graph.layers) == ["conv", "to_k", "to_v", "to_q", "out", "last"]
    conv = graph.layers["conv"]
    assert (conv.op, conv.node, conv.value, conv.output) == ("Conv", "conv", "x", "seen")
    assert (conv.shape, conv.channel_axis, conv.size) == ((4, 4, 3, 3), 0, 144)
    linear = graph.layers["out"]
    assert (linear.op, linear.value, linear.channel_axis) == ("MatMul", "kvq", 1)


def test_a_weight_that_two_nodes_read_is_no_layer_s(graph: FloatGraph) -> None:
    (node,) = (node for node in graph.model.graph.node if node.name == "linear_l")
    node.input[1] = "out.weight"
    assert list(graph.layers) == ["conv", "to_k", "to_v", "to_q"]


def test_small_constants_lie_in_the_graph_and_large_ones_are_mapped(graph: FloatGraph) -> None:
    assert graph.read("constant").tolist() == [1.0]
    weight = graph.read("out.weight")
    assert isinstance(weight, np.memmap) and weight.shape == (8, 8)
    with pytest.raises(ValueError, match="read-only"):
        weight[0, 0] = 1
    assert set(graph.initializers) >= {"constant", "conv.bias", "out.weight"}


def test_what_cannot_be_read_is_named(graph: FloatGraph, tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"net\.onnx: no constant is called 'gone'"):
        graph.read("gone")
    (tmp_path / "net.bin").write_bytes(b"short")
    with pytest.raises(GraphError, match=r"net\.bin: 'out\.weight' cannot be read from it"):
        graph.read("out.weight")
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(GraphError, match=r"text\.onnx: not an ONNX graph"):
        FloatGraph(tmp_path / "text.onnx")
