"""Islands of fp32 in an fp16 graph: strongly typed, casts shared, names kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from echoexport.calibration.lint.graph_lint import lint_graph
from echoexport.calibration.observing.overflows import (
    keep_float32,
    list_float32,
)
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.errors import GraphError

Node = tuple[str, str, list[str], dict[str, Any]]
"""Its output and name, operator, inputs, attributes."""


def test_islands_are_strongly_typed_share_casts_and_keep_names(
    make_model: Callable[..., onnx.ModelProto],
    spec_of: Callable[[str], SubnetSpec],
    grown: list[Node],
    grown_constants: Mapping[str, np.ndarray],
) -> None:
    half = make_model(grown, grown_constants, kind=TensorProto.FLOAT16)
    settled = keep_float32(half, ["grown", "sum", "seen", "shrunk"], constants=grown_constants)
    assert lint_graph(settled, spec_of("float16"), float32=list_float32(settled)) == []
    assert [f.rule for f in lint_graph(settled, spec_of("float16"))].count("dtype") > 0
    casts = [
        (node.input[0], node.output[0]) for node in settled.graph.node if node.op_type == "Cast"
    ]
    assert casts == [("small", "small.float32"), ("shrunk.float32", "shrunk")]
    assert [node.name for node in settled.graph.node if node.op_type != "Cast"] == [
        each[0] for each in grown
    ]
    assert {"weight", "weight.float32"} & {t.name for t in settled.graph.initializer} == {
        "weight.float32"
    }


def test_two_readers_of_one_value_share_its_cast(
    make_model: Callable[..., onnx.ModelProto],
) -> None:
    nodes: list[Node] = [
        ("a", "Mul", ["x", "x"], {}),
        ("b", "Add", ["x", "a"], {}),
        ("c", "Sub", ["x", "b"], {}),
        ("y", "Add", ["c", "b"], {}),
    ]
    model = keep_float32(make_model(nodes, {}, kind=TensorProto.FLOAT16), ["a", "c"])
    onnx.checker.check_model(model, full_check=True)
    assert [node.name for node in model.graph.node] == [
        "x.float32.cast",
        "a",
        "a.cast",
        "b",
        "b.float32.cast",
        "c",
        "c.cast",
        "y",
    ]


def test_weights_in_the_file_beside_the_graph_are_cast_not_copied(
    make_model: Callable[..., onnx.ModelProto],
    grown: list[Node],
    grown_constants: Mapping[str, np.ndarray],
) -> None:
    model = make_model(grown, grown_constants, kind=TensorProto.FLOAT16)
    kept = keep_float32(model, ["grown"])
    assert ("weight", "weight.float32") in [
        (n.input[0], n.output[0]) for n in kept.graph.node if n.op_type == "Cast"
    ]
    assert [t.SerializeToString() for t in kept.graph.initializer] == [
        t.SerializeToString() for t in model.graph.initializer
    ]


def test_an_output_computed_in_fp32_leaves_the_network_in_fp16(
    make_model: Callable[..., onnx.ModelProto],
    spec_of: Callable[[str], SubnetSpec],
    grown: list[Node],
    grown_constants: Mapping[str, np.ndarray],
) -> None:
    model = keep_float32(make_model(grown, grown_constants, kind=TensorProto.FLOAT16), ["y"])
    assert model.graph.node[-1].op_type == "Cast" and list(model.graph.node[-1].output) == ["y"]
    assert lint_graph(model, spec_of("float16"), float32=list_float32(model)) == []


def test_without_nodes_the_graph_stays_as_it_is(
    make_model: Callable[..., onnx.ModelProto],
    grown: list[Node],
    grown_constants: Mapping[str, np.ndarray],
) -> None:
    model = make_model(grown, grown_constants, kind=TensorProto.FLOAT16)
    kept = keep_float32(model, [])
    assert kept == model and kept is not model


def test_a_node_that_the_graph_lacks_is_refused_by_name(
    make_model: Callable[..., onnx.ModelProto],
    grown: list[Node],
    grown_constants: Mapping[str, np.ndarray],
) -> None:
    with pytest.raises(GraphError, match="sandbox: no node is called 'gone'"):
        keep_float32(
            make_model(grown, grown_constants, kind=TensorProto.FLOAT16), ["grown", "gone"]
        )


OPERATORS: dict[str, Callable[[str, str], Node]] = {
    "Add": lambda name, value: (name, "Add", [value, "x"], {}),
    "Mul": lambda name, value: (name, "Mul", [value, "half"], {}),
    "MatMul": lambda name, value: (name, "MatMul", [value, "turn"], {}),
    "Softmax": lambda name, value: (name, "Softmax", [value], {}),
    "LayerNormalization": lambda name, value: (
        name,
        "LayerNormalization",
        [value, "scale", "shift"],
        {},
    ),
    "Reshape": lambda name, value: (name, "Reshape", [value, "shape"], {}),
}
TURN = {
    "turn": np.linalg.qr(np.random.default_rng(8).standard_normal((8, 8)))[0].astype(np.float32),
    "scale": np.ones(8, np.float32),
    "shift": np.zeros(8, np.float32),
    "half": np.full(1, 0.5, np.float32),
    "shape": np.array([4, 8], np.int64),
}


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_choice_of_nodes_gives_a_well_typed_graph_as_good_as_fp16(
    data: st.DataObject,
    make_model: Callable[..., onnx.ModelProto],
    spec_of: Callable[[str], SubnetSpec],
    draw_rows: Callable[..., np.ndarray],
    run_model: Callable[[onnx.ModelProto, np.ndarray], np.ndarray],
) -> None:
    kinds = data.draw(st.lists(st.sampled_from(sorted(OPERATORS)), min_size=1, max_size=6))
    names = [f"n{index}" for index in range(len(kinds) - 1)] + ["y"]
    nodes = [
        OPERATORS[kind](name, last)
        for kind, name, last in zip(kinds, names, ["x", *names], strict=False)
    ]
    chosen = data.draw(st.sets(st.sampled_from(names)))
    used = {name: TURN[name] for name in TURN if any(name in node[2] for node in nodes)}
    plain = make_model(nodes, used, kind=TensorProto.FLOAT16)
    kept = keep_float32(plain, chosen)
    assert lint_graph(kept, spec_of("float16"), float32=list_float32(kept)) == []
    assert sum(node.op_type == "Cast" for node in kept.graph.node) <= sum(
        1 + len(node[2]) for node in nodes if node[0] in chosen
    )
    wanted = run_model(make_model(nodes, used, kind=TensorProto.FLOAT), draw_rows())
    np.testing.assert_allclose(
        run_model(kept, draw_rows()), wanted, atol=2e-2 * np.abs(wanted).max()
    )
