"""Every rule of the graph lint fires on a graph made to break it, and on nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from echoexport.calibration.lint.graph_lint import lint_graph, require_clean
from echoexport.runtime.contract.operators import PLAIN_OPERATORS
from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec
from echoexport.runtime.errors import GraphError

FLOAT = TensorProto.FLOAT
HALF = TensorProto.FLOAT16
Spoil = Callable[[onnx.ModelProto], object]

SPEC = SubnetSpec(
    "sandbox",
    (TensorSpec("x", "float16", (("rows", 2), ("columns", 4))),),
    (TensorSpec("y", "float16", (("rows", 2), ("columns", 4))),),
    {},
)


def half(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(np.ones(shape, np.float16), name)


@pytest.fixture
def model() -> onnx.ModelProto:
    """x @ weight, halved, in fp16: nothing to find fault with."""
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["product"], name="matmul"),
        helper.make_node("Mul", ["product", "scale"], ["y"], name="scaling"),
    ]
    graph = helper.make_graph(
        nodes,
        "sandbox",
        [helper.make_tensor_value_info("x", HALF, [2, 4])],
        [helper.make_tensor_value_info("y", HALF, [2, 4])],
        [half("weight", 4, 4), half("scale", 1)],
        value_info=[helper.make_tensor_value_info("product", HALF, [2, 4])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def insert(node: onnx.NodeProto, *, constants: tuple[TensorProto, ...] = ()) -> Spoil:
    def spoil(model: onnx.ModelProto) -> None:
        model.graph.node.insert(0, node)
        model.graph.initializer.extend(constants)

    return spoil


def node(op: str, *inputs: str, output: str = "other", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, list(inputs), [output], name="culprit", **attributes)  # type: ignore[arg-type]


def branch() -> onnx.GraphProto:
    return helper.make_graph(
        [helper.make_node("Identity", ["x"], ["taken"])],
        "branch",
        [],
        [helper.make_tensor_value_info("taken", HALF, [2, 4])],
    )


def set_sides(value: onnx.ValueInfoProto, *sides: int | str) -> None:
    del value.type.tensor_type.shape.dim[:]
    for side in sides:
        entry = value.type.tensor_type.shape.dim.add()
        if isinstance(side, str):
            entry.dim_param = side
        else:
            entry.dim_value = side


def test_a_clean_graph_has_no_findings(model: onnx.ModelProto) -> None:
    assert lint_graph(model, SPEC) == []
    require_clean(model, SPEC)


SHAPE = numpy_helper.from_array(np.array([2, 4]), "shape")
OFFENCES: dict[str, tuple[str, Spoil]] = {
    "a newer opset": ("opset", lambda m: setattr(m.opset_import[0], "version", 21)),
    "a domain of its own": (
        "opset",
        lambda m: m.opset_import.append(helper.make_opsetid("com.microsoft", 1)),
    ),
    "no opset": ("opset", lambda m: m.ClearField("opset_import")),
    "a function": (
        "opset",
        lambda m: m.functions.append(
            helper.make_function("f", "F", ["a"], ["b"], [], [helper.make_opsetid("", 20)])
        ),
    ),
    "an operator off the list": ("operator", insert(node("Identity", "x"))),
    "a custom operator": (
        "operator",
        insert(node("MatMul", "x", "weight", domain="com.microsoft")),
    ),
    "a newer operator": ("operator", insert(node("Attention", "x", "x", "x"))),
    "an if": (
        "control flow",
        insert(node("If", "scale", then_branch=branch(), else_branch=branch())),
    ),
    "a scan over values": ("control flow", insert(node("NonZero", "x"))),
    "a subgraph in a known operator": (
        "control flow",
        insert(node("Add", "x", "x", body=branch())),
    ),
    "an input of another name": (
        "interface",
        lambda m: setattr(m.graph.input[0], "name", "latents"),
    ),
    "an input too many": (
        "interface",
        lambda m: m.graph.input.append(helper.make_tensor_value_info("more", HALF, [1])),
    ),
    "an output too few": ("interface", lambda m: m.graph.output.pop()),
    "an input of another type": (
        "interface",
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", FLOAT),
    ),
    "an output of another shape": ("interface", lambda m: set_sides(m.graph.output[0], 4, 2)),
    "a side by name": ("interface", lambda m: set_sides(m.graph.input[0], "batch", 4)),
    "a weight of another type": (
        "dtype",
        lambda m: m.graph.initializer.append(
            numpy_helper.from_array(np.ones(2, np.float32), "wide")
        ),
    ),
    "a value of another type": (
        "dtype",
        lambda m: setattr(m.graph.value_info[0].type.tensor_type, "elem_type", FLOAT),
    ),
    "a bfloat16 value": (
        "dtype",
        lambda m: setattr(
            m.graph.value_info[0].type.tensor_type, "elem_type", TensorProto.BFLOAT16
        ),
    ),
    "a shape from data": ("shape", insert(node("Reshape", "x", "data"))),
    "parts from data": ("shape", insert(node("Split", "x", "data"))),
    "a size from data": ("shape", insert(node("Resize", "x", "", "", "data", mode="nearest"))),
    "an unknown side": ("shape", lambda m: set_sides(m.graph.value_info[0], 2, -1)),
    "a named side inside": ("shape", lambda m: set_sides(m.graph.value_info[0], "rows", 4)),
    "a value made twice": ("name", insert(node("Mul", "x", "scale", output="product"))),
    "a value over an input": ("name", insert(node("Mul", "x", "scale", output="x"))),
    "a value from nowhere": ("name", insert(node("Mul", "x", "nothing"))),
    "a value read too early": ("name", insert(node("Mul", "product", "scale"))),
    "types mixed": (
        "type",
        insert(
            node("Mul", "x", "wide"),
            constants=(numpy_helper.from_array(np.ones(1, np.float32), "wide"),),
        ),
    ),
    "shapes that do not fit": (
        "type",
        insert(node("MatMul", "x", "odd"), constants=(half("odd", 3, 4),)),
    ),
    "a shape that is not the inferred": ("type", lambda m: set_sides(m.graph.value_info[0], 2, 5)),
}


@pytest.mark.parametrize("offence", OFFENCES)
def test_each_rule_fires(model: onnx.ModelProto, offence: str) -> None:
    rule, spoil = OFFENCES[offence]
    spoil(model)
    assert rule in [finding.rule for finding in lint_graph(model, SPEC)]
    with pytest.raises(
        GraphError, match=r"^sandbox: \d+ broken graph rules, the first: "
    ) as caught:
        require_clean(model, SPEC)
    assert "\n" not in str(caught.value)


def test_the_offender_is_named(model: onnx.ModelProto) -> None:
    insert(node("Einsum", "x", equation="ij->ji"))(model)
    (finding,) = (f for f in lint_graph(model, SPEC) if f.rule == "operator")
    wanted = (
        "operator: culprit: onnx.Einsum is not on the allow-list; "
        "fix: export it with operators of the list"
    )
    assert str(finding) == wanted


@pytest.mark.parametrize("element", [FLOAT, HALF])
def test_scales_of_a_resize_are_float32_in_any_graph(element: int) -> None:
    """ONNX has no other type for them."""
    sides = [1, 2, 3, 3]
    doubled = [1, 2, 6, 6]
    dtype = {FLOAT: "float32", HALF: "float16"}[element]  # type: ignore[index]
    spec = SubnetSpec(
        "up",
        (TensorSpec("x", dtype, tuple((f"axis{i}", n) for i, n in enumerate(sides))),),
        (TensorSpec("y", dtype, tuple((f"axis{i}", n) for i, n in enumerate(doubled))),),
        {},
    )
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], name="up", mode="nearest")],
        "up",
        [helper.make_tensor_value_info("x", element, sides)],
        [helper.make_tensor_value_info("y", element, doubled)],
        [scales],
    )
    assert (
        lint_graph(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), spec)
        == []
    )


def test_every_allowed_operator_is_in_the_newest_opset_allowed() -> None:
    assert all(
        onnx.defs.has(name, 20) and onnx.defs.get_schema(name, 20).since_version <= 20
        for name in PLAIN_OPERATORS
    )
