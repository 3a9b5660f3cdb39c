"""A double of TensorRT's runtime half, after README.md.

It runs a plan's graph with ONNX Runtime on fake_cuda's memory.

Versions "10.3", "10.16", "11.4" and "rtx-1.7" differ in attributes as NVIDIA's do.
Faults, any number of them:

* ``no memory``: a plan's weights do not fit the GPU
* ``no context``: it cannot take the memory to run in
* ``cannot run``: execution answers False, with a complaint
* ``no capture``: execution within a capture spoils it, as an engine with host work in
it does
* ``not finite``: outputs hold NaN
* ``lacks NAME``: an engine or context without that attribute

A plan of another version or compute capability is refused; of another model of GPU it
complains, and goes on.
"""

from __future__ import annotations

import enum
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

VERSIONS = {"10.3": "10.3.0.30", "10.16": "10.16.2.10", "11.4": "11.4.1.9", "rtx-1.7": "1.7.1.116"}
DTYPES = {
    "tensor(float)": "FLOAT",
    "tensor(float16)": "HALF",
    "tensor(int64)": "INT64",
    "tensor(int32)": "INT32",
}
NUMPY = {"FLOAT": np.float32, "HALF": np.float16, "INT64": np.int64, "INT32": np.int32}

Severity = enum.Enum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"])
TensorIOMode = enum.Enum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"])
DataType = enum.Enum(
    "DataType", ["FLOAT", "HALF", "INT8", "INT32", "BOOL", "UINT8", "INT64", "BF16"]
)
CudaGraphStrategy = enum.Enum("CudaGraphStrategy", ["DISABLED", "WHOLE_GRAPH_CAPTURE"])


class ILogger:
    Severity = Severity


class IProfiler:
    pass


def write_plan(
    path: Path, graph: Path, outputs: list[str], *, version: str = "10.3", device: Any = None
) -> Path:
    """The bytes that both halves agree on; ``outputs`` in the engine's order."""
    portable = version.startswith("rtx")
    home = {} if portable else device or {"name": "Fake Orin", "compute_capability": "8.7"}
    plan = {"fake": version, "onnx": str(graph.absolute()), "outputs": outputs, "device": home}
    path.write_bytes(json.dumps(plan).encode())
    return path


class FakeTensorRT(types.ModuleType):
    """The module. ``engines`` are all that were opened."""

    ILogger = ILogger
    IProfiler = IProfiler
    TensorIOMode = TensorIOMode
    DataType = DataType

    def __init__(self, version: str, cuda: Any, *, faults: tuple[str, ...] = ()) -> None:
        portable = version.startswith("rtx")
        super().__init__("tensorrt_rtx_bindings" if portable else "tensorrt")
        self.__version__ = VERSIONS[version]
        self.version = version
        self.cuda = cuda
        self.faults = faults
        self.portable = portable
        self.logger: Any = None
        self.engines: list[FakeEngine] = []
        if portable:
            self.CudaGraphStrategy = CudaGraphStrategy

    def Runtime(self, logger: Any) -> FakeRuntime:  # noqa: N802 - NVIDIA's name
        if self.logger is None:  # a process keeps the first
            self.logger = logger
        return FakeRuntime(self)

    def complain(self, severity: Severity, text: str) -> None:
        self.logger.log(severity, text)


class FakeRuntime:
    def __init__(self, module: FakeTensorRT) -> None:
        self._module = module

    def deserialize_cuda_engine(self, content: Any) -> FakeEngine | None:
        module = self._module
        try:
            plan = json.loads(bytes(memoryview(content)))
            version = plan["fake"]
            device = plan["device"]
        except (ValueError, KeyError, TypeError):
            module.complain(
                Severity.ERROR,
                "Error Code 1: Serialization (assertion magicTag == kEXPECTED failed.)",
            )
            return None
        if "no memory" in module.faults:
            module.complain(
                Severity.ERROR, "Error Code 2: OutOfMemory (Requested size was 2612035584 bytes.)"
            )
            return None
        if version != module.version:
            module.complain(
                Severity.ERROR, f"Version tag does not match: {module.version}, engine's {version}"
            )
            return None
        major, minor = module.cuda.capability
        if not module.portable and device["compute_capability"] != f"{major}.{minor}":
            module.complain(
                Severity.ERROR, f"plan of compute {device['compute_capability']} on {major}.{minor}"
            )
            return None
        if not module.portable and device["name"] != module.cuda.device_name:
            text = "Using an engine plan file across different models of devices is not recommended"
            module.complain(Severity.WARNING, text)
        engine = FakeEngine(module, Path(plan["onnx"]), plan["outputs"])
        module.engines.append(engine)
        return engine


class FakeEngine:
    def __init__(self, module: FakeTensorRT, graph: Path, outputs: list[str]) -> None:
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        settings.log_severity_level = 3
        self.module = module
        self.session = onnxruntime.InferenceSession(
            str(graph), settings, providers=["CPUExecutionProvider"]
        )
        self.tensors = {
            node.name: node for node in (*self.session.get_inputs(), *self.session.get_outputs())
        }
        self.inputs = [node.name for node in self.session.get_inputs()]
        self.outputs = outputs
        self.contexts: list[FakeContext] = []
        if not module.version.startswith(("11", "rtx")):
            self.device_memory_size = 1 << 20
        self.device_memory_size_v2 = 1 << 20

    def __getattribute__(self, name: str) -> Any:
        _require(super().__getattribute__("__dict__").get("module"), name)
        return super().__getattribute__(name)

    @property
    def num_io_tensors(self) -> int:
        return len(self.inputs) + len(self.outputs)

    def get_tensor_name(self, index: int) -> str:
        return [*self.outputs, *self.inputs][index]  # outputs first: nobody may count on an order

    def get_tensor_mode(self, name: str) -> Any:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[name].shape)

    def get_tensor_dtype(self, name: str) -> Any:
        return DataType[DTYPES[self.tensors[name].type]]

    def create_execution_context(self, config: Any = None) -> FakeContext | None:
        if "no context" in self.module.faults:
            self.module.complain(
                Severity.ERROR, "Error Code 2: OutOfMemory (Requested size was 1048576 bytes.)"
            )
            return None
        context = FakeContext(self, config)
        self.contexts.append(context)
        return context

    def create_runtime_config(self) -> FakeConfig:
        if not self.module.portable:
            raise AttributeError("'ICudaEngine' object has no attribute 'create_runtime_config'")
        return FakeConfig(self.module)


class FakeContext:
    def __init__(self, engine: FakeEngine, config: Any) -> None:
        self.engine = engine
        self.module = engine.module
        self.config = config
        self.addresses: dict[str, int] = {}
        self.runs = 0
        self.profiler: Any = None

    def __getattribute__(self, name: str) -> Any:
        _require(super().__getattribute__("__dict__").get("module"), name)
        return super().__getattribute__(name)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return name in self.engine.tensors

    def execute_async_v3(self, stream_handle: int) -> bool:
        cuda = self.module.cuda
        if "cannot run" in self.module.faults or set(self.addresses) != {
            *self.engine.inputs,
            *self.engine.outputs,
        }:
            self.module.complain(
                Severity.ERROR, "IExecutionContext::enqueueV3: Error Code 3: API Usage Error"
            )
            return False
        if cuda.is_capturing(stream_handle) and (
            "no capture" in self.module.faults or not self.runs
        ):
            cuda.spoil_capture(stream_handle)  # memory of its own is taken in a first run
            return False
        cuda.enqueue(stream_handle, self._run)
        return True

    def _run(self) -> None:
        self.runs += 1
        feed = {name: self._read(name) for name in self.engine.inputs}
        results = self.engine.session.run(self.engine.outputs, feed)
        for name, result in zip(self.engine.outputs, results, strict=True):
            found = np.full_like(result, np.nan) if "not finite" in self.module.faults else result
            self.module.cuda.write(self.addresses[name], np.ascontiguousarray(found).tobytes())
        if self.profiler is not None:
            for number, layer in enumerate(("first", "second")):
                self.profiler.report_layer_time(layer, 1.0 + number)
        if self.config is not None and self.config.cache is not None:
            self.config.cache.kernels.add(self.engine.session.get_modelmeta().graph_name or "graph")

    def _read(self, name: str) -> np.ndarray:
        shape = self.engine.get_tensor_shape(name)
        dtype = np.dtype(NUMPY[DTYPES[self.engine.tensors[name].type]])
        content = self.module.cuda.read(self.addresses[name], int(np.prod(shape)) * dtype.itemsize)
        return np.frombuffer(content, dtype).reshape(shape)


class FakeConfig:
    """``IRuntimeConfig`` of TensorRT-RTX."""

    def __init__(self, module: FakeTensorRT) -> None:
        self._module = module
        self.cuda_graph_strategy = CudaGraphStrategy.DISABLED
        self.cache: FakeKernels | None = None

    def create_runtime_cache(self) -> FakeKernels:
        return FakeKernels(self._module.cuda.device_name)

    def set_runtime_cache(self, cache: FakeKernels) -> bool:
        self.cache = cache
        return True


class FakeKernels:
    """``IRuntimeCache``: names of graphs that were compiled, on one GPU."""

    def __init__(self, device: str) -> None:
        self._device = device
        self.kernels: set[str] = set()

    def serialize(self) -> bytes:
        return json.dumps({"device": self._device, "kernels": sorted(self.kernels)}).encode()

    def deserialize(self, content: bytes) -> bool:
        try:
            found = json.loads(content)
        except ValueError:
            return False
        if found.get("device") != self._device:
            return False
        self.kernels = set(found["kernels"])
        return True


def _require(module: FakeTensorRT | None, name: str) -> None:
    if module is not None and f"lacks {name}" in module.faults:
        raise AttributeError(f"object has no attribute {name!r}")


def install(
    monkeypatch: Any, version: str, cuda: Any, *, faults: tuple[str, ...] = ()
) -> FakeTensorRT:
    """The process's TensorRT until the test ends."""
    module = FakeTensorRT(version, cuda, faults=faults)
    if module.portable:
        monkeypatch.setitem(sys.modules, "tensorrt_rtx_libs", types.ModuleType("tensorrt_rtx_libs"))
        monkeypatch.setitem(sys.modules, "tensorrt_rtx_bindings", module)
    else:
        monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module
