"""A graph that every parser of TensorRT takes, and faults to plant in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from echoexport.calibration.lint.tensorrt_operators import LINES

Spoil = Callable[[onnx.ModelProto], object]
FLOAT = TensorProto.FLOAT
HALF = TensorProto.FLOAT16
EVERY = tuple(LINES)
SIDES = [1, 4, 6, 6]


def constant(name: str, values: object, dtype: type[np.generic] = np.float16) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def make_model() -> onnx.ModelProto:
    """x padded, convolved with an int8 weight, normalized, doubled in size, in fp16.

    Every parser takes it.
    """
    scaling = ["x.scale", "zero"]
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["padded"], name="pad"),
        helper.make_node("QuantizeLinear", ["padded", *scaling], ["x.q"], name="x.q"),
        helper.make_node("DequantizeLinear", ["x.q", *scaling], ["x.dq"], name="x.dq"),
        helper.make_node(
            "DequantizeLinear", ["w.int8", "w.scale", "w.zero"], ["w"], name="w.dq", axis=0
        ),
        helper.make_node("Conv", ["x.dq", "w", "bias"], ["seen"], name="conv", kernel_shape=[3, 3]),
        helper.make_node(
            "InstanceNormalization", ["seen", "ones", "bias"], ["normed"], name="norm"
        ),
        helper.make_node(
            "Resize",
            ["normed", "", "scales"],
            ["big"],
            name="resize",
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        ),
        helper.make_node("Cast", ["big"], ["wide"], name="widen", to=FLOAT),
        helper.make_node("Mul", ["wide", "wide"], ["squared"], name="square"),
        helper.make_node("Cast", ["squared"], ["y"], name="narrow", to=HALF),
    ]
    tensors = [
        constant("pads", [0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        constant("x.scale", 0.5),
        constant("zero", 0, np.int8),
        constant("w.int8", np.ones((4, 4, 3, 3)), np.int8),
        constant("w.scale", [0.5] * 4),
        constant("w.zero", [0] * 4, np.int8),
        constant("bias", [1] * 4),
        constant("ones", [1] * 4),
        constant("scales", [1, 1, 2, 2], np.float32),
    ]
    graph = helper.make_graph(
        nodes,
        "sandbox",
        [helper.make_tensor_value_info("x", HALF, SIDES)],
        [helper.make_tensor_value_info("y", HALF, [1, 4, 12, 12])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def find(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name == name)


def insert(
    op: str,
    *inputs: str,
    output: str = "other",
    constants: tuple[TensorProto, ...] = (),
    **how: object,
) -> Spoil:
    """One more node, called "culprit", at the graph's end: it may read every value."""

    def spoil(model: onnx.ModelProto) -> None:
        model.graph.initializer.extend(constants)
        outputs = output.split() if output else []
        model.graph.node.append(helper.make_node(op, list(inputs), outputs, name="culprit", **how))  # type: ignore[arg-type]

    return spoil


def set_attribute(name: str, **values: object) -> Spoil:
    def spoil(model: onnx.ModelProto) -> None:
        node = find(model, name)
        for key, value in values.items():
            kept = [one for one in node.attribute if one.name != key]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute(key, value)])

    return spoil


def replace_constant(name: str, values: object, dtype: type[np.generic]) -> Spoil:
    def spoil(model: onnx.ModelProto) -> None:
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
        tensor.CopyFrom(constant(name, values, dtype))

    return spoil


def store_outside(location: str, length: int = 8) -> Spoil:
    def spoil(model: onnx.ModelProto) -> None:
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "bias")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)

    return spoil


def read_from_data(place: int, name: str) -> Spoil:
    """An input of a node that was a constant comes from the graph's input."""

    def spoil(model: onnx.ModelProto) -> None:
        find(model, name).input[place] = "x"

    return spoil


def set_opset(version: int) -> Spoil:
    return lambda model: setattr(model.opset_import[0], "version", version)


def free_side(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def quantize_bias(model: onnx.ModelProto) -> None:
    model.graph.initializer.extend(
        [constant("bias.int32", [1] * 4, np.int32), constant("bias.scale", [1] * 4)]
    )
    made = helper.make_node(
        "DequantizeLinear", ["bias.int32", "bias.scale"], ["bias.dq"], name="culprit", axis=0
    )
    model.graph.node.insert(0, made)
    find(model, "conv").input[2] = "bias.dq"


WIDE = constant("more", [[1, 2]], np.float32)
AXES = constant("axes", [2, 3], np.int64)
PADS = constant("two", [1, 1, 1, 1], np.int64)
# What is planted: the rule that must name it, the node or value, the versions that
# refuse it.
FAULTS: dict[str, tuple[str, str, tuple[str, ...], Spoil]] = {
    "an opset of TensorRT 10.9": ("parser opset", "model", ("10.3",), set_opset(21)),
    "an opset of the future": ("parser opset", "model", EVERY, set_opset(25)),
    "an opset of the past": ("parser opset", "model", EVERY, set_opset(8)),
    "attention in one operator": (
        "parser operator",
        "culprit",
        ("10.3",),
        insert("Attention", "big", "big", "big"),
    ),
    "opset-21 group normalization": (
        "parser operator",
        "culprit",
        ("10.3",),
        insert("GroupNormalization", "big", "ones", "bias", num_groups=2),
    ),
    "an operator of ONNX Runtime's": (
        "parser operator",
        "culprit",
        EVERY,
        insert("FusedMatMul", "big", "big", domain="com.microsoft"),
    ),
    "an integer convolution": (
        "parser operator",
        "culprit",
        EVERY,
        insert("ConvInteger", "x.q", "w.int8"),
    ),
    "an operator nobody parses": ("parser operator", "culprit", EVERY, insert("Unique", "big")),
    "fp16 and fp32 in one sum": ("mixed types", "culprit", EVERY, insert("Add", "big", "wide")),
    "an fp32 weight in an fp16 product": (
        "mixed types",
        "culprit",
        EVERY,
        insert("MatMul", "big", "m32", constants=(constant("m32", np.ones((12, 2)), np.float32),)),
    ),
    "a softmax of whole numbers": (
        "parser type",
        "culprit",
        EVERY,
        insert("Softmax", "axes", constants=(AXES,)),
    ),
    "a sum in fp64": (
        "parser type",
        "culprit",
        EVERY,
        insert("Add", "d", "d", constants=(constant("d", [1.0], np.float64),)),
    ),
    "a bias in int32": ("parser type", "culprit", EVERY, quantize_bias),
    "a weight in uint8": (
        "parser type",
        "w.dq",
        EVERY,
        replace_constant("w.int8", np.ones((4, 4, 3, 3)), np.uint8),
    ),
    "a cast to int8": ("cast", "culprit", EVERY, insert("Cast", "big", to=TensorProto.INT8)),
    "a cast to fp64": ("cast", "culprit", EVERY, insert("Cast", "big", to=TensorProto.DOUBLE)),
    "a cubic resize": ("resize", "resize", EVERY, set_attribute("resize", mode="cubic")),
    "a resize without aliasing": ("resize", "resize", EVERY, set_attribute("resize", antialias=1)),
    "a resize that crops": (
        "resize",
        "resize",
        EVERY,
        set_attribute("resize", coordinate_transformation_mode="tf_crop_and_resize"),
    ),
    "a resize of a kept aspect": (
        "resize",
        "resize",
        EVERY,
        set_attribute("resize", keep_aspect_ratio_policy="not_larger"),
    ),
    "a resize of some axes": ("resize", "resize", EVERY, set_attribute("resize", axes=[2, 3])),
    "a size from data": ("constant input", "resize", EVERY, read_from_data(2, "resize")),
    "a scale from data": ("constant input", "x.q", EVERY, read_from_data(1, "x.q")),
    "pads of named axes": (
        "pad",
        "culprit",
        ("10.3",),
        insert("Pad", "big", "two", "", "axes", constants=(AXES, PADS)),
    ),
    "a pad of an unknown mode": ("pad", "pad", EVERY, set_attribute("pad", mode="mirror")),
    "scales of blocks": ("qdq block", "w.dq", EVERY, set_attribute("w.dq", block_size=2)),
    "a layer norm with its mean": (
        "normalization",
        "culprit",
        EVERY,
        insert(
            "LayerNormalization",
            "big",
            "twelve",
            output="n mean",
            constants=(constant("twelve", [1] * 12),),
        ),
    ),
    "an instance norm over rows": (
        "normalization",
        "culprit",
        EVERY,
        insert(
            "InstanceNormalization",
            "flat",
            "ones",
            "bias",
            constants=(constant("flat", np.ones((2, 4))),),
        ),
    ),
    "a pool with holes": (
        "pool",
        "culprit",
        EVERY,
        insert("MaxPool", "big", kernel_shape=[2, 2], dilations=[2, 2]),
    ),
    "a value of nine axes": (
        "rank",
        "culprit",
        EVERY,
        insert("Reshape", "big", "nine", constants=(constant("nine", [1] * 8 + [576], np.int64),)),
    ),
    "an input of any length": ("static shape", "x", EVERY, free_side),
    "weights at an absolute place": (
        "external data",
        "bias",
        EVERY,
        store_outside("/models/weights.bin"),
    ),
    "weights outside the folder": ("external data", "bias", EVERY, store_outside("../weights.bin")),
    "weights of another length": ("external data", "bias", EVERY, store_outside("weights.bin", 12)),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes a ``parser_fault`` runs for each one."""
    if "parser_fault" in metafunc.fixturenames:
        metafunc.parametrize("parser_fault", FAULTS)


@pytest.fixture(scope="session")
def faults() -> dict[str, tuple[str, str, tuple[str, ...], Spoil]]:
    """What is planted: rule, node or value, versions that refuse it, and how it is planted."""
    return FAULTS


@pytest.fixture
def parsed_model() -> onnx.ModelProto:
    """x padded, convolved with an int8 weight, normalized, doubled in size, in fp16."""
    return make_model()


@pytest.fixture(scope="session")
def plant() -> Callable[..., Spoil]:
    """A function that gives what adds one more node, called "culprit", at a graph's end."""
    return insert


@pytest.fixture(scope="session")
def move_weights() -> Callable[..., Spoil]:
    """A function that gives what stores the bias at another place."""
    return store_outside
