"""The graphs that devices are probed with: what they compute, and that every target takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from echoexport import profiles
from echoexport.export.graphs.count_work import count_work
from echoexport.export.graphs.probe_graphs import make_probe_graph, write_probe_graphs
from echoexport.profiles.measuring.probe import PROBES, ProbeGraph
from echoexport.runtime.contract.operators import NEWEST_OPSET

SHIPPED = Path(profiles.__file__).parent / "data"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_products_with_the_mean_keep_the_values_size(precision: str) -> None:
    graph = ProbeGraph(precision, 8, 3)
    model = make_probe_graph(graph)
    onnx.checker.check_model(model)
    x = np.random.default_rng(0).uniform(0, 1, (8, 8)).astype(graph.describe().inputs[0].dtype)
    (y,) = ReferenceEvaluator(model).run(None, {"x": x})
    assert y == pytest.approx(np.broadcast_to(x.mean(axis=1, keepdims=True), x.shape), abs=0.05)


@pytest.mark.parametrize("graph", PROBES, ids=lambda graph: graph.file)
def test_a_graph_has_the_operations_that_it_is_said_to_have(graph: ProbeGraph) -> None:
    work = count_work(make_probe_graph(graph)).total
    assert work.mac_flops == work.weighted_flops == graph.flops
    assert work.int8_flops == (graph.flops if graph.precision == "int8" else 0)


@pytest.mark.parametrize("graph", PROBES, ids=lambda graph: graph.file)
def test_the_graphs_that_ship_are_small_and_of_an_opset_that_every_target_reads(
    graph: ProbeGraph,
) -> None:
    path = SHIPPED / graph.file
    assert path.stat().st_size < 4096
    assert [entry.version for entry in onnx.load(path).opset_import] == [20]
    assert NEWEST_OPSET >= 20


def test_the_graphs_that_ship_are_those_that_are_made(tmp_path: Path) -> None:
    write_probe_graphs(tmp_path)
    for graph in PROBES:
        assert (tmp_path / graph.file).read_bytes() == (SHIPPED / graph.file).read_bytes(), (
            graph.file
        )
