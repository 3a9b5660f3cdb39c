"""ONNX Runtime's engines.

The graph as it is after all optimizations for this processor, and its weights beside
it.
"""

from __future__ import annotations

import time
from pathlib import Path

from echoexport.export.engines import BuiltEngine, EngineSettings
from echoexport.runtime.backends.ort import make_settings, start_inference
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.progress import Tell

REVISION = 1

_LEAST = 1024  # bytes; smaller constants stay in the graph


def build_engine(
    graph: Path, spec: SubnetSpec, output: Path, *, settings: EngineSettings, report: Tell
) -> BuiltEngine:
    """Optimize and save.

    The weights get a file of their own, ``output`` with ``.data`` after its name, which
    the graph knows by that name: a protobuf ends at 2 GB, and weights that no
    optimization touched would go on being read from the portable bundle.

    Raises:
        MissingPackageError: onnxruntime is not installed.
        SettingError: a compute precision that this backend does not have.
        BackendError: the graph does not load.
    """
    own = make_settings(EngineOptions(compute=settings.compute, threads=settings.threads))
    data = output.with_name(f"{output.name}.data")
    own.optimized_model_filepath = str(output)
    own.add_session_config_entry(
        "session.optimized_model_external_initializers_file_name", data.name
    )
    own.add_session_config_entry(
        "session.optimized_model_external_initializers_min_size_in_bytes", str(_LEAST)
    )
    start = time.perf_counter()
    report("optimizing")
    start_inference(graph, own)
    size = sum(path.stat().st_size for path in (output, data) if path.exists())
    return BuiltEngine(time.perf_counter() - start, size, None)
