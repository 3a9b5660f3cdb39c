"""The contract of backends and engines: named arrays in, named arrays out.

Both are base classes. What most have in common is their default, so that a wrapper or a
new backend that says nothing of it is right.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.layer_times import LayerRecord
from echoexport.runtime.engine.network_files import NetworkFiles
from echoexport.runtime.errors import BackendError
from echoexport.runtime.trace.tracer import Tracer

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class EngineOptions:
    """What a backend may be told."""

    compute: str = ""
    """Arithmetic inside the engine where the backend has a choice: "fp32", or "bf16" on
    CPUs that have it. "" is a bundle's own choice for each network; a backend asked
    without a bundle takes it for "fp32"."""
    threads: int = 0
    """0 leaves it to the backend."""
    cache: Path | None = None
    """A folder for compiled engines, None for none."""
    lanes: int = 1
    """Calls that run side by side, for a network that is called so; 0 leaves it to the
    backend."""
    waiting: int = 1
    """Calls that will wait for each other at once, where it is known: what a backend that
    is left the lanes may go by."""
    profile: bool = False
    """Time every layer, which costs time itself; the engine's ``read_layers`` then gives
    them, where its backend can."""
    device_memory: int = 0
    """Bytes that ONNX Runtime may take on a GPU, 0 for no limit."""
    cuda_graph: bool = True
    """It records a GPU's work once and replays it."""


class Engine(ABC):
    """One network, compiled."""

    precision: str
    """What it computes in: "fp32", "fp16", "bf16", "int8" or "int8+bf16"."""
    lanes: int = 1
    """How many threads may call it at once."""
    notes: Sequence[str] = ()
    """What does not run as it should, a line each; may grow with the calls."""

    @abstractmethod
    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run once; inputs and outputs go by name."""

    def run(self, inputs: Arrays, tracer: Tracer) -> dict[str, np.ndarray]:
        """The same for one that is told more than the call itself.

        An engine that copies to a device, or knows how long the device took, tells
        ``tracer``: copies as host time of category "copy", the device's own time with
        ``clock="device"``. Any other has nothing to tell.
        """
        return self(inputs)

    def read_layers(self) -> tuple[LayerRecord, ...] | None:
        """Layers in the order of their execution, medians of the calls so far.

        () before the first call. None where its backend times no layers; else it is
        there if the engine was opened with ``EngineOptions(profile=True)``.
        """
        return None

    @abstractmethod
    def close(self) -> None:
        """Give memory back; the engine cannot be called any more."""


class Backend(ABC):
    """What a backend's module offers under the name ``BACKEND``."""

    name: str
    on_gpu: bool = False
    """Whether it computes on a GPU."""
    opens_graphs: bool = True
    """Whether it opens ONNX files; one that does not runs compiled engines only."""
    in_memory: bool = False
    """Whether its library takes graphs and weights from memory; one that does not reads
    them by their paths, and the bundle then looks whether they changed meanwhile."""
    engine_suffix: str = ""
    """Of the files in which its engines are kept; "" where they cannot be.

    Builders of those that can are in ``export/engines``, one file for each backend, and
    write what ``open_engine`` reads."""

    longest_load: float = 1800.0
    """Seconds that it may take to open a network of few weights on the slowest machine;
    see ``load_limit``."""

    @property
    def keeps_engines(self) -> bool:
        """Whether its engines can be kept as files and opened again without compiling."""
        return bool(self.engine_suffix)

    @abstractmethod
    def unavailable(self) -> str | None:
        """Why it does not work here, in one line, or None where it does."""

    @abstractmethod
    def describe(self) -> str:
        """Library version and device, in one line."""

    @abstractmethod
    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> Engine:
        """Compile a network's ONNX file."""

    def open_kept(
        self, files: NetworkFiles, spec: SubnetSpec, options: EngineOptions
    ) -> Engine | None:
        """What ``options.cache`` holds compiled of files with these hashes, None for nothing.

        None of the files is read, and their graph need not have been judged: a backend
        that hands its library any of them here must leave this as it is.
        """
        return None

    def open_held(self, files: NetworkFiles, spec: SubnetSpec, options: EngineOptions) -> Engine:
        """Compile a network whose files are held and were found right.

        A backend whose library maps files, or can take them from memory, does better than
        to open the path: what lies there may be another file by now.
        """
        return self.open(files.path, spec, options)

    def arithmetic(self) -> tuple[str, ...]:
        """What it can be told to compute in on this machine."""
        return ("fp32",)

    def fingerprint(self, options: EngineOptions) -> dict[str, str]:
        """All that an engine depends on besides graph, weights and shapes.

        As far as this machine tells: at least ``library``, ``version``, ``os``,
        ``arch``; with a GPU also ``device``, ``compute_capability``, ``driver`` or
        ``jetpack``, and ``power_mode`` on boards that have such. An engine is opened
        only where every value is the same.

        Raises:
            BackendError: its engines cannot be kept, or its library is missing.
        """
        raise BackendError(f"backend {self.name!r} keeps no engines")

    def open_engine(self, engine: Path, spec: SubnetSpec, options: EngineOptions) -> Engine:
        """An engine that a builder wrote, whose hash and fingerprint were found right.

        Raises:
            BackendError: its engines cannot be kept, or the library refuses this one;
                the fix is to compile again.
        """
        raise BackendError(f"backend {self.name!r} opens no compiled engines")

    def open_held_engine(
        self, files: NetworkFiles, spec: SubnetSpec, options: EngineOptions
    ) -> Engine:
        """The same for an engine whose files are held, and read into memory.

        Raises:
            BackendError: as of ``open_engine``.
        """
        return self.open_engine(files.path, spec, options)


def make_cache(folder: Path | None) -> Path | None:
    """The folder for what a library compiles, made where it is missing; None for none.

    It spares work and nothing depends on it: one that cannot be made is told in a
    ``RuntimeWarning`` and done without.
    """
    if folder is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        warnings.warn(
            f"the engine cache {folder.parent} cannot be made ({error.strerror or error}); "
            f"networks are compiled anew at each start. ECHOEXPORT_CACHE names another folder",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return folder
