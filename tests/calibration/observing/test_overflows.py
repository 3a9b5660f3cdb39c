"""fp16 where it holds.

Planted overflows are found, and the graph with islands of fp32 gives the right result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.lint.graph_lint import lint_graph
from echoexport.calibration.observing.overflows import (
    Overflow,
    find_overflows,
    keep_float32,
    list_float32,
    settle_half,
)
from echoexport.calibration.sample import Sample
from echoexport.runtime.contract.spec import TOLERANCES, SubnetSpec, TensorSpec
from echoexport.runtime.errors import CalibrationError, GraphError

ROWS = 4
WIDTH = 8
DTYPES = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}
Node = tuple[
    str, str, list[str], dict[str, Any]
]  # its output and name, operator, inputs, attributes


def make_model(
    nodes: list[Node], constants: Mapping[str, np.ndarray], *, kind: int, output: str = "y"
) -> onnx.ModelProto:
    """A graph of values of (ROWS, WIDTH), in one float type."""
    with np.errstate(over="ignore"):
        tensors = [
            numpy_helper.from_array(
                array.astype(DTYPES[kind]) if array.dtype.kind == "f" else array, name
            )
            for name, array in constants.items()
        ]
    x, y = (helper.make_tensor_value_info(name, kind, [ROWS, WIDTH]) for name in ("x", output))
    body = helper.make_graph(
        [
            helper.make_node(op, inputs, [name], name=name, **rest)
            for name, op, inputs, rest in nodes
        ],
        "sandbox",
        [x],
        [y],
        tensors,
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def both(
    folder: Path, nodes: list[Node], constants: Mapping[str, np.ndarray], *, output: str = "y"
) -> tuple[FloatGraph, onnx.ModelProto]:
    """The same network as calibration reads it in fp32, and in fp16."""
    path = folder / "sandbox.onnx"
    onnx.save_model(make_model(nodes, constants, kind=TensorProto.FLOAT, output=output), path)
    return FloatGraph(path), make_model(nodes, constants, kind=TensorProto.FLOAT16, output=output)


def spec_of(dtype: str) -> SubnetSpec:
    axes = (("rows", ROWS), ("width", WIDTH))
    return SubnetSpec(
        "sandbox", (TensorSpec("x", dtype, axes),), (TensorSpec("y", dtype, axes),), TOLERANCES
    )


def sample(x: np.ndarray, **rest: Any) -> Sample:
    return Sample(
        "sandbox", {"x": x.astype(np.float32)}, portrait="face.png", voice="voice.wav", **rest
    )


def draw(scale: float = 1.0) -> np.ndarray:
    """(ROWS, WIDTH), seeded, in numbers that fp16 holds exactly."""
    values = np.random.default_rng(4).standard_normal((ROWS, WIDTH)) * scale
    return values.astype(np.float16).astype(np.float32)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """By ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    dtype = DTYPES[model.graph.input[0].type.tensor_type.elem_type]
    (found,) = session.run(None, {"x": x.astype(dtype)})
    return np.asarray(found, np.float32)


def run_literally(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """Each value in its own type, as a GPU does it.

    ONNX Runtime's CPU computes fp16 in fp32 and hides overflows.
    """
    from onnx.reference import ReferenceEvaluator

    dtype = DTYPES[model.graph.input[0].type.tensor_type.elem_type]
    with np.errstate(all="ignore"):
        (found,) = ReferenceEvaluator(model).run(None, {"x": x.astype(dtype)})
    return np.asarray(found, np.float32)


# An activation of 1e5, a sum of it, and the way back to 1: the neighbours in between
# are in fp16's range.
GROWN: list[Node] = [
    ("small", "Mul", ["x", "half"], {}),
    ("grown", "MatMul", ["small", "weight"], {}),
    ("sum", "Add", ["grown", "offset"], {}),
    ("seen", "Reshape", ["sum", "shape"], {}),
    ("shrunk", "Mul", ["seen", "little"], {}),
    ("y", "Add", ["shrunk", "small"], {}),
]
GROWN_CONSTANTS = {
    "half": np.full(1, 0.5, np.float32),
    "weight": np.eye(WIDTH, dtype=np.float32) * 50_000,
    "offset": np.linspace(-20_000, 20_000, WIDTH).astype(np.float32),
    "shape": np.array([ROWS, WIDTH], np.int64),
    "little": np.full(1, 1e-5, np.float32),
}


def test_an_activation_of_a_hundred_thousand_is_found_with_all_that_touch_it(
    tmp_path: Path,
) -> None:
    graph, _ = both(tmp_path, GROWN, GROWN_CONSTANTS)
    x = draw()
    x[0, 0] = 4.0
    found = find_overflows(graph, [sample(draw()), sample(x)])
    assert [(each.node, each.kind) for each in found] == [
        ("grown", "range"),
        ("sum", "range"),
        ("seen", "range"),
        ("shrunk", "range"),
    ]
    assert found[0] == Overflow("grown", "MatMul", "range", "grown", 100_000.0)


def test_islands_of_fp32_give_the_right_result_where_fp16_gives_none(tmp_path: Path) -> None:
    graph, half = both(tmp_path, GROWN, GROWN_CONSTANTS)
    x = draw(2.0)
    wanted = run(make_model(GROWN, GROWN_CONSTANTS, kind=TensorProto.FLOAT), x)
    assert not np.isfinite(run_literally(half, x)).all()
    settled, nodes = settle_half(graph, half, [sample(x)])
    assert nodes == ("grown", "sum", "seen", "shrunk")
    for way in (run, run_literally):
        np.testing.assert_allclose(way(settled, x), wanted, atol=2e-3 * np.abs(wanted).max())


def test_islands_are_strongly_typed_share_casts_and_keep_names(tmp_path: Path) -> None:
    graph, half = both(tmp_path, GROWN, GROWN_CONSTANTS)
    settled, _ = settle_half(graph, half, [sample(draw(2.0))])
    assert lint_graph(settled, spec_of("float16"), float32=list_float32(settled)) == []
    assert [f.rule for f in lint_graph(settled, spec_of("float16"))].count("dtype") > 0
    casts = [
        (node.input[0], node.output[0]) for node in settled.graph.node if node.op_type == "Cast"
    ]
    assert casts == [("small", "small.float32"), ("shrunk.float32", "shrunk")]
    assert [node.name for node in settled.graph.node if node.op_type != "Cast"] == [
        each[0] for each in GROWN
    ]
    assert {"weight", "weight.float32"} & {t.name for t in settled.graph.initializer} == {
        "weight.float32"
    }


def test_two_readers_of_one_value_share_its_cast() -> None:
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


def test_weights_in_the_file_beside_the_graph_are_cast_not_copied() -> None:
    model = make_model(GROWN, GROWN_CONSTANTS, kind=TensorProto.FLOAT16)
    kept = keep_float32(model, ["grown"])
    assert ("weight", "weight.float32") in [
        (n.input[0], n.output[0]) for n in kept.graph.node if n.op_type == "Cast"
    ]
    assert [t.SerializeToString() for t in kept.graph.initializer] == [
        t.SerializeToString() for t in model.graph.initializer
    ]


def test_an_output_computed_in_fp32_leaves_the_network_in_fp16() -> None:
    model = keep_float32(make_model(GROWN, GROWN_CONSTANTS, kind=TensorProto.FLOAT16), ["y"])
    assert model.graph.node[-1].op_type == "Cast" and list(model.graph.node[-1].output) == ["y"]
    assert lint_graph(model, spec_of("float16"), float32=list_float32(model)) == []


def test_without_nodes_the_graph_stays_as_it_is() -> None:
    model = make_model(GROWN, GROWN_CONSTANTS, kind=TensorProto.FLOAT16)
    kept = keep_float32(model, [])
    assert kept == model and kept is not model


def test_a_node_that_the_graph_lacks_is_refused_by_name() -> None:
    with pytest.raises(GraphError, match="sandbox: no node is called 'gone'"):
        keep_float32(
            make_model(GROWN, GROWN_CONSTANTS, kind=TensorProto.FLOAT16), ["grown", "gone"]
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
    "turn": np.linalg.qr(np.random.default_rng(8).standard_normal((WIDTH, WIDTH)))[0].astype(
        np.float32
    ),
    "scale": np.ones(WIDTH, np.float32),
    "shift": np.zeros(WIDTH, np.float32),
    "half": GROWN_CONSTANTS["half"],
    "shape": GROWN_CONSTANTS["shape"],
}


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_choice_of_nodes_gives_a_well_typed_graph_as_good_as_fp16(data: st.DataObject) -> None:
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
    wanted = run(make_model(nodes, used, kind=TensorProto.FLOAT), draw())
    np.testing.assert_allclose(run(kept, draw()), wanted, atol=2e-2 * np.abs(wanted).max())


NORM: list[Node] = [
    ("y", "LayerNormalization", ["x", "scale", "shift"], {"axis": -1, "epsilon": 1e-12})
]
NORM_CONSTANTS = {"scale": np.ones(WIDTH, np.float32), "shift": np.zeros(WIDTH, np.float32)}


@pytest.mark.parametrize(
    ("scale", "kinds"), [(1.0, []), (200.0, ["squares"]), (1e-4, ["underflow"])]
)
def test_what_a_norm_sums_is_looked_at(tmp_path: Path, scale: float, kinds: list[str]) -> None:
    graph, _ = both(tmp_path, NORM, NORM_CONSTANTS)
    x = draw()
    x *= scale / np.sqrt(
        np.square(x).mean(axis=1, keepdims=True)
    )  # every row's mean square is scale ** 2
    found = find_overflows(graph, [sample(x)])
    assert [each.kind for each in found] == kinds
    if kinds == ["squares"]:
        assert found[0].peak == pytest.approx(WIDTH * scale**2, rel=1e-4)


def test_a_mean_square_far_below_the_epsilon_may_vanish(tmp_path: Path) -> None:
    coarse: list[Node] = [("y", "LayerNormalization", ["x", "scale", "shift"], {"epsilon": 1e-5})]
    graph, _ = both(tmp_path, coarse, NORM_CONSTANTS)
    assert find_overflows(graph, [sample(draw(1e-5))]) == ()


def test_a_softmax_whose_input_has_lost_its_digits_is_found_with_the_way_from_the_product(
    tmp_path: Path,
) -> None:
    nodes: list[Node] = [
        ("before", "Add", ["x", "x"], {}),
        ("scores", "MatMul", ["before", "weight"], {}),
        ("scaled", "Mul", ["scores", "half"], {}),
        ("y", "Softmax", ["scaled"], {}),
    ]
    # products of about 3000 that differ by about 1, from weights that fp16 holds
    # exactly
    weight = 512 + np.random.default_rng(6).integers(-1, 2, (WIDTH, WIDTH)).astype(np.float32) / 2
    constants = {"weight": weight, "half": GROWN_CONSTANTS["half"]}
    graph, half = both(tmp_path, nodes, constants)
    x = np.abs(draw())
    settled, kept = settle_half(graph, half, [sample(x)])
    assert kept == ("scores", "scaled", "y")
    wanted = run(make_model(nodes, constants, kind=TensorProto.FLOAT), x)
    errors = [float(np.abs(run_literally(model, x) - wanted).max()) for model in (settled, half)]
    assert errors[0] < 1e-3 and errors[1] > 0.1


@pytest.mark.parametrize("value", [1e-9, 1e5])
def test_a_constant_that_fp16_cannot_hold_is_kept_in_fp32(tmp_path: Path, value: float) -> None:
    nodes: list[Node] = [
        ("way", "Mul", ["x", "there"], {}),
        ("y", "Mul", ["way", "back"], {}),
    ]
    constants = {"there": np.full(1, value, np.float32), "back": np.full(1, 1 / value, np.float32)}
    graph, half = both(tmp_path, nodes, constants)
    settled, kept = settle_half(graph, half, [sample(draw())])
    assert kept == ("way", "y")
    for way in (run, run_literally):
        np.testing.assert_allclose(way(settled, draw()), draw(), rtol=1e-3)
    assert {t.name for t in settled.graph.initializer} == {"there.float32", "back.float32"}


def test_a_divisor_that_would_vanish_is_found(tmp_path: Path) -> None:
    nodes: list[Node] = [("least", "Mul", ["x", "little"], {}), ("y", "Div", ["x", "least"], {})]
    graph, _ = both(tmp_path, nodes, {"little": np.full(1, 1e-4, np.float32)})
    found = find_overflows(graph, [sample(np.ones((ROWS, WIDTH)) * 0.1)])
    assert [(each.node, each.kind, each.value) for each in found] == [("y", "underflow", "least")]


def test_what_enters_or_leaves_beyond_fp16_cannot_be_settled(tmp_path: Path) -> None:
    graph, half = both(tmp_path, GROWN[:2], GROWN_CONSTANTS, output="grown")
    with pytest.raises(
        GraphError,
        match=r"'grown' reaches 2e\+05, more than fp16's 65504, where it enters or leaves",
    ):
        settle_half(graph, half, [sample(np.full((ROWS, WIDTH), 8.0))])


def test_a_value_that_is_not_finite_in_fp32_is_named_with_its_timestep(tmp_path: Path) -> None:
    nodes: list[Node] = [("y", "Div", ["x", "x"], {})]
    graph, _ = both(tmp_path, nodes, {})
    with pytest.raises(
        CalibrationError, match=r"sandbox: 'y' is not finite in fp32 \(face\.png, .*timestep 832\)"
    ):
        find_overflows(graph, [sample(np.zeros((ROWS, WIDTH)), timestep=832)])


def test_no_samples_find_nothing_out(tmp_path: Path) -> None:
    graph, _ = both(tmp_path, NORM, NORM_CONSTANTS)
    with pytest.raises(CalibrationError, match="sandbox: no samples"):
        find_overflows(graph, [])


def test_samples_are_taken_one_at_a_time_and_counted(tmp_path: Path) -> None:
    graph, _ = both(tmp_path, NORM, NORM_CONSTANTS)
    told: list[int] = []
    find_overflows(
        graph,
        (sample(draw()) for _ in range(3)),
        report=lambda what, done, total: told.append(done),
    )
    assert told == [1, 2, 3]


@pytest.mark.slow
def test_tensorrt_rtx_and_openvino_take_a_graph_with_islands(tmp_path: Path) -> None:
    from echoexport.export.engines.tensorrt_rtx import check_network, is_installed
    from echoexport.runtime.backends import load_backend
    from echoexport.runtime.engine.protocol import EngineOptions

    nodes: list[Node] = [
        *GROWN[:-1],
        ("normal", "LayerNormalization", ["shrunk", "scale", "shift"], {}),
        ("weights", "Softmax", ["normal"], {}),
        ("y", "Add", ["weights", "small"], {}),
    ]
    constants = {**GROWN_CONSTANTS, **NORM_CONSTANTS}
    half = make_model(nodes, constants, kind=TensorProto.FLOAT16)
    # once with fp32 copies of constants and once with casts of them, as weights in
    # another file have
    for name, copies in (("copied", constants), ("cast", {"offset": constants["offset"]})):
        kept = keep_float32(
            half, ["grown", "sum", "seen", "shrunk", "normal", "weights"], constants=copies
        )
        path = tmp_path / f"{name}.onnx"
        onnx.save_model(kept, path)
        if is_installed():
            assert check_network(path).engine_bytes > 0
        backend = load_backend("openvino")
        if backend.unavailable() is None:
            found = backend.open(path, spec_of("float16"), EngineOptions())(
                {"x": draw(2.0).astype(np.float16)}
            )["y"]
            wanted = run(make_model(nodes, constants, kind=TensorProto.FLOAT), draw(2.0))
            np.testing.assert_allclose(found, wanted, atol=5e-3)
