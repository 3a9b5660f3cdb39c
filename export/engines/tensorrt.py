"""Engines of TensorRT 10.3 to 11.x, built on the device by NVIDIA's own Python module.

Not through Polygraphy: what it adds, loaders for shapes, plugins and comparisons, we
have or do not need, and a board's system image does not bring it.
"""

from __future__ import annotations

from pathlib import Path

from echoexport.export.engines import BuiltEngine, EngineSettings
from echoexport.export.engines.nvidia.tensorrt_build import build_with
from echoexport.export.engines.nvidia.tensorrt_library import TENSORRT
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.progress import Tell

REVISION = 1

_PRODUCT = TENSORRT


def build_engine(
    graph: Path, spec: SubnetSpec, output: Path, *, settings: EngineSettings, report: Tell
) -> BuiltEngine:
    """Compile one network's ONNX file into ``output``: strongly typed, at the graph's own shapes.

    Raises:
        BackendError: too little memory, or the library is missing, refuses the graph,
            dies or takes too long. OutputError: the engine cannot be written.
    """
    return build_with(_PRODUCT, graph, spec, output, settings=settings, report=report)
