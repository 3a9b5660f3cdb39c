"""What fp16 would spoil: found once, put into words, and left alone where there is nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.plan import NetworkPlan
from echoexport.calibration.progress import ProgressFolder
from echoexport.calibration.sample import Sample
from echoexport.export.build.fp16_graphs import (
    count_to,
    describe_settled,
    find_overflowing,
    settle_graphs,
    settle_network,
)
from echoexport.runtime.contract.manifest import read_manifest

pytest.importorskip("onnxruntime")


class OneSample:
    """A calibration set of one call of the network."""

    def count(self, network: str) -> int:
        """One sample."""
        return 1

    def samples(self, network: str) -> Iterator[Sample]:
        """Values of 100, which squared twice are beyond fp16."""
        yield Sample(network, {"x": np.full((1, 4), 100.0, np.float32)}, "portrait", "voice")


@pytest.fixture
def graph(tmp_path: Path) -> FloatGraph:
    """The value to the fourth power, and its fourth root."""
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4])
        for name in ("x", "a", "b", "c", "y")
    ]
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["a"], name="square"),
        helper.make_node("Mul", ["a", "a"], ["b"], name="fourth"),
        helper.make_node("Sqrt", ["b"], ["c"], name="root"),
        helper.make_node("Sqrt", ["c"], ["y"], name="last"),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "powers", values[:1], values[-1:], value_info=values[1:-1]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    onnx.save(model, tmp_path / "powers.onnx")
    return FloatGraph(tmp_path / "powers.onnx")


def silent(what: str, done: int, total: int) -> None:
    """A report that nobody reads."""


def test_what_overflows_is_found_and_not_looked_for_again(
    graph: FloatGraph, tmp_path: Path
) -> None:
    progress = ProgressFolder(tmp_path / "progress")
    recorded: Any = OneSample()
    found = find_overflowing(graph, recorded, progress=progress, report=silent)
    assert {"fourth", "root"} <= {one.node for one in found}
    assert "last" not in {one.node for one in found}
    again = find_overflowing(graph, None, progress=progress, report=silent)  # type: ignore[arg-type]
    assert again == found


def test_a_phase_that_does_not_know_its_end_gets_the_number_of_samples() -> None:
    told: list[tuple[str, int, int]] = []
    report = count_to(7, lambda *given: told.append(given))
    report("looking", 1, 0)
    report("looking", 2, 9)
    assert told == [("looking", 1, 7), ("looking", 2, 9)]


def test_notes_count_the_nodes_of_each_network_that_has_some() -> None:
    plans = {
        "vae_decoder": NetworkPlan("fp16", float32_nodes=("a", "b")),
        "vae_encoder": NetworkPlan("fp16"),
        "denoising_unet": NetworkPlan("int8", float32_nodes=("c",)),
    }
    assert describe_settled(plans) == [
        "computed in fp32 where fp16 would overflow or lose digits: 2 nodes of vae_decoder, "
        "1 nodes of denoising_unet"
    ]
    assert describe_settled({"vae_encoder": NetworkPlan("fp16")}) == []


def test_a_network_without_such_nodes_keeps_its_file_to_the_byte(graph: FloatGraph) -> None:
    before = graph.path.read_bytes()
    entry: Any = None
    described = settle_network(graph.path, graph.path, NetworkPlan("fp16"), entry=entry)
    assert graph.path.read_bytes() == before
    assert described.bytes == len(before)


def test_an_empty_plan_leaves_a_bundle_as_it_was(null_bundle: Path) -> None:
    before = json.loads((null_bundle / "manifest.json").read_text())
    settle_graphs(null_bundle, null_bundle, {})
    assert json.loads((null_bundle / "manifest.json").read_text()) == before
    assert read_manifest(null_bundle).networks
