"""One network of a bundle as a callable on named arrays: checked, cast, counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

import numpy as np

from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec
from echoexport.runtime.engine.held_arrays import Held, freeze, is_frozen
from echoexport.runtime.engine.layer_times import LayerRecord
from echoexport.runtime.engine.network_files import NetworkFiles
from echoexport.runtime.engine.protocol import Engine
from echoexport.runtime.errors import BackendError, UnknownNameError
from echoexport.runtime.trace.tracer import NULL, Tracer


class Network:
    """Calls an engine by names; ``calls`` and ``seconds`` count the calls of this object.

    Several may call one engine, each with counts and a tracer of its own: see
    :meth:`lend`. Up to ``lanes`` threads may call it at once; seconds then add up over
    them.
    """

    def __init__(
        self,
        spec: SubnetSpec,
        engine: Engine,
        *,
        notes: Sequence[str] = (),
        files: NetworkFiles | None = None,
        tracer: Tracer = NULL,
    ) -> None:
        """``notes``: what does not run as it should and the engine cannot know.

        ``files`` are those that the engine was opened from, which need not be held any more.
        ``tracer`` is told of each call, and of the casting of its inputs; the engine
        tells it what it knows of the device.
        """
        self.spec = spec
        self.precision = engine.precision
        self.lanes = engine.lanes
        self.tracer = tracer
        self.calls = 0
        self.seconds = 0.0
        self._engine = engine
        self._notes = tuple(notes)
        self._files = files
        self._counting = threading.Lock()
        self._inputs = {tensor.name: tensor for tensor in spec.inputs}
        self._casts = {tensor.name: _Cast(tensor) for tensor in spec.inputs}

    @property
    def notes(self) -> tuple[str, ...]:
        """What does not run as it should.

        Such are nodes on another device, no CUDA graph, plain operators only, or files
        that changed since they were opened.
        """
        replaced = () if self._files is None else self._files.find_replaced()
        changes = [
            f"{self.spec.name}: runs as it was opened: {path} was changed meanwhile"
            for path in replaced
        ]
        return (*self._notes, *self._engine.notes, *changes)

    def lend(self, tracer: Tracer = NULL) -> Network:
        """Another caller of the same engine, with counts and a tracer of its own."""
        return Network(self.spec, self._engine, notes=self._notes, files=self._files, tracer=tracer)

    def calls_what(self, other: Network) -> bool:
        """Whether both call the same engine."""
        return self._engine is other._engine

    def read_layers(self) -> tuple[LayerRecord, ...]:
        """How long each layer took in a call, of a network from :meth:`Bundle.open_profiled`.

        Raises:
            BackendError: its backend times no layers.
        """
        layers = self._engine.read_layers()
        if layers is None:
            raise BackendError(f"{self.spec.name}: its backend times no layers")
        return layers

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every input by name, in the spec's shape; dtypes are cast.

        Outputs come by name in the spec's dtype.

        Raises:
            UnknownNameError: an input that the network does not have. BackendError: an
                input is missing, has another shape or holds no numbers, or the engine
                fails.
        """
        for name in inputs:
            if name not in self._inputs:
                raise UnknownNameError(f"input of {self.spec.name}", name, known=self._inputs)
        with self.tracer.span("inputs", "copy", network=self.spec.name):
            ready = {name: self._prepare(tensor, inputs) for name, tensor in self._inputs.items()}
        start = time.perf_counter()
        with self.tracer.span(self.spec.name, "engine", network=self.spec.name):
            outputs = self._engine.run(ready, self.tracer)
        seconds = time.perf_counter() - start
        with self._counting:
            self.seconds += seconds
            self.calls += 1
        return outputs

    def _prepare(self, tensor: TensorSpec, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        if tensor.name not in inputs:
            raise BackendError(
                f"{self.spec.name}: input {tensor.name!r} is missing; wanted "
                f"{describe_axes(tensor)}"
            )
        array = np.asarray(inputs[tensor.name])
        if array.shape != tensor.shape:
            raise BackendError(
                f"{self.spec.name}: input {tensor.name!r} has shape {array.shape}; wanted "
                f"{describe_axes(tensor)}"
            )
        if array.dtype.kind not in "biuf":
            raise BackendError(
                f"{self.spec.name}: input {tensor.name!r} is {array.dtype}; wanted "
                f"{describe_axes(tensor)}"
            )
        if array.dtype == tensor.dtype and array.flags.c_contiguous:
            return array
        return self._casts[tensor.name].apply(array)

    def close(self) -> None:
        """Close the engine, for all that call it."""
        self._engine.close()


class _Cast:
    """An input in its tensor's dtype, C-contiguous.

    Of a frozen array the same one as at the last call.
    """

    def __init__(self, tensor: TensorSpec) -> None:
        self._tensor = tensor
        # Set as one: several threads may call a network.
        self._kept: tuple[Held, np.ndarray] | None = None

    def apply(self, array: np.ndarray) -> np.ndarray:
        kept = self._kept
        if kept is not None and kept[0].is_same(array):
            return kept[1]
        ready = np.ascontiguousarray(array, dtype=self._tensor.dtype)
        if is_frozen(array):
            held = Held()
            ready = freeze(ready)
            held.hold(array)
            self._kept = (held, ready)
        return ready


def describe_axes(tensor: TensorSpec) -> str:
    """``(batch 1, frames 12) float32``, for people."""
    return f"({', '.join(f'{name} {size}' for name, size in tensor.axes)}) {tensor.dtype}"


def compare_outputs(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> float:
    """The largest difference, relative to the largest absolute value of each wanted output.

    It is inf for NaN, and for an output that is missing or has another shape.
    """
    return max((_compare(found.get(name), golden) for name, golden in wanted.items()), default=0.0)


def find_worst_output(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> str:
    """The output whose difference ``compare_outputs`` gives."""
    return max(wanted, key=lambda name: _compare(found.get(name), wanted[name]), default="")


def _compare(found: np.ndarray | None, golden: np.ndarray) -> float:
    if found is None or found.shape != golden.shape:
        return float("inf")
    peak = float(np.abs(golden).max()) or 1.0
    difference = float(np.abs(found.astype(np.float32) - golden.astype(np.float32)).max())
    return difference / peak if np.isfinite(difference) else float("inf")
