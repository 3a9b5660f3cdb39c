"""Layers switched between int8 and float from call to call."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.graphs.switches import SwitchableNetwork
from echoexport.calibration.plan import LayerPlan, NetworkPlan

pytest.importorskip("onnxruntime")

WEIGHTS = {
    "first.weight": np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32),
    "second.weight": np.random.default_rng(2).standard_normal((4, 5)).astype(np.float32),
}
PICTURE = np.random.default_rng(3).standard_normal((1, 3, 6, 6)).astype(np.float32)
PLAN = NetworkPlan("int8", {"first": LayerPlan("int8", 3.0), "second": LayerPlan("weights")})


@pytest.fixture
def graph(tmp_path: Path) -> FloatGraph:
    """A convolution, its channels last, and a linear layer; weights in a file beside the graph."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node(
            "Conv", ["picture", "first.weight"], ["map"], name="map", pads=[1, 1, 1, 1]
        ),
        helper.make_node("Transpose", ["map"], ["rows"], name="rows", perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["rows", "second.weight"], ["result"], name="result"),
    ]
    tensors = []
    position = 0
    with (tmp_path / "small.bin").open("wb") as file:
        for name, values in WEIGHTS.items():
            tensor = TensorProto(
                name=name, data_type=TensorProto.FLOAT, dims=values.shape, data_location=1
            )
            for key, value in (
                ("location", "small.bin"),
                ("offset", position),
                ("length", values.nbytes),
            ):
                tensor.external_data.add(key=key, value=str(value))
            file.write(values.tobytes())
            position += values.nbytes
            tensors.append(tensor)
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("picture", PICTURE.shape), ("result", (1, 6, 6, 5)))
    ]
    body = helper.make_graph(nodes, "small", values[:1], values[1:], tensors)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (tmp_path / "small.onnx").write_bytes(model.SerializeToString())
    return FloatGraph(tmp_path / "small.onnx")


@pytest.fixture
def network(graph: FloatGraph, tmp_path: Path) -> Iterator[SwitchableNetwork]:
    (tmp_path / "work").mkdir()
    with SwitchableNetwork(graph, PLAN, folder=tmp_path / "work") as opened:
        yield opened


def compute(*, first: bool, second: bool) -> np.ndarray:
    """The same in numpy."""
    kernel = WEIGHTS["first.weight"]
    linear = WEIGHTS["second.weight"]
    picture = PICTURE
    if first:
        step = np.float32(3.0) / np.float32(127)
        picture = np.clip(np.rint(picture / step), -128, 127).astype(np.float32) * step
        kernel = round_to_int8(kernel, axes=(1, 2, 3))
    if second:
        linear = round_to_int8(linear, axes=(0,))
    padded = np.pad(picture, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.einsum("ncyxij,ocij,of->nyxf", windows, kernel, linear)


def round_to_int8(weights: np.ndarray, *, axes: tuple[int, ...]) -> np.ndarray:
    step = np.abs(weights).max(axis=axes, keepdims=True) / 127
    return np.asarray(np.rint(weights / step) * step)


@pytest.mark.parametrize("on", [(), ("first",), ("second",), ("first", "second")])
def test_just_the_layers_that_are_named_are_rounded(
    network: SwitchableNetwork, on: tuple[str, ...]
) -> None:
    result = network({"picture": PICTURE}, quantized=on)["result"]
    wanted = compute(first="first" in on, second="second" in on)
    np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-4)
    if on:
        assert np.abs(wanted - compute(first=False, second=False)).max() > 1e-3


def test_a_layer_that_the_plan_leaves_float_has_no_switch(
    graph: FloatGraph, tmp_path: Path
) -> None:
    plan = NetworkPlan("int8", {"first": LayerPlan("float"), "second": LayerPlan("weights")})
    with SwitchableNetwork(graph, plan, folder=tmp_path) as network:
        assert network.layers == ("second",)


def test_closing_removes_the_graph_it_wrote_and_no_other_file(
    graph: FloatGraph, tmp_path: Path
) -> None:
    with SwitchableNetwork(graph, PLAN, folder=tmp_path):
        assert (tmp_path / "small.switches.onnx").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.bin", "small.onnx"]
