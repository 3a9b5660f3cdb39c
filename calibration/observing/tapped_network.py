"""A network that is run for its taps, in ONNX Runtime or in OpenVINO."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.observing.taps import Tap, add_taps
from echoexport.runtime.engine.processor import count_cores
from echoexport.runtime.errors import BackendError, CalibrationError, MissingPackageError
from echoexport.runtime.files.temporary import temporary_folder

if TYPE_CHECKING:
    import onnx

__all__ = ["TappedNetwork"]

_PURPOSE = "looking at activations"


class TappedNetwork:
    """A network that gives its taps in place of its outputs.

    It runs in ONNX Runtime on the CPU, or in OpenVINO where that is missing. ONNX
    Runtime reads the weights where they lie; OpenVINO needs a second name for (or a
    copy of) their file.

    Raises:
        MissingPackageError: neither engine is installed.
        BackendError: the engine does not take the graph.
    """

    def __init__(self, graph: FloatGraph, taps: Iterable[Tap], *, threads: int = 0) -> None:
        self._name = graph.name
        model = add_taps(graph, taps)
        try:
            import onnxruntime  # noqa: F401
        except ImportError:
            self._run = _open_openvino(graph, model, threads=threads)
        else:
            self._run = _open_onnxruntime(graph, model, threads=threads)

    def __call__(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """The taps' outputs by name.

        Raises:
            CalibrationError: the engine refused the inputs.
        """
        try:
            found: dict[str, NDArray[np.float32]] = self._run(dict(inputs))
        except Exception as error:  # engines raise classes of their own, made in C++
            line = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise CalibrationError(f"{self._name}: a sample does not run: {line}") from error
        return found


def _open_onnxruntime(graph: FloatGraph, model: onnx.ModelProto, *, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or count_cores()
    # Its default order runs taps last, and so holds every activation until then; its
    # arena grows by doubling.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    options.enable_cpu_mem_arena = False
    values = _add_weights(options, graph, model)
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["ConstantFolding"],
        )
    except Exception as error:
        raise BackendError(
            f"{graph.path}: ONNX Runtime cannot load it: {str(error).splitlines()[0][:200]}"
        ) from error
    names = [output.name for output in session.get_outputs()]

    def run(inputs: dict[str, Any]) -> dict[str, Any]:
        assert values is not None  # the session reads these in place
        return dict(zip(names, session.run(names, inputs), strict=True))

    return run


def _add_weights(options: Any, graph: FloatGraph, model: onnx.ModelProto) -> list[Any]:
    """Have a session read the weights where they lie; gives what must outlive it."""
    import onnxruntime
    from onnx import TensorProto

    stored = [
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_location == TensorProto.EXTERNAL
    ]
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(graph.read(name)) for name in stored]
    if stored:
        options.add_external_initializers(stored, values)
    return values


def _open_openvino(graph: FloatGraph, model: onnx.ModelProto, *, threads: int) -> Any:
    try:
        from echoexport.runtime.backends.openvino import open_core

        core = open_core()
    except MissingPackageError as error:
        raise MissingPackageError("onnxruntime", extra="onnxruntime", purpose=_PURPOSE) from error
    config = {
        "INFERENCE_PRECISION_HINT": "f32",
        **({"INFERENCE_NUM_THREADS": str(threads)} if threads else {}),
    }
    weights = graph.path.with_suffix(".bin")
    with temporary_folder("tapped") as folder:
        if weights.exists():
            _bring_file(weights, folder / weights.name)
        (folder / "tapped.onnx").write_bytes(model.SerializeToString())
        try:
            compiled = core.compile_model(str(folder / "tapped.onnx"), "CPU", config)
        except Exception as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
            raise BackendError(f"{graph.path}: OpenVINO cannot compile it: {line}") from error
    names = [output.get_any_name() for output in compiled.outputs]

    def run(inputs: dict[str, Any]) -> dict[str, Any]:
        results = compiled(inputs)
        return {name: np.array(results[index]) for index, name in enumerate(names)}

    return run


def _bring_file(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
