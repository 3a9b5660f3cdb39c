"""A backend around another one, which tells of every call.

A recording sees through it what networks get and give.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import Arrays, Backend, Engine, EngineOptions

See = Callable[[str, Arrays, Arrays], None]
"""Told of each call when it is over: the network, its inputs, its outputs."""


class WatchedEngine:
    """An engine that tells of each call."""

    def __init__(self, engine: Engine, network: str, see: See) -> None:
        self.precision = engine.precision
        self._engine = engine
        self._network = network
        self._see = see

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run once, and tell."""
        outputs = self._engine(inputs)
        self._see(self._network, inputs, outputs)
        return outputs

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()


class WatchedBackend:
    """A backend whose engines tell of each call."""

    def __init__(self, backend: Backend, see: See) -> None:
        self.name = backend.name
        self._backend = backend
        self._see = see

    def unavailable(self) -> str | None:
        """The inner backend's."""
        return self._backend.unavailable()

    def describe(self) -> str:
        """The inner backend's."""
        return self._backend.describe()

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> WatchedEngine:
        """The inner backend's engine, watched."""
        return WatchedEngine(self._backend.open(graph, spec, options), spec.name, self._see)
