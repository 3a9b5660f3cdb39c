"""NVIDIA's own parser and builder on the six networks, and what they say where they refuse."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from echoexport.export.checkpoint.reader import Checkpoint
from echoexport.export.engines import EngineSettings, tensorrt_rtx
from echoexport.export.engines.nvidia.tensorrt_process import Outcome
from echoexport.export.engines.tensorrt_rtx import (
    ParserReport,
    check_network,
    estimate_memory,
    is_installed,
)
from echoexport.export.graphs.weights import write_weights
from echoexport.export.subnets.networks import build_network, wanted_shapes
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec
from echoexport.runtime.errors import BackendError, GraphError, MissingPackageError

needs_rtx = pytest.mark.skipif(
    not is_installed(),
    reason="TensorRT-RTX is not installed: pip install 'echoexport[tensorrt-rtx]'",
)


@pytest.fixture(scope="module")
def write_network(
    tiny_acc: Checkpoint, tiny_specs: Any, trace_once: Any, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A function that writes a tiny fp16 network.

    It gives the graph's path, the spec, and how many bytes its weights have.
    """

    def write(name: str) -> tuple[Path, Any, int]:
        folder = tmp_path_factory.mktemp(name)
        spec = tiny_specs("fp16")[name]
        model = trace_once(spec, tiny_acc.architecture).model
        weights = tiny_acc.weights(name, wanted_shapes(build_network(name, tiny_acc.architecture)))
        written = write_weights(model, weights, path=folder / f"{name}.bin")
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
        return folder / f"{name}.onnx", spec, written.file.bytes

    return write


@pytest.mark.slow
@needs_rtx
@pytest.mark.parametrize("name", FAMILY.required)
def test_the_tiny_fp16_networks_parse_and_build_into_engines(
    write_network: Any, tmp_path: Path, name: str
) -> None:
    graph, spec, weights = write_network(name)
    output = tmp_path / f"{name}.engine"
    told = []
    settings = EngineSettings(
        workspace=2_000_000_000, level=3, best_of=2, timing_cache=tmp_path / "timings"
    )
    built = tensorrt_rtx.build_engine(graph, spec, output, settings=settings, report=told.append)
    assert output.stat().st_size == built.bytes > weights, "the weights are in the engine"
    assert built.seconds > 0
    assert built.peak_bytes is not None and built.peak_bytes > built.bytes
    assert built.notes[0].startswith("built by TensorRT-RTX 1.")
    assert told[1].startswith("parsed in ") and told[1].endswith(" layers")
    assert [path.name for path in tmp_path.iterdir()] == [output.name], (
        "no timings, nothing half-written"
    )


def write_convolution(path: Path, *, quantized: bool) -> Path:
    """256 to 256 channels in fp16, or as int8 between Q/DQ, as our quantizer writes it."""
    weights = np.random.default_rng(5).normal(size=(256, 256, 3, 3)).astype(np.float16)
    if quantized:
        scales = np.abs(weights).max(axis=(1, 2, 3)).astype(np.float16) / np.float16(127)
        constants = {
            "w8": np.round(weights / scales[:, None, None, None]).clip(-127, 127).astype(np.int8),
            "ws": scales,
            "wz": np.zeros(256, np.int8),
            "xs": np.array(0.03, np.float16),
            "xz": np.array(0, np.int8),
        }
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
            helper.make_node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
            helper.make_node("DequantizeLinear", ["w8", "ws", "wz"], ["w"], axis=0),
        ]
    else:
        constants = {"w": weights}
        nodes = [helper.make_node("Identity", ["x"], ["xd"])]
    nodes.append(helper.make_node("Conv", ["xd", "w"], ["y"], pads=[1, 1, 1, 1]))
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT16, [1, 256, 16, 16]) for name in "xy"
    ]
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "convolution", tensors[:1], tensors[1:], stored)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path
    )
    return path


@needs_rtx
def test_an_int8_engine_holds_its_weights_in_int8(tmp_path: Path) -> None:
    axes = (("batch", 1), ("channels", 256), ("rows", 16), ("columns", 16))
    tensors = (TensorSpec("x", "float16", axes),), (TensorSpec("y", "float16", axes),)
    sizes = {}
    for precision in ("fp16", "int8"):
        graph = write_convolution(tmp_path / f"{precision}.onnx", quantized=precision == "int8")
        spec = SubnetSpec(precision, *tensors, {}, precision=precision)
        settings = EngineSettings(level=2)
        output = tmp_path / f"{precision}.engine"
        sizes[precision] = tensorrt_rtx.build_engine(
            graph, spec, output, settings=settings, report=lambda text: None
        ).bytes
    count = 256 * 256 * 3 * 3
    assert count < sizes["int8"] < 2 * count < sizes["fp16"]


@needs_rtx
def test_a_check_reports_the_build_and_keeps_nothing(write_network: Any) -> None:
    graph, _, weights = write_network("landmark_encoder")
    before = sorted(graph.parent.iterdir())
    report = check_network(graph)
    assert report.network == "landmark_encoder"
    assert report.engine_bytes > weights
    # A tiny graph parses within the clock's grain.
    assert report.build_seconds > 0 and 0 <= report.parse_seconds < 60
    assert report.peak_bytes > report.engine_bytes
    assert sorted(graph.parent.iterdir()) == before


def write_graph(
    path: Path, *nodes: onnx.NodeProto, constants: tuple[TensorProto, ...] = (), domain: str = ""
) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "refused",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [2, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT16, None)],
        list(constants),
    )
    opsets = [helper.make_opsetid("", 20), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


@needs_rtx
def test_a_custom_operator_is_refused_by_name(tmp_path: Path) -> None:
    node = helper.make_node("FusedThing", ["x"], ["y"], name="the.culprit", domain="com.microsoft")
    path = write_graph(tmp_path / "refused.onnx", node, domain="com.microsoft")
    with pytest.raises(
        GraphError, match=r"refused\.onnx: TensorRT-RTX [0-9.]+ refuses it: .*the\.culprit"
    ) as caught:
        check_network(path)
    assert "FusedThing" in str(caught.value)
    assert "\n" not in str(caught.value)


@needs_rtx
def test_mixed_types_are_refused_by_name(tmp_path: Path) -> None:
    node = helper.make_node("Add", ["x", "wide"], ["y"], name="the.culprit")
    wide = numpy_helper.from_array(np.ones((2, 4), np.float32), "wide")
    with pytest.raises(GraphError, match=r"the\.culprit"):
        check_network(write_graph(tmp_path / "refused.onnx", node, constants=(wide,)))


@needs_rtx
def test_an_input_without_a_fixed_shape_is_refused_by_name(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "open.onnx", helper.make_node("Relu", ["x"], ["y"]))
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, path)
    with pytest.raises(
        GraphError, match=r"open\.onnx: .* refuses it: input x has no fixed shape: \(-1, 4\)$"
    ):
        check_network(path)


@needs_rtx
def test_a_graph_that_is_refused_leaves_no_engine(tmp_path: Path) -> None:
    node = helper.make_node("FusedThing", ["x"], ["y"], name="the.culprit", domain="com.microsoft")
    path = write_graph(tmp_path / "refused.onnx", node, domain="com.microsoft")
    spec = SubnetSpec("refused", (), (), {})
    with pytest.raises(
        BackendError, match=r"refused\.onnx: TensorRT-RTX [0-9.]+ refuses it: .*the\.culprit"
    ):
        tensorrt_rtx.build_engine(
            path, spec, tmp_path / "plan", settings=EngineSettings(), report=lambda text: None
        )
    assert [entry.name for entry in tmp_path.iterdir()] == ["refused.onnx"]


@needs_rtx
@pytest.mark.parametrize("content", [None, b"", b"no graph"], ids=["missing", "empty", "text"])
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GraphError, match=r"broken\.onnx: ") as caught:
        check_network(path)
    assert "\n" not in str(caught.value)


def end(monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> None:
    """Let the child process be one that ends so."""
    monkeypatch.setattr(tensorrt_rtx, "is_installed", lambda: True)
    monkeypatch.setattr(tensorrt_rtx, "run_child", lambda *_, **__: outcome)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "graph.onnx"
    path.write_bytes(b"some graph")
    return path


def test_the_childs_answer_is_the_report(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = ParserReport(
        "graph", "1", parse_seconds=1.0, build_seconds=2.0, engine_bytes=3, peak_bytes=4
    )
    built = {
        "event": "built",
        "notes": [],
        **{k: v for k, v in asdict(report).items() if k != "network"},
    }
    end(monkeypatch, Outcome({"built": built}, 0, "", timed_out=False))
    assert check_network(graph) == report


def test_a_child_that_the_library_aborted_is_a_refusal(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end(monkeypatch, Outcome({}, -6, "chatter; terminate called", timed_out=False))
    with pytest.raises(
        GraphError, match=r"graph\.onnx: TensorRT-RTX died of SIGABRT: chatter; terminate called; "
    ):
        check_network(graph)


def test_a_child_that_takes_too_long_is_given_up(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end(monkeypatch, Outcome({}, -9, "", timed_out=True))
    with pytest.raises(GraphError, match="more than 3 s"):
        check_network(graph, timeout=3)


def test_without_the_library_the_extra_is_named(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_rtx, "is_installed", lambda: False)
    with pytest.raises(MissingPackageError, match=r"pip install 'echoexport\[tensorrt-rtx\]'"):
        check_network(graph)


def test_the_memory_estimate_covers_the_full_denoiser() -> None:
    """9.3 GB measured for 2.6 GB of weights."""
    assert 9.3e9 < estimate_memory(2_600_000_000) < 11e9
