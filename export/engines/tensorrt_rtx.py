"""Engines of TensorRT-RTX, which need no GPU to be built.

Portable ones for RTX cards, and a check for any graph.

As a check it is a proxy for the TensorRT of a Jetson, not proof: it takes newer opsets
than JetPack 6 does, hence our own lint.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from echoexport.export.engines import BuiltEngine, EngineSettings
from echoexport.export.engines.nvidia.tensorrt_build import build_with, explain_child
from echoexport.export.engines.nvidia.tensorrt_child import BuildJob
from echoexport.export.engines.nvidia.tensorrt_library import TENSORRT_RTX
from echoexport.export.engines.nvidia.tensorrt_memory import estimate_memory, find_need
from echoexport.export.engines.nvidia.tensorrt_process import run_child
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.errors import GraphError, MissingPackageError
from echoexport.runtime.progress import Tell

REVISION = 1

__all__ = [
    "ParserReport",
    "build_engine",
    "check_network",
    "estimate_memory",
    "is_installed",
    "require_installed",
]

_PRODUCT = TENSORRT_RTX


@dataclass(frozen=True)
class ParserReport:
    """What parsing and building one network gave.

    Seconds are wall clock on this machine, *measured*.
    """

    network: str
    version: str
    parse_seconds: float
    build_seconds: float
    engine_bytes: int
    peak_bytes: int


def is_installed() -> bool:
    """Whether the bindings and the libraries are here; neither is imported."""
    return all(
        importlib.util.find_spec(name) is not None
        for name in ("tensorrt_rtx_libs", "tensorrt_rtx_bindings")
    )


def require_installed() -> None:
    """Raise ``MissingPackageError`` where they are not."""
    if not is_installed():
        raise MissingPackageError("TensorRT-RTX", extra="tensorrt-rtx", purpose="the parser check")


def build_engine(
    graph: Path, spec: SubnetSpec, output: Path, *, settings: EngineSettings, report: Tell
) -> BuiltEngine:
    """Compile one network's ONNX file into ``output``, ahead of time.

    For compute capabilities 8.0 to 12.0, on any x86.

    Raises:
        BackendError: too little memory, or the library is missing, refuses the graph,
            dies or takes too long. OutputError: the engine cannot be written.
    """
    return build_with(_PRODUCT, graph, spec, output, settings=settings, report=report)


def check_network(graph: Path, *, timeout: float = 1800.0) -> ParserReport:
    """Parse and build one ONNX file; the engine is not kept.

    Raises:
        GraphError: the parser or the builder refuses it, or dies on it; names the node
            where it can. MissingPackageError: the library is not installed.
    """
    require_installed()
    job = BuildJob(_PRODUCT.backend, _PRODUCT.library, str(graph.absolute()))
    need = find_need(graph, workspace=None)
    outcome = run_child(
        "echoexport.export.engines.nvidia.tensorrt_child",
        job,
        timeout=timeout,
        report=lambda text: None,
    )
    answer = outcome.find("built")
    if answer is None:
        error = explain_child(outcome, _PRODUCT, graph, None, need=need, timeout=timeout)
        refused = outcome.find("refused")
        raise (
            error
            if refused is not None and refused["kind"] == "library"
            else GraphError(str(error))
        )
    return ParserReport(
        network=graph.stem,
        **{name: answer[name] for name in ParserReport.__dataclass_fields__ if name != "network"},
    )
