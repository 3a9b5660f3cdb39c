"""Graphs timed against each other on OpenVINO, in turns, as this machine computes them.

On one thread, by the processor's time: it is what a lane has, and other work on the
machine changes it least.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from echoexport.runtime.backends.openvino import compile_graph, describe_config, open_core
from echoexport.runtime.engine.protocol import EngineOptions

_SHORTEST_TURN = 0.004  # seconds: below, a clock and Python weigh more than the graph
_MOST_CALLS = 64
_ROUNDS = range(5, 26)


class Runner:
    """A graph, opened, with one request and its inputs."""

    def __init__(self, path: Path, inputs: Mapping[str, np.ndarray], *, compute: str) -> None:
        """Raise ``BackendError`` where it does not compile."""
        options = EngineOptions(compute=compute, threads=1)
        compiled = compile_graph(open_core(), path, describe_config(path, options))
        self._names = [output.get_any_name() for output in compiled.outputs]
        self._request: Any = compiled.create_infer_request()
        self._inputs = dict(inputs)

    def run(self) -> dict[str, np.ndarray]:
        """Its outputs."""
        results = self._request.infer(self._inputs, share_inputs=True)
        return {name: np.array(results[i]) for i, name in enumerate(self._names)}

    def time(self, calls: int) -> float:
        """The processor's seconds for so many calls."""
        start = time.process_time()
        for _ in range(calls):
            self._request.infer(self._inputs, share_inputs=True, share_outputs=True)
        return time.process_time() - start


def compare(first: Runner, second: Runner, *, seconds: float) -> tuple[float, float, float]:
    """How many times as quick the second is, and the medians of a call of each in seconds.

    Turns alternate, so that what else the machine does meets both; the ratio is the
    median of the turns' own. They take about ``seconds`` in all.
    """
    calls = _count_calls(first, second)
    ratios = []
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + seconds
    for number in range(_ROUNDS.stop):
        if number >= _ROUNDS.start and time.perf_counter() > end:
            break
        pair = (first.time(calls), second.time(calls))
        ratios.append(pair[0] / pair[1])
        for found, one in zip(times, pair, strict=True):
            found.append(one / calls)
    return statistics.median(ratios), statistics.median(times[0]), statistics.median(times[1])


def _count_calls(first: Runner, second: Runner) -> int:
    """Calls of one turn, after some that warm both up."""
    for runner in (first, second):
        runner.time(2)
    quickest = min(first.time(1), second.time(1))
    return max(1, min(_MOST_CALLS, round(_SHORTEST_TURN / max(quickest, 1e-6))))
