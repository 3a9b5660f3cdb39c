"""What a network's size decides, on files that are large without holding anything."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from echoexport.runtime.engine.openvino.graph_size import (
    count_lanes,
    count_side_by_side,
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


def test_a_large_network_has_lanes_where_windows_wait_and_one_for_a_single_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    large = write_graph(tmp_path, weights=64 << 20)
    found = [count_lanes(large, EngineOptions(lanes=0, waiting=n)) for n in (1, 2, 4, 12)]
    assert found == [1, 2, 2, 2]


def test_a_group_whose_last_call_would_run_alone_goes_one_after_the_other() -> None:
    assert count_side_by_side(3, 2) == 1  # two turns of lanes take longer than three calls
    assert count_side_by_side(15, 2) == 2
    assert count_side_by_side(5, 4) == 1
    assert count_side_by_side(8, 1) == 1


def test_a_graph_for_one_backend_is_as_large_as_the_weights_that_it_shares(tmp_path: Path) -> None:
    graph = write_graph(tmp_path, weights=600 << 20)
    own = graph.with_name("network.openvino.onnx")
    own.write_bytes(b"own")
    assert not is_worth_caching(own)
    assert count_lanes(own, EngineOptions(lanes=0)) == 1
