"""A backend around another one, which tells of every call.

A recording sees through it what networks get and give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.layer_times import LayerRecord
from echoexport.runtime.engine.protocol import Arrays, Backend, Engine, EngineOptions
from echoexport.runtime.trace.tracer import NULL, Tracer

See = Callable[[str, Arrays, Arrays], None]
"""Told of each call when it is over: the network, its inputs, its outputs."""


class WatchedEngine(Engine):
    """An engine that tells of each call."""

    def __init__(self, engine: Engine, network: str, see: See) -> None:
        self.precision = engine.precision
        self.lanes = engine.lanes
        self._engine = engine
        self._network = network
        self._see = see

    @property
    def notes(self) -> Sequence[str]:  # type: ignore[override]
        """The inner engine's."""
        return self._engine.notes

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run once, and tell."""
        return self.run(inputs, NULL)

    def run(self, inputs: Arrays, tracer: Tracer) -> dict[str, np.ndarray]:
        """Run once, and tell."""
        outputs = self._engine.run(inputs, tracer)
        self._see(self._network, inputs, outputs)
        return outputs

    def read_layers(self) -> tuple[LayerRecord, ...] | None:
        """The inner engine's."""
        return self._engine.read_layers()

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()


class WatchedBackend(Backend):
    """A backend whose engines tell of each call."""

    def __init__(self, backend: Backend, see: See) -> None:
        self.name = backend.name
        self.on_gpu = backend.on_gpu
        self.opens_graphs = backend.opens_graphs
        self._backend = backend
        self._see = see

    def unavailable(self) -> str | None:
        """The inner backend's."""
        return self._backend.unavailable()

    def describe(self) -> str:
        """The inner backend's."""
        return self._backend.describe()

    def arithmetic(self) -> tuple[str, ...]:
        """The inner backend's."""
        return self._backend.arithmetic()

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> WatchedEngine:
        """The inner backend's engine, watched."""
        return WatchedEngine(self._backend.open(graph, spec, options), spec.name, self._see)
