"""A graph under construction: names stay unique, equal constants are one, the rest drops out."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from echoexport.export.subnets.graph_builder import OPSET, GraphBuilder, external_parameter


def describe(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def test_a_taken_name_gets_a_number() -> None:
    builder = GraphBuilder(dtype="float32")
    assert [builder.unique(name) for name in ("a", "a", "b", "a")] == ["a", "a.2", "b", "a.3"]


def test_a_node_and_its_output_share_a_name() -> None:
    builder = GraphBuilder(dtype="float32")
    names = [builder.add("Relu", ["x"], name="relu", shape=(2, 3)) for _ in range(2)]
    assert names == ["relu", "relu.2"]
    assert [(node.name, list(node.output)) for node in builder.nodes] == [
        ("relu", ["relu"]),
        ("relu.2", ["relu.2"]),
    ]
    assert [info.name for info in builder.infos] == names


@pytest.mark.parametrize(("dtype", "element"), [("float32", 1), ("float16", 10)])
def test_values_have_the_graphs_type_unless_another_is_named(dtype: str, element: int) -> None:
    builder = GraphBuilder(dtype=dtype)
    builder.add("Relu", ["x"], name="float", shape=(1,))
    builder.add("Greater", ["x", "y"], name="bool", shape=(1,), element=TensorProto.BOOL)
    assert [info.type.tensor_type.elem_type for info in builder.infos] == [
        element,
        TensorProto.BOOL,
    ]


def test_equal_constants_are_one_and_others_are_not() -> None:
    builder = GraphBuilder(dtype="float32")
    first = builder.constant([1.0, 2.0])
    assert builder.constant((1, 2)) == first
    others = {builder.constant([[1.0, 2.0]]), builder.constant([1, 2], "int64"), first}
    assert len(others) == 3


def test_a_split_names_its_node_after_the_first_part() -> None:
    builder = GraphBuilder(dtype="float32")
    parts = builder.split("x", 3, name="part", shape=(2, 5))
    (node,) = builder.nodes
    assert parts == ["part", "part.2", "part.3"] == list(node.output)
    assert node.name == "part"
    model = builder.finish(
        name="split",
        inputs=[describe("x", 6, 5)],
        outputs=[describe(part, 2, 5) for part in parts],
        parameters=[],
    )
    (sizes,) = model.graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(sizes), [2, 2, 2])


def test_what_reaches_no_output_drops_out() -> None:
    builder = GraphBuilder(dtype="float32")
    kept = builder.add("Mul", ["x", builder.constant(2.0)], name="kept", shape=(2,))
    builder.add("Mul", ["x", builder.constant(3.0)], name="gone", shape=(2,))
    spare = external_parameter("spare", (2,), element=1, location="w.bin", offset=0)
    model = builder.finish(
        name="net", inputs=[describe("x", 2)], outputs=[describe(kept, 2)], parameters=[spare]
    )
    onnx.checker.check_model(model)
    assert [node.name for node in model.graph.node] == ["kept"]
    assert [numpy_helper.to_array(each).item() for each in model.graph.initializer] == [2.0]
    assert [info.name for info in model.graph.value_info] == ["kept"]
    assert [(each.domain, each.version) for each in model.opset_import] == [("", OPSET)]


@pytest.mark.parametrize(("element", "width"), [(TensorProto.FLOAT, 4), (TensorProto.FLOAT16, 2)])
def test_a_parameter_says_where_its_values_will_lie(element: int, width: int) -> None:
    tensor = external_parameter("w", (3, 5), element=element, location="net.bin", offset=64)
    place = {entry.key: entry.value for entry in tensor.external_data}
    assert place == {"location": "net.bin", "offset": "64", "length": str(15 * width)}
    assert (list(tensor.dims), tensor.data_location) == ([3, 5], TensorProto.EXTERNAL)
