"""OpenVINO on the CPU, with its inference precision always stated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from echoexport.runtime.backends import Arrays, EngineOptions
from echoexport.runtime.errors import BackendError, MissingPackageError, SettingError
from echoexport.runtime.spec import SubnetSpec

# Left alone, OpenVINO computes in bf16 wherever the CPU has it, which costs 80 dB on these networks.
_HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVINOEngine:
    """A compiled model and one request."""

    def __init__(self, compiled: Any, precision: str) -> None:
        self.precision = precision
        self._request = compiled.create_infer_request()
        self._names = [output.get_any_name() for output in compiled.outputs]

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run once; inputs are read in place, outputs are copies.

        Raises:
            BackendError: OpenVINO refused the inputs or failed.
        """
        if self._request is None:
            raise BackendError("this engine is closed")
        try:
            results = self._request.infer(dict(inputs), share_inputs=True)
        except Exception as error:  # the library raises RuntimeError and classes of its own
            raise BackendError(f"OpenVINO failed: {_last_line(error)}") from error
        return {name: np.asarray(results[i]) for i, name in enumerate(self._names)}

    def close(self) -> None:
        """Drop the request and with it the model."""
        self._request = None


class OpenVINOBackend:
    """The ``openvino`` package."""

    name = "openvino"

    def unavailable(self) -> str | None:
        """Whether the package is here and sees a CPU."""
        try:
            import openvino
        except ImportError:
            return "openvino is not installed: pip install 'echoexport[openvino]'"
        return None if "CPU" in openvino.Core().available_devices else "OpenVINO sees no CPU device"

    def describe(self) -> str:
        """Version, device, and the precisions the device has."""
        import openvino

        core = openvino.Core()
        has = sorted(set(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")) & {"BF16", "FP16", "INT8", "FP32"})
        version, device = openvino.__version__.split("-")[0], core.get_property("CPU", "FULL_DEVICE_NAME")
        return f"openvino {version}, {device}, {'/'.join(has)}"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> OpenVINOEngine:
        """A compiled network.

        Raises:
            MissingPackageError: openvino is not installed.
            SettingError: a compute precision that this CPU or backend does not have.
            BackendError: the graph does not compile.
        """
        try:
            import openvino
        except ImportError as error:
            raise MissingPackageError("openvino", extra="openvino", purpose="backend 'openvino'") from error
        core = openvino.Core()
        config = {"INFERENCE_PRECISION_HINT": _find_hint(core, options.compute), "PERFORMANCE_HINT": "LATENCY"}
        if options.threads:
            config["INFERENCE_NUM_THREADS"] = str(options.threads)
        if options.cache is not None:
            config["CACHE_DIR"] = str(options.cache)
        try:
            compiled = core.compile_model(str(graph), "CPU", config)
        except Exception as error:
            raise BackendError(f"{graph}: OpenVINO cannot compile it: {_last_line(error)}") from error
        stored = "fp16" if spec.inputs[0].dtype == "float16" else "fp32"
        return OpenVINOEngine(compiled, options.compute if options.compute != "fp32" else stored)


def _find_hint(core: Any, compute: str) -> str:
    if compute not in _HINTS:
        raise SettingError(f"compute {compute!r}: backend 'openvino' has {', '.join(_HINTS)}")
    if compute == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise SettingError("compute 'bf16': this CPU has no bf16 instructions; use fp32")
    return _HINTS[compute]


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]


BACKEND = OpenVINOBackend()
