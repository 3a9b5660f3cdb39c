"""What is decided by how large a network is: whether it is kept compiled, and its lanes."""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path

from echoexport.runtime.engine.protocol import EngineOptions

__all__ = ["count_lanes", "count_side_by_side", "hash_graph_files", "is_worth_caching"]

_LARGEST_CACHED = 512 * 2**20  # bytes of weights
_LARGEST_IN_LANES = 64 * 2**20
_MOST_LANES = 4
_GAIN = 1.1
"""Times as many calls of a large network in the same time, all lanes busy, as one after
the other on all cores: 1.1 to 1.3 at half the published channels on two cores, by CPU
(measured)."""


def is_worth_caching(graph: Path) -> bool:
    """Small networks compile for seconds and start in tenths.

    Of large ones a second copy on disk costs gigabytes.
    """
    return _measure_files(graph) < _LARGEST_CACHED


def count_lanes(graph: Path, options: EngineOptions) -> int:
    """One for each core where the network is small.

    Threads that share its many short operations mostly wait.

    A large one keeps all cores busy by itself, and each lane costs its activations'
    memory once more: it has lanes where so many of its calls wait for each other that
    they are done sooner so.
    """
    if options.lanes:
        return options.lanes
    usable = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    cores = min(options.threads or usable, usable)
    lanes = min(cores, _MOST_LANES)
    if _measure_files(graph) < _LARGEST_IN_LANES:
        return lanes
    return count_side_by_side(options.waiting, lanes)


def count_side_by_side(waiting: int, lanes: int) -> int:
    """``lanes`` where a group of calls that wait for each other is done sooner in them, else 1.

    The last of a group may run alone, on one lane's share of the cores.
    """
    turns = math.ceil(waiting / lanes)
    return lanes if lanes > 1 and turns * lanes < _GAIN * waiting else 1


def _measure_files(graph: Path) -> int:
    """Bytes of a graph and its weights."""
    return sum(path.stat().st_size for path in _list_files(graph))


def _list_files(graph: Path) -> list[Path]:
    """The graph, and the weights beside it: of NAME.onnx and of NAME.BACKEND.onnx NAME.bin."""
    weights = graph.with_name(f"{graph.name.partition('.')[0]}.bin")
    return [path for path in (graph, weights) if path.exists()]


def hash_graph_files(graph: Path) -> tuple[str, ...]:
    """sha256 in hex of a graph, and of its weights where they lie beside it."""
    return tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in _list_files(graph))
