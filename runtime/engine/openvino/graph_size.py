"""What is decided by how large a network is: whether it is kept compiled, and its lanes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from echoexport.runtime.engine.protocol import EngineOptions

__all__ = ["count_lanes", "hash_graph_files", "is_worth_caching"]

_LARGEST_CACHED = 512 * 2**20  # bytes of weights
_LARGEST_IN_LANES = 64 * 2**20
_MOST_LANES = 4


def is_worth_caching(graph: Path) -> bool:
    """Small networks compile for seconds and start in tenths.

    Of large ones a second copy on disk costs gigabytes.
    """
    return _measure_files(graph) < _LARGEST_CACHED


def count_lanes(graph: Path, options: EngineOptions) -> int:
    """One for each core where the network is small.

    Threads that share its many short operations mostly wait.

    A large one keeps all cores busy by itself, and each lane would cost its
    activations' memory once more.
    """
    if options.lanes:
        return options.lanes
    usable = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    cores = min(options.threads or usable, usable)
    return min(cores, _MOST_LANES) if _measure_files(graph) < _LARGEST_IN_LANES else 1


def _measure_files(graph: Path) -> int:
    """Bytes of a graph and its weights."""
    return sum(path.stat().st_size for path in _list_files(graph))


def _list_files(graph: Path) -> list[Path]:
    return [path for path in (graph, graph.with_suffix(".bin")) if path.exists()]


def hash_graph_files(graph: Path) -> tuple[str, ...]:
    """sha256 in hex of a graph, and of its weights where they lie beside it."""
    return tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in _list_files(graph))
