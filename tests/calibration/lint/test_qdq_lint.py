"""Every rule for Q/DQ fires on a graph made to break it, and on nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.graphs.quantize import quantize_network
from echoexport.calibration.lint.graph_lint import lint_graph, require_clean
from echoexport.calibration.plan import LayerPlan, NetworkPlan
from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec
from echoexport.runtime.errors import GraphError

Spoil = Callable[[onnx.ModelProto], object]
SHAPE = (("batch", 1), ("channels", 4), ("rows", 6), ("columns", 6))


def describe(dtype: str) -> SubnetSpec:
    return SubnetSpec(
        "small", (TensorSpec("x", dtype, SHAPE),), (TensorSpec("y", dtype, SHAPE),), {}
    )


def make_float(folder: Path, dtype: type[np.floating]) -> FloatGraph:
    """conv(x), a linear and attention of it with itself, added to x."""
    draw = np.random.default_rng(1)
    arrays = {
        "conv.weight": draw.normal(size=(4, 4, 3, 3)),
        "conv.bias": np.ones(4),
        "to_q.weight": draw.normal(size=(6, 6)),
    }
    nodes = [
        helper.make_node(
            "Conv", ["x", "conv.weight", "conv.bias"], ["seen"], name="conv", pads=[1, 1, 1, 1]
        ),
        helper.make_node("MatMul", ["seen", "to_q.weight"], ["query"], name="linear"),
        helper.make_node("MatMul", ["query", "seen"], ["scores"], name="attention"),
        helper.make_node("Softmax", ["scores"], ["soft"], name="softmax"),
        helper.make_node("Add", ["x", "soft"], ["y"], name="residual"),
    ]
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    sides = [size for _, size in SHAPE]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", element, sides)],
        [helper.make_tensor_value_info("y", element, sides)],
        [numpy_helper.from_array(values.astype(dtype), name) for name, values in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save_model(model, folder / "small.onnx")
    return FloatGraph(folder / "small.onnx")


def make_model(folder: Path, dtype: type[np.floating] = np.float32) -> onnx.ModelProto:
    """The same with both layers in int8."""
    plan = NetworkPlan("int8", {"conv": LayerPlan("int8", 3.0), "to_q": LayerPlan("int8", 9.0)})
    quantize_network(make_float(folder, dtype), plan, folder / "int8" / "small.onnx")
    return FloatGraph(folder / "int8" / "small.onnx").model


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_what_is_written_has_no_findings(tmp_path: Path, dtype: type[np.floating]) -> None:
    model = make_model(tmp_path, dtype)
    assert {node.op_type for node in model.graph.node} >= {"QuantizeLinear", "DequantizeLinear"}
    assert lint_graph(model, describe(np.dtype(dtype).name)) == []
    require_clean(model, describe(np.dtype(dtype).name))


def find(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name == name)


def place(model: onnx.ModelProto, array: np.ndarray, name: str) -> None:
    """A constant, over one of the same name if there is one."""
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(array, name))
            return
    model.graph.initializer.append(numpy_helper.from_array(array, name))


def set_axis(name: str, axis: int) -> Spoil:
    return lambda m: setattr(
        next(a for a in find(m, name).attribute if a.name == "axis"), "i", axis
    )


def drop_axis(model: onnx.ModelProto) -> None:
    find(model, "conv.weight.dequantized").ClearField("attribute")


def set_constant(name: str, values: object, dtype: type[np.generic] = np.float32) -> Spoil:
    return lambda m: place(m, np.asarray(values, dtype), name)


def add_pair(value: str, reader: str, position: int) -> Spoil:
    """Q/DQ on one more input of a node."""

    def spoil(model: onnx.ModelProto) -> None:
        node = find(model, reader)
        scaling = ["x.int8_scale", "activations.int8_zero"]
        pair = [
            helper.make_node("QuantizeLinear", [value, *scaling], ["more.q"], name="more.q"),
            helper.make_node("DequantizeLinear", ["more.q", *scaling], ["more.dq"], name="more.dq"),
        ]
        node.input[position] = "more.dq"
        index = list(model.graph.node).index(node)
        for offset, made in enumerate(pair):
            model.graph.node.insert(index + offset, made)

    return spoil


def quantize_bias(model: onnx.ModelProto) -> None:
    place(model, np.ones(4, np.int32), "bias.int32")
    place(model, np.ones(4, np.float32), "bias.scale")
    made = helper.make_node(
        "DequantizeLinear", ["bias.int32", "bias.scale"], ["bias.dq"], name="bias.dq", axis=0
    )
    model.graph.node.insert(0, made)
    find(model, "conv").input[2] = "bias.dq"


def quantize_stored_float(model: onnx.ModelProto) -> None:
    place(model, np.ones((6, 6), np.float32), "float.weight")
    place(model, np.zeros(6, np.int8), "zeros")
    made = helper.make_node(
        "QuantizeLinear",
        ["float.weight", "to_q.weight.int8_scale", "zeros"],
        ["float.q"],
        name="float.q",
        axis=1,
    )
    model.graph.node.insert(0, made)
    find(model, "to_q.weight.dequantized").input[0] = "float.q"


def give_scales_of_channels(model: onnx.ModelProto) -> None:
    place(model, np.ones(4, np.float32), "x.int8_scale")
    place(model, np.zeros(4, np.int8), "zeros")
    for name in ("x.int8", "x.dequantized"):
        find(model, name).input[2] = "zeros"


def compute_scale(model: onnx.ModelProto) -> None:
    place(model, np.float32([[[[0.1]]]]), "start")
    model.graph.node.insert(0, helper.make_node("Sigmoid", ["start"], ["dynamic"], name="dynamic"))
    find(model, "x.int8").input[1] = find(model, "x.dequantized").input[1] = "dynamic"


def move_scale_out(model: onnx.ModelProto) -> None:
    tensor = next(one for one in model.graph.initializer if one.name == "conv.weight.int8_scale")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="small.bin")


def let_another_read(model: onnx.ModelProto) -> None:
    made = helper.make_node("Reshape", ["x.int8", "shape"], ["other"], name="reshape")
    place(model, np.array([1, 4, 36]), "shape")
    model.graph.node.insert(1, made)


def give_output(model: onnx.ModelProto) -> None:
    residual = find(model, "residual")
    residual.output[0] = "sum"
    scaling = ["x.int8_scale", "activations.int8_zero"]
    model.graph.node.append(
        helper.make_node("QuantizeLinear", ["sum", *scaling], ["sum.q"], name="sum.q")
    )
    model.graph.node.append(
        helper.make_node("DequantizeLinear", ["sum.q", *scaling], ["y"], name="sum.dq")
    )


FAULTS: dict[str, tuple[str, Spoil]] = {
    "a Conv's weight on axis 1": ("qdq axis", set_axis("conv.weight.dequantized", 1)),
    "a Conv's weight on the default axis": ("qdq axis", drop_axis),
    "a MatMul's weight on axis 0": ("qdq axis", set_axis("to_q.weight.dequantized", 0)),
    "a weight with one scale": ("qdq axis", set_constant("to_q.weight.int8_scale", 0.1)),
    "a weight with too few scales": (
        "qdq axis",
        set_constant("conv.weight.int8_scale", [0.1, 0.1]),
    ),
    "an activation with a scale per channel": ("qdq activation", give_scales_of_channels),
    "a zero point of 3": ("qdq zero point", set_constant("activations.int8_zero", 3, np.int8)),
    "an unsigned zero point": (
        "qdq zero point",
        set_constant("activations.int8_zero", 0, np.uint8),
    ),
    "no zero point on Q": ("qdq zero point", lambda m: find(m, "x.int8").input.pop()),
    "a zero point of another shape": (
        "qdq zero point",
        set_constant("activations.int8_zero", [0, 0], np.int8),
    ),
    "a scale of 0": ("qdq scale", set_constant("x.int8_scale", 0.0)),
    "a negative scale": (
        "qdq scale",
        set_constant("conv.weight.int8_scale", [0.1, 0.1, -0.1, 0.1]),
    ),
    "an infinite scale": ("qdq scale", set_constant("x.int8_scale", np.inf)),
    "a scale that is not a number": (
        "qdq scale",
        set_constant("conv.weight.int8_scale", [0.1, np.nan, 0.1, 0.1]),
    ),
    "a subnormal scale": ("qdq scale", set_constant("x.int8_scale", 1e-40)),
    "a scale from data": ("qdq scale", compute_scale),
    "a scale in the file of weights": ("qdq scale", move_scale_out),
    "a weight stored as float": ("qdq weight", quantize_stored_float),
    "a weight stored as int32": (
        "qdq weight",
        set_constant("to_q.weight", np.ones((6, 6)), np.int32),
    ),
    "a weight stored as uint8": (
        "qdq weight",
        set_constant("to_q.weight", np.ones((6, 6)), np.uint8),
    ),
    "a quantized bias": ("qdq reader", quantize_bias),
    "quantized attention, first input": ("qdq reader", add_pair("query", "attention", 0)),
    "quantized attention, second input": ("qdq reader", add_pair("seen", "attention", 1)),
    "a quantized softmax": ("qdq reader", add_pair("scores", "softmax", 0)),
    "int8 activations with a float weight": (
        "qdq reader",
        lambda m: (
            place(m, np.ones((6, 6), np.float32), "plain"),
            find(m, "linear").input.__setitem__(1, "plain"),
        ),
    ),
    "a quantized output": ("qdq reader", give_output),
    "int8 read by another operator": ("qdq pair", let_another_read),
    "a DQ without a Q": (
        "qdq pair",
        lambda m: find(m, "x.dequantized").input.__setitem__(0, "seen.int8"),
    ),
    "a pair of two scales": (
        "qdq pair",
        lambda m: find(m, "x.dequantized").input.__setitem__(1, "seen.int8_scale"),
    ),
    "an integer operator": (
        "operator",
        lambda m: m.graph.node.append(
            helper.make_node("ConvInteger", ["x.int8", "conv.weight"], ["i"], name="i")
        ),
    ),
    "a newer opset": ("opset", lambda m: setattr(m.opset_import[0], "version", 21)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_planted_fault_is_caught(tmp_path: Path, fault: str) -> None:
    rule, spoil = FAULTS[fault]
    model = make_model(tmp_path)
    spoil(model)
    assert rule in [finding.rule for finding in lint_graph(model, describe("float32"))]
    with pytest.raises(GraphError, match=r"^small: \d+ broken graph rules, the first: ") as caught:
        require_clean(model, describe("float32"))
    assert "\n" not in str(caught.value)


def test_fp16_scales_need_a_newer_opset(tmp_path: Path) -> None:
    model = make_model(tmp_path, np.float16)
    model.opset_import[0].version = 18
    assert "qdq opset" in [finding.rule for finding in lint_graph(model, describe("float16"))]


def test_a_subnormal_fp16_scale_is_caught(tmp_path: Path) -> None:
    model = make_model(tmp_path, np.float16)
    set_constant("x.int8_scale", 3e-5, np.float16)(model)
    findings = [one for one in lint_graph(model, describe("float16")) if one.rule == "qdq scale"]
    assert [finding.where for finding in findings] == ["x.int8", "x.dequantized"]
    assert all("subnormal float16" in finding.detail for finding in findings)


def test_the_skip_of_a_residual_add_may_be_quantized(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    add_pair("x", "residual", 0)(model)
    assert lint_graph(model, describe("float32")) == []
