"""A graph under revision: order, names, constants, and what nobody reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from echoexport.export.graphs.edited_graph import EditedGraph, attribute, volume
from echoexport.runtime.contract.operators import MICROSOFT


@pytest.fixture
def graph(sketch: Any) -> EditedGraph:
    """x W + b, of which ``sum`` is given out; ``spare`` is read by nobody."""
    draft = sketch()
    x = draft.input(2, 3, name="x")
    product = draft.add("MatMul", x, draft.weight(3, 4, name="w"), name="product")
    draft.add("Relu", product, name="spare")
    draft.add("Add", product, draft.weight(4, name="b"), name="sum")
    return EditedGraph(draft.model("sum"))


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_shapes_of_all_values_are_known(graph: EditedGraph) -> None:
    assert graph.shapes == {
        "x": (2, 3),
        "w": (3, 4),
        "b": (4,),
        "product": (2, 4),
        "spare": (2, 4),
        "sum": (2, 4),
    }
    assert graph.dtype == np.float32


def test_what_nobody_reads_is_dropped(graph: EditedGraph) -> None:
    assert operators(graph.finish()) == ["MatMul", "Add"]


def test_weights_that_nobody_reads_any_more_are_dropped(graph: EditedGraph) -> None:
    graph.nodes = [graph.make("Relu", ["x"], "sum", (2, 3))]
    assert [tensor.name for tensor in graph.finish().graph.initializer] == []


def test_nodes_are_put_into_an_order_that_runs(graph: EditedGraph) -> None:
    graph.nodes.reverse()
    assert operators(graph.finish()) == ["MatMul", "Add"]


def test_nodes_that_run_as_they_are_keep_their_order(graph: EditedGraph) -> None:
    relu = graph.make("Relu", ["x"], "first", (2, 3))
    graph.nodes[:0] = [relu]
    graph.nodes.append(graph.make("MatMul", ["first", "w"], "second", (2, 4)))
    graph.nodes[-2].input[1] = "second"
    assert operators(graph.finish()) == ["Relu", "MatMul", "MatMul", "Add"]


@given(order=st.permutations(range(12)), data=st.data())
def test_every_node_comes_after_those_it_reads(order: list[int], data: st.DataObject) -> None:
    nodes = []
    for place in range(12):
        read = (
            data.draw(st.lists(st.integers(0, place - 1), max_size=3, unique=True)) if place else []
        )
        nodes.append(onnx.helper.make_node("Sum", ["x", *(f"v{i}" for i in read)], [f"v{place}"]))
    values = [
        onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "v11")
    ]
    model = onnx.helper.make_model(
        onnx.helper.make_graph([nodes[i] for i in order], "any", values[:1], values[1:])
    )
    known = {"x"}
    for node in EditedGraph(model).finish().graph.node:
        assert set(node.input) <= known
        known.update(node.output)
    assert "v11" in known


def test_the_model_that_is_revised_stays_as_it_was(sketch: Any) -> None:
    draft = sketch()
    model = draft.model(draft.add("Relu", draft.input(2, 3)))
    before = model.SerializeToString()
    graph = EditedGraph(model)
    graph.nodes[0].op_type = "Sigmoid"
    graph.finish().graph.node[0].op_type = "Tanh"
    assert model.SerializeToString() == before


def test_a_fresh_name_is_nobodys(graph: EditedGraph) -> None:
    names = [graph.fresh("product") for _ in range(3)]
    assert names == ["product.2", "product.3", "product.4"]
    assert graph.fresh("w") not in graph.shapes


def test_a_constant_is_made_once_for_all_who_want_it(graph: EditedGraph) -> None:
    first = graph.integers([0, -1])
    second = graph.integers([0, -1])
    assert first == second
    assert graph.integers([0, 1]) != first


@pytest.mark.parametrize(
    "other", [np.zeros((1, 2), np.float32), np.zeros(2, np.int64), np.zeros(4, np.float16)]
)
def test_a_constant_of_another_shape_or_type_is_another_one(
    graph: EditedGraph, other: np.ndarray
) -> None:
    assert graph.constant(np.zeros(2, np.float32), "zeros") != graph.constant(other, "zeros")


def test_a_constant_is_written_only_if_it_is_read(graph: EditedGraph) -> None:
    shape = graph.integers([8])
    graph.constant(np.ones(3, np.float32), "unread")
    graph.nodes.append(graph.make("Reshape", ["product", shape], "flat", (8,)))
    graph.nodes[-2].input[0] = "flat"
    assert [tensor.name for tensor in graph.finish().graph.initializer] == ["w", "b", "shape"]


def test_makers_and_readers_are_known_after_an_index(graph: EditedGraph) -> None:
    graph.nodes.append(graph.make("Mul", ["sum", "sum"], "square", (2, 4)))
    graph.index()
    assert graph.makers["square"].op_type == "Mul"
    assert [node.op_type for node in graph.readers["sum"]] == ["Mul"]
    assert [node.op_type for node in graph.readers["product"]] == ["Relu", "Add"]


@pytest.mark.parametrize(
    ("name", "operator"), [("product", "Relu"), ("sum", "Mul"), ("spare", "Relu")]
)
def test_a_value_with_two_readers_or_none_or_given_out_has_no_only_reader(
    graph: EditedGraph, name: str, operator: str
) -> None:
    graph.nodes.append(graph.make("Mul", ["sum", "sum"], "square", (2, 4)))
    graph.index()
    assert graph.only_reader(name, operator) is None


def test_an_operator_of_another_domain_is_another_operator(graph: EditedGraph) -> None:
    graph.nodes.append(graph.make("Relu", ["spare"], "own", (2, 4), domain=MICROSOFT))
    graph.index()
    assert graph.maker("own", "Relu") is None
    assert graph.only_reader("spare", "Relu") is None


@pytest.mark.parametrize(("operator", "domain"), [("Relu", ""), ("Gelu", MICROSOFT)])
def test_the_librarys_domain_is_named_once_where_it_is_used(
    graph: EditedGraph, operator: str, domain: str
) -> None:
    del graph._model.opset_import[1]
    graph.nodes = [graph.make(operator, ["x"], "sum", (2, 3), domain=domain)]
    once = graph.finish()
    twice = EditedGraph(once).finish()
    assert [opset.domain for opset in once.opset_import] == ["", MICROSOFT][: 1 + bool(domain)]
    assert list(twice.opset_import) == list(once.opset_import)


def test_weights_beside_the_graph_are_not_read(graph: EditedGraph) -> None:
    graph._tensors["w"].data_location = TensorProto.EXTERNAL
    assert graph.read("w") is None
    assert graph.is_constant("w")
    assert graph.read("b") is not None


@pytest.mark.parametrize(
    ("name", "wanted"), [("b", True), ("w", False), ("product", False), ("x", False)]
)
def test_a_vector_is_a_constant_of_one_axis(graph: EditedGraph, name: str, wanted: bool) -> None:
    assert graph.is_vector(name) == wanted


def test_a_scalar_is_a_constant_of_one_value(sketch: Callable[[], Any]) -> None:
    draft = sketch()
    half = draft.number(0.5)
    model = draft.model(
        draft.add("Mul", draft.add("Mul", draft.input(2, 2), half), draft.weight(2, name="two"))
    )
    graph = EditedGraph(model)
    assert (graph.scalar(half), graph.scalar("two"), graph.scalar("in0")) == (0.5, None, None)


def test_an_attribute_that_is_not_there_has_its_default() -> None:
    node = onnx.helper.make_node("Concat", ["a"], ["b"], axis=1)
    assert (attribute(node, "axis"), attribute(node, "no"), attribute(node, "no", 3)) == (
        1,
        None,
        3,
    )


def test_a_volume_is_a_product_and_a_scalars_is_one() -> None:
    assert (volume((2, 3, 4)), volume(())) == (24, 1)
