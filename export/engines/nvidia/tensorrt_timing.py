"""A child process that times one engine on the device here, where there is one.

``python -m`` this, job on stdin.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from echoexport.export.engines.nvidia.tensorrt_child import Answers, stand_back
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.held_arrays import freeze
from echoexport.runtime.errors import BackendError

if TYPE_CHECKING:
    from echoexport.runtime.engine.protocol import Engine

WARM_UP = 3
REPEATS = 15


@dataclass(frozen=True)
class TimingJob:
    """Which engine of which backend; the spec gives names and shapes of what goes in."""

    backend: str
    engine: str
    compute: str
    spec: SubnetSpec


def time_calls(
    call: Callable[[], object], *, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Median seconds of a call after a warm-up."""
    seconds = []
    for _ in range(WARM_UP + REPEATS):
        start = clock()
        call()
        seconds.append(clock() - start)
    return statistics.median(seconds[WARM_UP:])


def _time_on_zeros(engine: Engine, spec: SubnetSpec) -> float:
    """Seconds of a call; the engine is closed at the end."""
    try:
        # Frozen, they are copied to the device once: the network's own time is what
        # builds differ in.
        zeros = {
            tensor.name: freeze(np.zeros(tensor.shape, tensor.dtype)) for tensor in spec.inputs
        }
        return time_calls(lambda: engine(zeros))
    finally:
        engine.close()


def main() -> int:
    """Read the job, run the engine on zeros, answer with the seconds of a call.

    Exit 1 where it cannot run here.
    """
    from echoexport.runtime.backends import load_backend
    from echoexport.runtime.contract.schema import parse
    from echoexport.runtime.engine.protocol import EngineOptions

    answers = Answers()
    stand_back()
    job = parse(TimingJob, json.load(sys.stdin), where="job")
    backend = load_backend(job.backend)
    reason = backend.unavailable()
    if reason is not None or not backend.keeps_engines:
        return answers.refuse("library", reason or f"{job.backend} opens no engines")
    options = EngineOptions(compute=job.compute)
    try:
        engine = backend.open_engine(Path(job.engine), job.spec, options)
        seconds = _time_on_zeros(engine, job.spec)
    except BackendError as error:
        return answers.refuse("library", error)
    answers.send("timed", seconds=seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
