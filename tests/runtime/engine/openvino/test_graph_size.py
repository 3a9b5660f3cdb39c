"""What a network's size decides, on files that are large without holding anything."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from echoexport.runtime.engine.openvino.graph_size import (
    count_lanes,
    hash_graph_files,
    is_worth_caching,
)
from echoexport.runtime.engine.protocol import EngineOptions


def write_graph(folder: Path, *, weights: int) -> Path:
    """A graph of 3 bytes with so many of weights beside it, in a file with a hole."""
    graph = folder / "network.onnx"
    graph.write_bytes(b"abc")
    with graph.with_suffix(".bin").open("wb") as file:
        file.truncate(weights)
    return graph


@pytest.mark.parametrize(("weights", "kept"), [(0, True), (511 << 20, True), (512 << 20, False)])
def test_compiled_models_of_large_networks_are_not_kept(
    tmp_path: Path, weights: int, kept: bool
) -> None:
    assert is_worth_caching(write_graph(tmp_path, weights=weights)) == kept


def test_small_networks_have_a_lane_for_each_core_up_to_four(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = write_graph(tmp_path, weights=1 << 20)
    for cores, lanes in ((1, 1), (3, 3), (16, 4)):
        monkeypatch.setattr(
            os, "sched_getaffinity", lambda process, cores=cores: set(range(cores)), raising=False
        )
        assert count_lanes(graph, EngineOptions(lanes=0)) == lanes
    assert count_lanes(graph, EngineOptions(lanes=0, threads=2)) == 2
    assert count_lanes(graph, EngineOptions(lanes=7)) == 7
    large = write_graph(tmp_path, weights=64 << 20)
    assert count_lanes(large, EngineOptions(lanes=0)) == 1


def test_a_graph_alone_has_one_hash_and_one_with_weights_two(tmp_path: Path) -> None:
    graph = write_graph(tmp_path, weights=2)
    wanted = [hashlib.sha256(content).hexdigest() for content in (b"abc", bytes(2))]
    assert hash_graph_files(graph) == tuple(wanted)
    graph.with_suffix(".bin").unlink()
    assert hash_graph_files(graph) == tuple(wanted[:1])
