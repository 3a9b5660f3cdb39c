"""NVIDIA's own parser and builder on the six networks, and what they say about a graph that they refuse."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from echoexport.export.checkpoint.reader import Checkpoint
from echoexport.export.engines import tensorrt_rtx
from echoexport.export.engines.tensorrt_rtx import ParserReport, check_network, estimate_memory, is_installed
from echoexport.export.subnets.networks import build_network, wanted_shapes
from echoexport.export.weights import write_weights
from echoexport.runtime.errors import GraphError, MissingPackageError
from echoexport.runtime.spec import NETWORKS

needs_rtx = pytest.mark.skipif(
    not is_installed(), reason="TensorRT-RTX is not installed: pip install 'echoexport[tensorrt-rtx]'"
)


@pytest.mark.slow
@needs_rtx
@pytest.mark.parametrize("name", NETWORKS)
def test_the_tiny_fp16_networks_parse_and_build(
    tiny_acc: Checkpoint, tiny_specs: Any, trace_once: Any, tmp_path: Path, name: str
) -> None:
    model = trace_once(tiny_specs("fp16")[name], tiny_acc.architecture).model
    weights = tiny_acc.weights(name, wanted_shapes(build_network(name, tiny_acc.architecture)))
    written = write_weights(model, weights, path=tmp_path / f"{name}.bin")
    (tmp_path / f"{name}.onnx").write_bytes(model.SerializeToString())
    report = check_network(tmp_path / f"{name}.onnx")
    assert report.network == name
    assert report.engine_bytes > written.file.bytes, "the weights are in the engine"
    assert report.build_seconds > 0 and 0 <= report.parse_seconds < 60  # a tiny graph parses within the clock's grain
    assert report.peak_bytes > report.engine_bytes


def write_graph(path: Path, *nodes: onnx.NodeProto, constants: tuple[TensorProto, ...] = (), domain: str = "") -> Path:
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
    with pytest.raises(GraphError, match=r"refused\.onnx: TensorRT-RTX refuses it: .*the\.culprit") as caught:
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
@pytest.mark.parametrize("content", [None, b"", b"no graph"], ids=["missing", "empty", "text"])
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GraphError, match=r"broken\.onnx: ") as caught:
        check_network(path)
    assert "\n" not in str(caught.value)


def answer(monkeypatch: pytest.MonkeyPatch, *, code: int = 0, out: str = "", err: str = "") -> None:
    """Let the child process be one that answers so."""
    result = subprocess.CompletedProcess([], code, out, err)
    monkeypatch.setattr(tensorrt_rtx, "is_installed", lambda: True)
    monkeypatch.setattr(tensorrt_rtx.subprocess, "run", lambda *_, **__: result)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "graph.onnx"
    path.write_bytes(b"some graph")
    return path


def test_the_childs_last_line_is_the_report(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = ParserReport("graph", "1", parse_seconds=1.0, build_seconds=2.0, engine_bytes=3, peak_bytes=4)
    answer(monkeypatch, out=f"chatter of the library\n{json.dumps(asdict(report))}\n")
    assert check_network(graph) == report


def test_a_child_that_the_library_aborted_is_a_refusal(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, code=-6, err="chatter\nterminate called\n")
    with pytest.raises(GraphError, match=r"graph\.onnx: TensorRT-RTX refuses it: exit code -6: terminate called$"):
        check_network(graph)


def test_a_child_that_takes_too_long_is_given_up(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], *, timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(tensorrt_rtx, "is_installed", lambda: True)
    monkeypatch.setattr(tensorrt_rtx.subprocess, "run", run)
    with pytest.raises(GraphError, match="more than 3 s"):
        check_network(graph, timeout=3)


def test_without_the_library_the_extra_is_named(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorrt_rtx, "is_installed", lambda: False)
    with pytest.raises(MissingPackageError, match=r"pip install 'echoexport\[tensorrt-rtx\]'"):
        check_network(graph)


def test_the_memory_estimate_covers_the_full_denoiser() -> None:
    """9.3 GB measured for 2.6 GB of weights."""
    assert 9.3e9 < estimate_memory(2_600_000_000) < 11e9
