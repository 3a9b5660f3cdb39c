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
from onnx import TensorProto

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.observing.overflows import (
    Overflow,
    find_overflows,
    keep_float32,
    settle_half,
)
from echoexport.calibration.sample import Sample
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.errors import CalibrationError, GraphError

Node = tuple[str, str, list[str], dict[str, Any]]
"""Its output and name, operator, inputs, attributes."""


@pytest.fixture
def both(
    tmp_path: Path, make_model: Callable[..., onnx.ModelProto]
) -> Callable[..., tuple[FloatGraph, onnx.ModelProto]]:
    """A function that gives a network as calibration reads it in fp32, and in fp16."""

    def run(
        nodes: list[Node], constants: Mapping[str, np.ndarray], *, output: str = "y"
    ) -> tuple[FloatGraph, onnx.ModelProto]:
        path = tmp_path / "sandbox.onnx"
        onnx.save_model(make_model(nodes, constants, kind=TensorProto.FLOAT, output=output), path)
        half = make_model(nodes, constants, kind=TensorProto.FLOAT16, output=output)
        return FloatGraph(path), half

    return run


def sample(x: np.ndarray, **rest: Any) -> Sample:
    return Sample(
        "sandbox", {"x": x.astype(np.float32)}, portrait="face.png", voice="voice.wav", **rest
    )


def test_an_activation_of_a_hundred_thousand_is_found_with_all_that_touch_it(
    tmp_path: Path,
    draw_rows: Callable[..., np.ndarray],
    grown: list[Node],
    grown_constants: Mapping[str, np.ndarray],
    both: Callable[..., tuple[FloatGraph, onnx.ModelProto]],
) -> None:
    graph, _ = both(grown, grown_constants)
    x = draw_rows()
    x[0, 0] = 4.0
    found = find_overflows(graph, [sample(draw_rows()), sample(x)])
    assert [(each.node, each.kind) for each in found] == [
        ("grown", "range"),
        ("sum", "range"),
        ("seen", "range"),
        ("shrunk", "range"),
    ]
    assert found[0] == Overflow("grown", "MatMul", "range", "grown", 100_000.0)


def test_islands_of_fp32_give_the_right_result_where_fp16_gives_none(
    tmp_path: Path,
    make_model: Callable[..., onnx.ModelProto],
    draw_rows: Callable[..., np.ndarray],
    run_model: Callable[[onnx.ModelProto, np.ndarray], np.ndarray],
    run_literally: Callable[[onnx.ModelProto, np.ndarray], np.ndarray],
    grown: list[Node],
    grown_constants: Mapping[str, np.ndarray],
    both: Callable[..., tuple[FloatGraph, onnx.ModelProto]],
) -> None:
    graph, half = both(grown, grown_constants)
    x = draw_rows(2.0)
    wanted = run_model(make_model(grown, grown_constants, kind=TensorProto.FLOAT), x)
    assert not np.isfinite(run_literally(half, x)).all()
    settled, nodes = settle_half(graph, half, [sample(x)])
    assert nodes == ("grown", "sum", "seen", "shrunk")
    for way in (run_model, run_literally):
        np.testing.assert_allclose(way(settled, x), wanted, atol=2e-3 * np.abs(wanted).max())


NORM: list[Node] = [
    ("y", "LayerNormalization", ["x", "scale", "shift"], {"axis": -1, "epsilon": 1e-12})
]
NORM_CONSTANTS = {"scale": np.ones(8, np.float32), "shift": np.zeros(8, np.float32)}


@pytest.mark.parametrize(
    ("scale", "kinds"), [(1.0, []), (200.0, ["squares"]), (1e-4, ["underflow"])]
)
def test_what_a_norm_sums_is_looked_at(
    tmp_path: Path,
    scale: float,
    kinds: list[str],
    draw_rows: Callable[..., np.ndarray],
    both: Callable[..., tuple[FloatGraph, onnx.ModelProto]],
) -> None:
    graph, _ = both(NORM, NORM_CONSTANTS)
    x = draw_rows()
    # Every row's mean square is scale ** 2.
    x *= scale / np.sqrt(np.square(x).mean(axis=1, keepdims=True))
    found = find_overflows(graph, [sample(x)])
    assert [each.kind for each in found] == kinds
    if kinds == ["squares"]:
        assert found[0].peak == pytest.approx(8 * scale**2, rel=1e-4)


def test_a_mean_square_far_below_the_epsilon_may_vanish(
    tmp_path: Path,
    draw_rows: Callable[..., np.ndarray],
    both: Callable[..., tuple[FloatGraph, onnx.ModelProto]],
) -> None:
    coarse: list[Node] = [("y", "LayerNormalization", ["x", "scale", "shift"], {"epsilon": 1e-5})]
    graph, _ = both(coarse, NORM_CONSTANTS)
    assert find_overflows(graph, [sample(draw_rows(1e-5))]) == ()


def test_a_softmax_whose_input_has_lost_its_digits_is_found_with_the_way_from_the_product(
    tmp_path: Path,
    make_model: Callable[..., onnx.ModelProto],
    draw_rows: Callable[..., np.ndarray],
    run_model: Callable[[onnx.ModelProto, np.ndarray], np.ndarray],
    run_literally: Callable[[onnx.ModelProto, np.ndarray], np.ndarray],
    grown_constants: Mapping[str, np.ndarray],
    both: Callable[..., tuple[FloatGraph, onnx.ModelProto]],
) -> None:
    nodes: list[Node] = [
        ("before", "Add", ["x", "x"], {}),
        ("scores", "MatMul", ["before", "weight"], {}),
        ("scaled", "Mul", ["scores", "half"], {}),
        ("y", "Softmax", ["scaled"], {}),
    ]
    # products of about 3000 that differ by about 1, from weights that fp16 holds
    # exactly
    weight = 512 + np.random.default_rng(6).integers(-1, 2, (8, 8)).astype(np.float32) / 2
    constants = {"weight": weight, "half": grown_constants["half"]}
    graph, half = both(nodes, constants)
    x = np.abs(draw_rows())
    settled, kept = settle_half(graph, half, [sample(x)])
    assert kept == ("scores", "scaled", "y")
    wanted = run_model(make_model(nodes, constants, kind=TensorProto.FLOAT), x)
    errors = [float(np.abs(run_literally(model, x) - wanted).max()) for model in (settled, half)]
    assert errors[0] < 1e-3 and errors[1] > 0.1


@pytest.mark.parametrize("value", [1e-9, 1e5])
def test_a_constant_that_fp16_cannot_hold_is_kept_in_fp32(
    tmp_path: Path,
    value: float,
    draw_rows: Callable[..., np.ndarray],
    run_model: Callable[[onnx.ModelProto, np.ndarray], np.ndarray],
    run_literally: Callable[[onnx.ModelProto, np.ndarray], np.ndarray],
    both: Callable[..., tuple[FloatGraph, onnx.ModelProto]],
) -> None:
    nodes: list[Node] = [
        ("way", "Mul", ["x", "there"], {}),
        ("y", "Mul", ["way", "back"], {}),
    ]
    constants = {"there": np.full(1, value, np.float32), "back": np.full(1, 1 / value, np.float32)}
    graph, half = both(nodes, constants)
    settled, kept = settle_half(graph, half, [sample(draw_rows())])
    assert kept == ("way", "y")
    for way in (run_model, run_literally):
        np.testing.assert_allclose(way(settled, draw_rows()), draw_rows(), rtol=1e-3)
    assert {t.name for t in settled.graph.initializer} == {"there.float32", "back.float32"}


def test_a_divisor_that_would_vanish_is_found(
    tmp_path: Path, both: Callable[..., tuple[FloatGraph, onnx.ModelProto]]
) -> None:
    nodes: list[Node] = [("least", "Mul", ["x", "little"], {}), ("y", "Div", ["x", "least"], {})]
    graph, _ = both(nodes, {"little": np.full(1, 1e-4, np.float32)})
    found = find_overflows(graph, [sample(np.ones((4, 8)) * 0.1)])
    assert [(each.node, each.kind, each.value) for each in found] == [("y", "underflow", "least")]


def test_what_enters_or_leaves_beyond_fp16_cannot_be_settled(
    tmp_path: Path,
    grown: list[Node],
    grown_constants: Mapping[str, np.ndarray],
    both: Callable[..., tuple[FloatGraph, onnx.ModelProto]],
) -> None:
    graph, half = both(grown[:2], grown_constants, output="grown")
    with pytest.raises(
        GraphError,
        match=r"'grown' reaches 2e\+05, more than fp16's 65504, where it enters or leaves",
    ):
        settle_half(graph, half, [sample(np.full((4, 8), 8.0))])


def test_a_value_that_is_not_finite_in_fp32_is_named_with_its_timestep(
    tmp_path: Path, both: Callable[..., tuple[FloatGraph, onnx.ModelProto]]
) -> None:
    nodes: list[Node] = [("y", "Div", ["x", "x"], {})]
    graph, _ = both(nodes, {})
    with pytest.raises(
        CalibrationError, match=r"sandbox: 'y' is not finite in fp32 \(face\.png, .*timestep 832\)"
    ):
        find_overflows(graph, [sample(np.zeros((4, 8)), timestep=832)])


def test_no_samples_find_nothing_out(
    tmp_path: Path, both: Callable[..., tuple[FloatGraph, onnx.ModelProto]]
) -> None:
    graph, _ = both(NORM, NORM_CONSTANTS)
    with pytest.raises(CalibrationError, match="sandbox: no samples"):
        find_overflows(graph, [])


def test_samples_are_taken_one_at_a_time_and_counted(
    tmp_path: Path,
    draw_rows: Callable[..., np.ndarray],
    both: Callable[..., tuple[FloatGraph, onnx.ModelProto]],
) -> None:
    graph, _ = both(NORM, NORM_CONSTANTS)
    told: list[int] = []
    find_overflows(
        graph,
        (sample(draw_rows()) for _ in range(3)),
        report=lambda what, done, total: told.append(done),
    )
    assert told == [1, 2, 3]


@pytest.mark.slow
def test_tensorrt_rtx_and_openvino_take_a_graph_with_islands(
    tmp_path: Path,
    make_model: Callable[..., onnx.ModelProto],
    spec_of: Callable[[str], SubnetSpec],
    draw_rows: Callable[..., np.ndarray],
    run_model: Callable[[onnx.ModelProto, np.ndarray], np.ndarray],
    grown: list[Node],
    grown_constants: Mapping[str, np.ndarray],
) -> None:
    from echoexport.export.engines.tensorrt_rtx import check_network, is_installed
    from echoexport.runtime.backends import load_backend
    from echoexport.runtime.engine.protocol import EngineOptions

    nodes: list[Node] = [
        *grown[:-1],
        ("normal", "LayerNormalization", ["shrunk", "scale", "shift"], {}),
        ("weights", "Softmax", ["normal"], {}),
        ("y", "Add", ["weights", "small"], {}),
    ]
    constants = {**grown_constants, **NORM_CONSTANTS}
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
                {"x": draw_rows(2.0).astype(np.float16)}
            )["y"]
            wanted = run_model(make_model(nodes, constants, kind=TensorProto.FLOAT), draw_rows(2.0))
            np.testing.assert_allclose(found, wanted, atol=5e-3)
