"""TensorRT's Python module, the runtime half.

Opening it, reading plans, and what differs between its versions.
"""

from __future__ import annotations

import importlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import BackendError, DeviceError

# What it says about a plan of another GPU model, only to go on with it, slowly or
# wrongly.
_OTHER_DEVICE = "across different models of devices"
# Its words for what no other plan would mend: its own error code, and CUDA's errors.
_DEVICE_FAULTS = ("OutOfMemory", "Cuda Runtime", "CUDA initialization")
_NUMPY_NAMES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


@dataclass(frozen=True)
class Context:
    """An execution context."""

    handle: Any
    """The library's, None where it was refused."""
    replays: bool = False
    """Whether it uses CUDA graphs by itself."""
    keep: Callable[[], None] | None = None
    """To be called once after a first run, to write down what that run had to compile."""


class TensorRTLibrary:
    """NVIDIA's TensorRT or TensorRT-RTX module.

    The API of the two is the same but for what stands here.

    A process has one logger for all of TensorRT, the first that it is given; so there
    is one of these for each module, with one runtime.
    """

    def __init__(self, module: Any, *, title: str) -> None:
        """``module`` is tensorrt 10.3 to 11.x, or tensorrt_rtx_bindings.

        ``title`` is what messages call it.
        """
        self.module = module
        self.title = title
        self.version = str(module.__version__)
        self._complaints: deque[tuple[bool, str]] = deque(maxlen=20)
        self._logger = _make_listener(module, self._complaints)
        self._runtime: Any = None
        self._lock = threading.Lock()

    def read_plan(self, plan: Path, *, content: memoryview | None = None) -> Any:
        """The ``ICudaEngine`` of a plan, from ``content`` where the file was read before.

        Raises:
            BackendError: the file cannot be read, or the library refuses it, or says
                that it is another device's. DeviceError: it is refused for want of
                memory, a driver or a GPU.
        """
        with self._lock:
            self._complaints.clear()
            try:
                whole = plan.read_bytes() if content is None else content
            except OSError as error:
                raise BackendError(f"{plan}: cannot be read: {error}") from error
            if not len(whole):
                raise BackendError(f"{plan}: cannot be read: it is empty")
            engine = self._find_runtime().deserialize_cuda_engine(whole)
            if engine is None:
                reason = self.explain()
                kind = (
                    DeviceError if any(mark in reason for mark in _DEVICE_FAULTS) else BackendError
                )
                raise kind(f"{plan}: {self.title} {self.version} refuses it{reason}")
            if any(_OTHER_DEVICE in text for _, text in self._list_complaints()):
                raise BackendError(f"{plan}: was compiled on another model of GPU")
            return engine

    def create_context(self, engine: Any, spec: SubnetSpec, options: EngineOptions) -> Context:
        """An execution context with memory of its own."""
        return Context(engine.create_execution_context())

    def list_tensors(self, engine: Any) -> dict[str, tuple[bool, tuple[int, ...], str]]:
        """Inputs and outputs by name.

        Each has whether it is an input, its shape, and its numpy dtype's name (or
        TensorRT's own).
        """
        found = {}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            is_input = engine.get_tensor_mode(name) == self.module.TensorIOMode.INPUT
            kind = engine.get_tensor_dtype(name).name
            found[name] = (
                is_input,
                tuple(map(int, engine.get_tensor_shape(name))),
                _NUMPY_NAMES.get(kind, kind),
            )
        return found

    def explain(self) -> str:
        """What it last complained about, ready to stand behind a sentence: ": ..." or nothing."""
        errors = [text for is_error, text in self._list_complaints() if is_error]
        return f": {errors[0][:300]}" if errors else ""

    def _list_complaints(self) -> list[tuple[bool, str]]:
        """As one copy: another thread's engine may make the library complain meanwhile."""
        return list(self._complaints)

    def _find_runtime(self) -> Any:
        if self._runtime is None:
            self._runtime = self.module.Runtime(self._logger)
        return self._runtime


def import_library(*names: str) -> Any:
    """Import these modules in their order and return the last.

    Raises:
        ModuleNotFoundError: one is not installed.
        BackendError: one is, and does not load.
    """
    module = None
    for name in names:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            raise
        # missing shared libraries come as ImportError, OSError or RuntimeError
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise BackendError(f"{name} is installed and does not load: {reason}") from error
    return module


def _make_listener(module: Any, complaints: deque[tuple[bool, str]]) -> Any:
    """A logger that keeps warnings and errors.

    The calls themselves answer with no more than None or False.
    """

    class Listener(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)  # its base, made in C++, wants to be called by name

        def log(self, severity: Any, message: str) -> None:
            is_error = severity in (
                module.ILogger.Severity.ERROR,
                module.ILogger.Severity.INTERNAL_ERROR,
            )
            if is_error or severity == module.ILogger.Severity.WARNING:
                complaints.append((is_error, " ".join(str(message).split())))

    return Listener()
