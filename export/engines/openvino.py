"""OpenVINO's engines: the compiled model as it exports itself, weights included."""

from __future__ import annotations

import io
import time
from pathlib import Path

from echoexport.export.engines import BuiltEngine, EngineSettings
from echoexport.runtime.backends.openvino import compile_graph, describe_config, open_core
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import BackendError
from echoexport.runtime.progress import Tell

REVISION = 1


def build_engine(
    graph: Path, spec: SubnetSpec, output: Path, *, settings: EngineSettings, report: Tell
) -> BuiltEngine:
    """Compile and export.

    The file is about as large as the weights, and kernels are chosen anew when it is
    opened.

    Raises:
        MissingPackageError: openvino is not installed.
        SettingError: a compute precision that this CPU does not have.
        BackendError: the graph does not compile, or the model does not export.
    """
    options = EngineOptions(compute=settings.compute, threads=settings.threads)
    start = time.perf_counter()
    report("compiling")
    compiled = compile_graph(open_core(), graph, describe_config(graph, options))
    report("exporting")
    try:
        # the library writes to nothing but a buffer in memory
        content: io.BytesIO = compiled.export_model()
    except RuntimeError as error:
        raise BackendError(f"{graph}: OpenVINO cannot export it: {error}") from error
    output.write_bytes(content.getbuffer())
    return BuiltEngine(time.perf_counter() - start, output.stat().st_size, None)
