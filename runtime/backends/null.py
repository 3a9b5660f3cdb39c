"""A backend that computes nothing.

It gives arrays of the right shapes at once, for testing schedules and reports.
"""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path

import numpy as np

from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.layer_times import LayerClock, LayerRecord
from echoexport.runtime.engine.protocol import Arrays, Backend, Engine, EngineOptions
from echoexport.runtime.errors import BackendError


class NullEngine(Engine):
    """Gives zeros; every call gives the same arrays, which must not be written to."""

    def __init__(self, spec: SubnetSpec, *, profile: bool = False) -> None:
        self.precision = "fp32"
        self._name = spec.name
        self._profile = profile
        self._layers = LayerClock()
        self._outputs = {t.name: np.zeros(t.shape, t.dtype) for t in spec.outputs}
        for array in self._outputs.values():
            array.flags.writeable = False

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Zeros of the output shapes.

        Raises:
            BackendError: the engine is closed.
        """
        if not self._outputs:
            raise BackendError("this engine is closed")
        start = time.perf_counter()
        outputs = dict(self._outputs)
        if self._profile:
            self._layers.report_layer_time(self._name, (time.perf_counter() - start) * 1e3)
        return outputs

    def read_layers(self) -> tuple[LayerRecord, ...]:
        """The whole network as one layer, of an engine that was opened to be profiled."""
        return tuple(
            LayerRecord(name, "Null", seconds) for name, seconds in self._layers.medians().items()
        )

    def close(self) -> None:
        """Drop the arrays."""
        self._outputs = {}


class NullBackend(Backend):
    """Always there, on every machine."""

    name = "null"
    engine_suffix = ".json"

    def unavailable(self) -> str | None:
        """It needs no library."""
        return None

    def describe(self) -> str:
        """One line."""
        return "gives zeros; for testing schedules"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> NullEngine:
        """The graph is not read."""
        return NullEngine(spec, profile=options.profile)

    def fingerprint(self, options: EngineOptions) -> dict[str, str]:
        """System and architecture; there is no library."""
        return {
            "library": "null",
            "version": "1",
            "os": platform.system(),
            "arch": platform.machine(),
        }

    def open_engine(self, engine: Path, spec: SubnetSpec, options: EngineOptions) -> NullEngine:
        """An engine that is a note of the network's name.

        Raises:
            BackendError: it is none, or of another network.
        """
        try:
            found = json.loads(engine.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BackendError(f"{engine}: not an engine of backend 'null': {error}") from error
        if found != {"network": spec.name}:
            raise BackendError(f"{engine}: not an engine of {spec.name} for backend 'null'")
        return NullEngine(spec, profile=options.profile)


BACKEND = NullBackend()
