"""A typed graph: stored, said and inferred types, and what is not known."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from echoexport.calibration.lint.typed_graph import TypedGraph, Value, name_type, read_attributes


@pytest.fixture
def model() -> onnx.ModelProto:
    """x (2, 3) by w (3, 4), in fp16, and an operator that ONNX does not know."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], name="product"),
        helper.make_node("Secret", ["product"], ["y"], name="secret", domain="ours", word="hush"),
    ]
    body = helper.make_graph(
        nodes,
        "sandbox",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [2, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(np.ones((3, 4), np.float16), "w")],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("ours", 7)]
    return helper.make_model(body, opset_imports=opsets, ir_version=10)


def test_types_are_those_stored_said_and_inferred(model: onnx.ModelProto) -> None:
    graph = TypedGraph(model)
    assert graph.values["w"] == Value("float16", (3, 4))
    assert graph.values["x"] == Value("float16", (2, 3))
    assert graph.values["product"] == Value("float16", (2, 4))
    assert graph.values["y"] == Value("float32", (0, 4))  # one side is not known
    assert graph.opset == 20
    assert set(graph.constants) == {"w"}


def test_what_is_not_known_has_no_type_and_no_sides(model: onnx.ModelProto) -> None:
    del model.graph.output[:]
    graph = TypedGraph(model)
    assert (graph.type_of("y"), graph.sides_of("y")) == ("", None)
    assert (graph.type_of("product"), graph.sides_of("product")) == ("float16", (2, 4))


def test_a_model_that_names_no_version_has_opset_0(model: onnx.ModelProto) -> None:
    del model.opset_import[:]
    assert TypedGraph(model).opset == 0


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (TensorProto.FLOAT, "float32"),
        (TensorProto.DOUBLE, "float64"),
        (TensorProto.FLOAT16, "float16"),
        (TensorProto.BFLOAT16, "bfloat16"),
        (TensorProto.INT4, "int4"),
        (TensorProto.UNDEFINED, ""),
    ],
)
def test_types_go_by_the_names_of_numpy_where_it_has_them(kind: int, name: str) -> None:
    assert name_type(kind) == name


def test_attributes_that_are_text_are_text(model: onnx.ModelProto) -> None:
    assert read_attributes(model.graph.node[1]) == {"word": "hush"}
    assert read_attributes(helper.make_node("Softmax", ["x"], ["y"], axis=-1)) == {"axis": -1}
