"""The contract of backends and engines: named arrays in, named arrays out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from echoexport.runtime.contract.spec import SubnetSpec

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
    profile: bool = False
    """Time every layer, which costs time itself; the engine then is a
    :class:`~echoexport.runtime.engine.layer_times.LayerTimer` too, where its backend can."""
    device_memory: int = 0
    """Bytes that ONNX Runtime may take on a GPU, 0 for no limit."""
    cuda_graph: bool = True
    """It records a GPU's work once and replays it."""


class Engine(Protocol):
    """One network, compiled.

    ``precision`` is what it computes in: "fp32", "fp16", "bf16", "int8" or "int8+bf16".

    One that several threads may call at once says how many in an attribute ``lanes``.
    One that copies to a device, or knows how long the device took, has an attribute
    ``tracer`` (of ``runtime.trace.tracer``), which is set from outside: it records copies as
    host time of category "copy", and the device's own time with ``clock="device"``.
    """

    precision: str

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run once; inputs and outputs go by name."""

    def close(self) -> None:
        """Give memory back; the engine cannot be called any more."""


class Backend(Protocol):
    """What a backend's module offers under the name ``BACKEND``.

    One that can compute in more than fp32 lists what this machine has in a method
    ``arithmetic()``.
    """

    name: str

    def unavailable(self) -> str | None:
        """Why it does not work here, in one line, or None where it does."""

    def describe(self) -> str:
        """Library version and device, in one line."""

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> Engine:
        """Compile a network's ONNX file."""


class CompilingBackend(Backend, Protocol):
    """A backend whose engines can be kept as files and opened again without compiling.

    Builders are in ``export/engines``, one file for each such backend, and write what
    ``open_engine`` reads.
    """

    engine_suffix: str

    def fingerprint(self, options: EngineOptions) -> dict[str, str]:
        """All that an engine depends on besides graph, weights and shapes.

        It is told as far as this machine tells: at least ``library``, ``version``,
        ``os``, ``arch``; with a GPU also ``device``, ``compute_capability``, ``driver``
        or ``jetpack``, and ``power_mode`` on boards that have such. An engine is opened
        only where every value is the same.
        """

    def open_engine(self, engine: Path, spec: SubnetSpec, options: EngineOptions) -> Engine:
        """An engine that a builder wrote, whose hash and fingerprint were found right.

        Raises:
            BackendError: the library refuses it; the fix is to compile again.
        """


def as_compiling(backend: Backend) -> CompilingBackend | None:
    """The backend as one whose engines can be kept, or None where they cannot."""
    return cast(CompilingBackend, backend) if hasattr(backend, "open_engine") else None


def make_cache(folder: Path | None) -> Path | None:
    """The folder for what a library compiles, made where it is missing; None where there is none.

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


def list_arithmetic(backend: Backend) -> tuple[str, ...]:
    """What the backend can be told to compute in on this machine."""
    own = getattr(backend, "arithmetic", None)
    return ("fp32",) if own is None else tuple(own())
