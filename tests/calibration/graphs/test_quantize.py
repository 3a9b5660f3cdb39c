"""The Q/DQ writer: right results, little memory, and the same bytes every time."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.graphs.qdq_graph import find_skips, to_scale
from echoexport.calibration.graphs.quantize import quantize_network, quantize_weights
from echoexport.calibration.plan import LayerPlan, NetworkPlan
from echoexport.runtime.errors import CalibrationError, GraphError, OutputError, UnknownNameError

onnxruntime = pytest.importorskip("onnxruntime")

INT8 = NetworkPlan(
    "int8",
    {
        "conv": LayerPlan("int8", 3.0),
        "to_k": LayerPlan("int8", 8.0),
        "to_v": LayerPlan("int8", 8.0),
        "to_q": LayerPlan("int8", 4.0),
        "out": LayerPlan("weights"),
        "last": LayerPlan("float"),
    },
)

WIDE = NetworkPlan(
    "int8",
    {
        **{f"to_{k}": LayerPlan("int8", 24.0) for k in "kvq"},
        "conv": LayerPlan("int8", 4.0),
        "out": LayerPlan("weights"),
    },
)
"""Ranges that cut nothing off."""


def run(path: Path, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    # As the graph says, in float.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["y"], {"x": x})[0])


def fake(values: np.ndarray, amax: float) -> np.ndarray:
    """What Q and DQ make of an activation."""
    step = np.float32(amax) / np.float32(127)
    return np.clip(np.rint(values / step), -128, 127) * step


def fake_weights(values: np.ndarray, axis: int) -> np.ndarray:
    others = tuple(i for i in range(values.ndim) if i != axis)
    step = np.abs(values).max(axis=others, keepdims=True) / np.float32(127)
    return np.rint(values / step) * step


def convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.einsum("bihwkl,oikl->bohw", windows, weight) + bias[:, None, None]


def draw_x(dtype: type[np.floating[Any]] = np.float32) -> np.ndarray:
    return np.random.default_rng(6).normal(size=(1, 4, 6, 8)).astype(dtype)


def test_each_layer_computes_what_its_mode_says(
    tmp_path: Path, make_graph: Callable[..., FloatGraph]
) -> None:
    graph = make_graph(tmp_path)
    x = draw_x()
    quantize_network(graph, INT8, tmp_path / "int8" / "net.onnx")
    read = {name: np.asarray(graph.read(name), np.float32) for name in graph.initializers}
    seen = convolve(fake(x, 3.0), fake_weights(read["conv.weight"], 0), read["conv.bias"])
    total = sum(
        fake(seen, amax) @ fake_weights(read[f"to_{k}.weight"], 1)
        for k, amax in (("k", 8.0), ("v", 8.0), ("q", 4.0))
    )
    wanted = total @ fake_weights(read["out.weight"], 1) @ read["last.weight"]
    np.testing.assert_allclose(run(tmp_path / "int8" / "net.onnx", x), wanted, rtol=2e-4, atol=2e-4)


def test_layers_that_read_one_value_in_one_range_share_a_pair(
    tmp_path: Path, make_graph: Callable[..., FloatGraph]
) -> None:
    quantize_network(make_graph(tmp_path), INT8, tmp_path / "int8" / "net.onnx")
    model = FloatGraph(tmp_path / "int8" / "net.onnx").model
    inputs = {node.name: list(node.input) for node in model.graph.node}
    assert inputs["linear_k"] == ["seen.dequantized", "to_k.weight.dequantized"]
    assert inputs["linear_v"][0] == "seen.dequantized"
    assert inputs["linear_q"][0] == "seen.2.dequantized"
    assert inputs["linear_o"] == ["kvq", "out.weight.dequantized"]
    assert inputs["linear_l"] == ["o", "last.weight"]
    assert inputs["conv"][2] == "conv.bias"
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) == 3


def test_opset_inputs_outputs_and_names_of_weights_stay(
    tmp_path: Path, make_graph: Callable[..., FloatGraph]
) -> None:
    graph = make_graph(tmp_path)
    quantize_network(graph, INT8, tmp_path / "int8" / "net.onnx")
    written = FloatGraph(tmp_path / "int8" / "net.onnx")
    assert written.model.opset_import == graph.model.opset_import
    assert (written.model.graph.input, written.model.graph.output) == (
        graph.model.graph.input,
        graph.model.graph.output,
    )
    assert set(graph.initializers) <= set(written.initializers)
    assert {name for name in graph.initializers if written.read(name).dtype == np.int8} == {
        "conv.weight",
        "to_k.weight",
        "to_v.weight",
        "to_q.weight",
        "out.weight",
    }
    onnx.checker.check_model(str(tmp_path / "int8" / "net.onnx"), full_check=True)


def test_sizes_hashes_and_counts_are_those_of_the_files(
    tmp_path: Path, make_graph: Callable[..., FloatGraph]
) -> None:
    files = quantize_network(make_graph(tmp_path), INT8, tmp_path / "int8" / "net.onnx")
    folder = tmp_path / "int8"
    assert sorted(path.name for path in folder.iterdir()) == ["net.bin", "net.onnx"]
    for entry, name in ((files.graph, "net.onnx"), (files.weights, "net.bin")):
        content = (folder / name).read_bytes()
        assert (entry.bytes, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert files.bytes == sum(path.stat().st_size for path in folder.iterdir())
    # the bias and the constant are too small for the float graph's file of weights, and
    # not counted
    assert (files.int8_values, files.float_values) == (4 * 4 * 9 + 4 * 64, 64)
    assert files.int8_share == pytest.approx(400 / 464)


def test_the_same_plan_gives_the_same_bytes(
    tmp_path: Path, make_graph: Callable[..., FloatGraph]
) -> None:
    graph = make_graph(tmp_path)
    first = quantize_network(graph, INT8, tmp_path / "a" / "net.onnx")
    turned = NetworkPlan("int8", dict(reversed(INT8.layers.items())))
    assert quantize_network(FloatGraph(graph.path), turned, tmp_path / "b" / "net.onnx") == first


def test_edits_come_before_rounding(tmp_path: Path, make_graph: Callable[..., FloatGraph]) -> None:
    graph = make_graph(tmp_path)
    edits = {
        "to_q.weight": lambda w: w * np.arange(1, 9, dtype=np.float32)[:, None],
        "conv.bias": lambda b: b + 1,
        "last.weight": lambda w: -w,
    }
    quantize_network(graph, INT8, tmp_path / "int8" / "net.onnx", weight_edits=edits)
    written = FloatGraph(tmp_path / "int8" / "net.onnx")
    edited = edits["to_q.weight"](graph.read("to_q.weight"))
    quantized, scale = quantize_weights(edited, 1)
    np.testing.assert_array_equal(written.read("to_q.weight"), quantized)
    np.testing.assert_array_equal(written.read("to_q.weight.int8_scale"), scale)
    np.testing.assert_array_equal(
        written.read("conv.bias"), graph.read("conv.bias") + np.float32(1)
    )
    np.testing.assert_array_equal(written.read("last.weight"), -graph.read("last.weight"))


def test_an_fp16_graph_keeps_its_type(
    tmp_path: Path, make_graph: Callable[..., FloatGraph]
) -> None:
    quantize_network(make_graph(tmp_path, dtype=np.float16), WIDE, tmp_path / "int8" / "net.onnx")
    written = FloatGraph(tmp_path / "int8" / "net.onnx")
    scales = [name for name in written.initializers if name.endswith("int8_scale")]
    assert {written.read(name).dtype for name in scales} == {np.dtype(np.float16)}
    assert written.model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT16
    float32 = make_graph(tmp_path / "wide")
    x = draw_x()
    found = run(written.path, x.astype(np.float16))
    wanted = run(float32.path, x)
    assert np.linalg.norm(found - wanted) < 0.05 * np.linalg.norm(wanted)


def test_the_skips_of_residual_adds_are_quantized_where_the_plan_says(
    tmp_path: Path, make_graph: Callable[..., FloatGraph]
) -> None:
    graph = make_graph(tmp_path)
    int8 = frozenset(name for name, layer in INT8.layers.items() if layer.mode == "int8")
    assert [(skip.node, skip.value) for skip in find_skips(graph, int8)] == [
        ("add", "v"),
        ("add_1", "kv"),
    ]
    plan = NetworkPlan("int8", WIDE.layers, skips={"kv": 100.0})
    quantize_network(graph, plan, tmp_path / "int8" / "net.onnx")
    inputs = {
        node.name: list(node.input)
        for node in FloatGraph(tmp_path / "int8" / "net.onnx").model.graph.node
    }
    assert (inputs["add"], inputs["add_1"]) == (["k", "v"], ["kv.dequantized", "q"])
    x = draw_x()
    found = run(tmp_path / "int8" / "net.onnx", x)
    wanted = run(graph.path, x)
    assert 0 < np.linalg.norm(found - wanted) < 0.05 * np.linalg.norm(wanted)


def test_memory_is_that_of_the_largest_tensor(
    tmp_path: Path, make_graph: Callable[..., FloatGraph]
) -> None:
    graph = make_graph(tmp_path, width=600)
    largest = graph.read("out.weight").nbytes
    tracemalloc.start()
    quantize_network(graph, INT8, tmp_path / "int8" / "net.onnx")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3.5 * largest  # of five such tensors


@settings(deadline=None, max_examples=60)
@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=2, max_dims=4, max_side=5),
        elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False),
    ),
    st.data(),
    st.sampled_from([np.float32, np.float16]),
)
def test_weights_come_back_within_half_a_step(
    values: np.ndarray, data: st.DataObject, dtype: Any
) -> None:
    axis = data.draw(st.integers(0, values.ndim - 1))
    values = values.astype(dtype)
    quantized, scale = quantize_weights(values, axis)
    assert (quantized.dtype, scale.dtype, scale.shape) == (np.int8, dtype, (values.shape[axis],))
    assert quantized.min() >= -127
    assert (scale >= np.finfo(dtype).tiny).all()
    steps = np.moveaxis(
        np.broadcast_to(scale.astype(np.float64), (*np.delete(values.shape, axis), scale.size)),
        -1,
        axis,
    )
    # a step that fp16 rounded down reaches a little less far than the largest weight
    room = 0.5 + (1e-4 if dtype == np.float32 else 127 * 2.0**-11)
    assert (np.abs(quantized * steps - values.astype(np.float64)) <= room * steps).all()


def test_channels_of_zeros_and_of_tiny_values_have_steps_that_engines_keep() -> None:
    values = np.array([[0, 0], [1e-3, -5e-4], [1e-7, 0], [127, 1]], np.float16)
    quantized, scale = quantize_weights(values, 0)
    tiny = np.finfo(np.float16).tiny
    assert scale.tolist() == [1.0, tiny, tiny, 1.0]
    assert quantized.tolist() == [[0, 0], [16, -8], [0, 0], [127, 1]]
    assert to_scale(0.0, np.dtype(np.float32)) == 1.0


def test_halves_go_to_the_even_neighbour() -> None:
    values = np.array([[127, 0.5, 1.5, 2.5, -0.5, -1.5]], np.float32)
    assert quantize_weights(values, 0)[0].tolist() == [[127, 0, 2, 2, 0, -2]]


def test_unknown_layers_and_missing_ranges_are_refused(
    tmp_path: Path, make_graph: Callable[..., FloatGraph]
) -> None:
    graph = make_graph(tmp_path)
    with pytest.raises(
        UnknownNameError, match=r"unknown layer of net 'to_x'; known: .* Did you mean 'to_"
    ):
        quantize_network(
            graph,
            NetworkPlan("int8", {"to_x": LayerPlan("int8", 1.0)}),
            tmp_path / "o" / "net.onnx",
        )
    with pytest.raises(
        CalibrationError, match=r"net: layer to_k is to be int8 but has no range \(amax None\)"
    ):
        quantize_network(
            graph, NetworkPlan("int8", {"to_k": LayerPlan("int8")}), tmp_path / "o" / "net.onnx"
        )
    with pytest.raises(
        GraphError, match=r"no constant is called 'to_x\.weight', which was to be edited"
    ):
        quantize_network(
            graph, INT8, tmp_path / "o" / "net.onnx", weight_edits={"to_x.weight": lambda w: w}
        )
    assert not (tmp_path / "o").exists()


def test_a_failure_leaves_what_was_there(
    tmp_path: Path, make_graph: Callable[..., FloatGraph]
) -> None:
    graph = make_graph(tmp_path)
    output = tmp_path / "int8" / "net.onnx"
    first = quantize_network(graph, INT8, output)
    with pytest.raises(GraphError, match=r"'last.weight' is \(8, 8\), edited it is \(4, 8\)"):
        quantize_network(graph, INT8, output, weight_edits={"last.weight": lambda w: w[:4]})
    with pytest.raises(GraphError, match=r"'last\.weight' holds values that are not finite"):
        quantize_network(
            graph, INT8, output, weight_edits={"last.weight": lambda w: w * np.float32(np.nan)}
        )
    assert sorted(path.name for path in output.parent.iterdir()) == ["net.bin", "net.onnx"]
    assert (
        hashlib.sha256(output.with_suffix(".bin").read_bytes()).hexdigest() == first.weights.sha256
    )


def test_the_float_network_is_never_overwritten(
    tmp_path: Path, make_graph: Callable[..., FloatGraph]
) -> None:
    graph = make_graph(tmp_path)
    with pytest.raises(OutputError, match="is the float network itself"):
        quantize_network(graph, INT8, tmp_path / "int8" / ".." / "net.onnx")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"net\.onnx: cannot be written: "):
        quantize_network(graph, INT8, tmp_path / "file" / "net.onnx")
