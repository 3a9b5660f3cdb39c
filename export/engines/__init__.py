"""Engines compiled on the machine that runs them.

One file here for each backend whose engines can be kept.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.errors import UnknownNameError
from echoexport.runtime.progress import Tell


@dataclass(frozen=True)
class EngineSettings:
    """How an engine is built; a builder leaves out what its library does not know."""

    workspace: int | None = None
    """Bytes that the builder may use as scratch memory, None for no limit."""
    level: int | None = None
    """The builder's optimization level, None for the library's own."""
    best_of: int = 1
    """So many builds, of which the fastest is kept."""
    compute: str = "fp32"
    """Arithmetic in the engine, as in ``EngineOptions``."""
    threads: int = 0
    """CPU threads, as in ``EngineOptions``."""
    timing_cache: Path | None = None
    """A file that is read, if it is there, and written; None for none."""
    timeout: float = 3600.0
    """Seconds for one network."""


@dataclass(frozen=True)
class BuiltEngine:
    """What building one engine gave, *measured* on this machine."""

    seconds: float
    bytes: int
    peak_bytes: int | None
    """Of the process that built it, None where that is not known."""
    notes: tuple[str, ...] = field(default=())
    """In words, for the compiled bundle's manifest."""


class Builder(Protocol):
    """What a module here offers."""

    REVISION: int
    """Goes up where the same settings give another engine than before."""

    def build_engine(
        self,
        graph: Path,
        spec: SubnetSpec,
        output: Path,
        *,
        settings: EngineSettings,
        report: Tell,
    ) -> BuiltEngine:
        """Compile one network's ONNX file into ``output``: whole, or not at all.

        Raises:
            BackendError: the library is missing, refuses the graph, runs out of memory
                or dies; says what to do.
        """


def list_builders() -> tuple[str, ...]:
    """Backends whose engines can be kept, which is this folder's listing."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")))


def load_builder(backend: str) -> Builder:
    """The builder of a backend's engines; its library is not imported yet.

    Raises:
        UnknownNameError: that backend's engines cannot be kept.
    """
    if backend not in list_builders():
        raise UnknownNameError("backend with engines to keep", backend, known=list_builders())
    return cast(Builder, importlib.import_module(f"{__name__}.{backend}"))
