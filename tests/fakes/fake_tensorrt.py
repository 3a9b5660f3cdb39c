"""A double of NVIDIA's builder and parser.

The environment tells it which version it is and what goes wrong.

FAKE_TENSORRT_FAULT, each as the library or the system would do it:

=============  ==============================================================================
import         the module does not load: a shared library is missing
old            it is TensorRT 8.6
no-parser      it has no ``OnnxParser``
no-workspace   a config has no ``set_memory_pool_limit``
no-level       a config has no ``builder_optimization_level`` and there is no ``IProgressMonitor``
no-gpu         a builder does not start
parser         the parser refuses a node
none           the builder gives nothing and says why
silent         the builder gives nothing and no reason
out-of-memory  the builder gives nothing, for lack of device memory
memory-error   the builder raises ``MemoryError``
skipped        two kernels are left out for lack of memory
kill           the system kills the process while it builds
segfault       it dies of a segmentation fault, after a few words
abort          it aborts
exit           it ends without a word, exit code 3
hang           it never ends
disk           what it writes does not fit the disk
reordered      outputs come in the reverse order
=============  ==============================================================================
"""

from __future__ import annotations

import enum
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

VERSION = os.environ.get("FAKE_TENSORRT_VERSION", "10.3")
FAULT = os.environ.get("FAKE_TENSORRT_FAULT", "")
RTX = VERSION.startswith("rtx")

_name, _capability = os.environ.get("FAKE_TENSORRT_DEVICE", "Fake Orin/8.7").split("/")
DEVICE = {} if RTX else {"name": _name, "compute_capability": _capability}

__version__ = {
    "10.3": "10.3.0.30",
    "10.16": "10.16.2.10",
    "11.4": "11.4.1.9",
    "rtx-1.7": "1.7.1.116",
}[VERSION]
if FAULT == "old":
    __version__ = "8.6.2"
if FAULT == "import":
    raise ImportError("libnvinfer.so.10: cannot open shared object file: No such file or directory")
if FAULT == "disk":
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))


class MemoryPoolType(enum.IntEnum):
    WORKSPACE = 0


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class OnnxParserFlag(enum.IntEnum):
    NATIVE_INSTANCENORM = 0


_flags = {"TF32": 7} | ({} if VERSION in ("11.4", "rtx-1.7") else {"FP16": 0, "INT8": 1})
BuilderFlag = enum.IntEnum("BuilderFlag", _flags)  # type: ignore[misc]


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    def log(self, severity: Severity, message: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    pass


class IHostMemory(bytes):
    @property
    def nbytes(self) -> int:
        return len(self)


class ITimingCache:
    """Timings by graph: which process took them."""

    def __init__(self, entries: dict[str, int], made_by: dict[str, Any]) -> None:
        self.entries = entries
        self.made_by = made_by

    def serialize(self) -> IHostMemory:
        return IHostMemory(json.dumps({"made_by": self.made_by, "entries": self.entries}).encode())

    def combine(self, input_cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if self.made_by != input_cache.made_by and not ignore_mismatch:
            return False
        self.entries = input_cache.entries | self.entries
        return True


class IBuilderConfig:
    def __init__(self) -> None:
        self.builder_optimization_level = 3
        self.progress_monitor: Any = None
        self.workspace: int | None = None
        self.tf32 = True
        self.timing: ITimingCache | None = None
        if FAULT == "no-level":
            del self.builder_optimization_level, self.progress_monitor

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        assert pool is MemoryPoolType.WORKSPACE and pool_size > 0
        self.workspace = pool_size

    def clear_flag(self, flag: Any) -> None:
        self.tf32 = self.tf32 and flag != BuilderFlag["TF32"]

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        if RTX:
            raise RuntimeError("no CUDA-capable device is detected")
        made_by = {"version": __version__, "device": DEVICE}
        if not serialized_timing_cache:
            return ITimingCache({}, made_by)
        try:
            data = json.loads(serialized_timing_cache)
            return ITimingCache(data["entries"], data["made_by"])
        except (ValueError, KeyError, TypeError):
            return None

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if cache.made_by != {"version": __version__, "device": DEVICE} and not ignore_mismatch:
            return False
        self.timing = cache
        return True


class INetworkDefinition:
    def __init__(self, *, strongly_typed: bool) -> None:
        self.strongly_typed = strongly_typed
        self.graph: Path | None = None
        self.inputs: list[Any] = []
        self.outputs: list[str] = []

    @property
    def num_layers(self) -> int:
        return 7

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    def get_input(self, index: int) -> Any:
        return self.inputs[index]


class OnnxParser:
    """Takes whatever is a graph at all; its nodes are not looked at."""

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self.network = network
        self.flags = 0 if VERSION == "10.3" else 1
        self.errors: list[tuple[str, str, str]] = []

    @property
    def num_errors(self) -> int:
        return len(self.errors)

    def get_flag(self, flag: OnnxParserFlag) -> bool:
        return bool(self.flags & 1 << flag)

    def set_flag(self, flag: OnnxParserFlag) -> None:
        if VERSION != "10.3":
            raise RuntimeError("deprecated: it is on by default")
        self.flags |= 1 << flag

    def get_error(self, index: int) -> Any:
        operator, name, text = self.errors[index]
        return SimpleNamespace(
            node_operator=lambda: operator, node_name=lambda: name, desc=lambda: text
        )

    def parse_from_file(self, model: str) -> bool:
        if FAULT == "parser":
            self.errors.append(("Resize", "the.culprit", "cubic\nis not supported"))
            return False
        try:
            graph = _find(Path(model).read_bytes(), 7)[0]
        except (OSError, IndexError):
            self.errors.append(("", "", "Failed to parse ONNX model from file"))
            return False
        self.network.graph = Path(model)
        self.network.inputs = [_read_tensor(content) for content in _find(graph, 11)]
        self.network.outputs = [_read_tensor(content).name for content in _find(graph, 12)]
        return True


def _find(message: Any, *path: int) -> list[Any]:
    """Values of a field of a protobuf message, by the field numbers that lead there.

    IndexError if it is none.
    """
    found = []
    position = 0

    def number() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while position < len(message):
        tag = number()
        if tag & 7 == 0:
            value: Any = number()
        else:
            length = {1: 8, 5: 4}[tag & 7] if tag & 7 in (1, 5) else number()
            value = message[position : position + length]
            position = position + length
            if len(value) < length:
                raise IndexError("cut short")
        if tag >> 3 == path[0]:
            found.append(value)
    return (
        found if len(path) == 1 else [inner for value in found for inner in _find(value, *path[1:])]
    )


def _read_tensor(content: bytes) -> Any:
    """Name and shape of a ValueInfoProto; sizes that are not fixed are -1."""
    shape = tuple(next(iter(_find(size, 1)), -1) for size in _find(content, 2, 1, 2, 1))
    return SimpleNamespace(name=_find(content, 1)[0].decode(), shape=shape)


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self.logger = logger
        if FAULT == "no-gpu":
            logger.log(
                ILogger.Severity.ERROR,
                "Error Code 100: Cuda Runtime (no CUDA-capable device is detected)",
            )
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        asked = bool(flags & 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        return INetworkDefinition(strongly_typed=asked or VERSION in ("11.4", "rtx-1.7"))

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> IHostMemory | None:
        if RTX:
            self.logger.log(
                ILogger.Severity.ERROR, "Error Code 35: Cuda Runtime (CUDA driver is insufficient)"
            )
        if not network.strongly_typed or config.tf32:
            self.logger.log(
                ILogger.Severity.ERROR, "the network is weakly typed or may round to TF32"
            )
            return None
        if getattr(config, "progress_monitor", None) is not None:
            config.progress_monitor.phase_start("Timing kernels", None, 2)
            assert config.progress_monitor.step_complete("Timing kernels", 0)
            config.progress_monitor.phase_finish("Timing kernels")
        print("chatter on the standard output", flush=True)
        if FAULT in _WHILE_BUILDING:
            return _WHILE_BUILDING[FAULT](self.logger)
        assert network.graph is not None
        if config.timing is not None:
            config.timing.entries.setdefault(network.graph.stem, os.getpid())
        outputs = network.outputs[::-1] if FAULT == "reordered" else network.outputs
        plan = {
            "fake": VERSION,
            "onnx": str(network.graph.absolute()),
            "outputs": outputs,
            "device": DEVICE,
        }
        return IHostMemory(json.dumps(plan).encode())


def _complain(*messages: str) -> Any:
    def say(logger: ILogger) -> None:
        for message in messages:
            logger.log(ILogger.Severity.ERROR, message)

    return say


def _die(number: int) -> Any:
    def die(logger: ILogger) -> None:
        print("the library's\n\nlast  words", file=sys.stderr, flush=True)
        signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
        os.kill(os.getpid(), number)

    return die


def _raise(logger: ILogger) -> None:
    raise MemoryError("std::bad_alloc")


_WHILE_BUILDING: dict[str, Any] = {
    "none": _complain(
        "Error Code 10: Could not find any implementation for node {ForeignNode[conv_in]}."
    ),
    "silent": _complain(),
    "out-of-memory": _complain(
        "Error Code 1: Cuda Runtime (out of memory)", "Error Code 2: OutOfMemory"
    ),
    "memory-error": _raise,
    "kill": _die(signal.SIGKILL),
    "segfault": _die(signal.SIGSEGV),
    "abort": _die(signal.SIGABRT),
    "exit": lambda logger: os._exit(3),
    "hang": lambda logger: time.sleep(600),
}

if FAULT == "skipped":
    _build = Builder.build_serialized_network

    def _build_with_warnings(
        self: Builder, network: INetworkDefinition, config: IBuilderConfig
    ) -> IHostMemory | None:
        for number in (33, 34):
            text = (
                f"UNSUPPORTED_STATE: Skipping tactic {number} due to insufficient memory on "
                "requested size of 629145600"
            )
            self.logger.log(ILogger.Severity.WARNING, text)
        return _build(self, network, config)

    Builder.build_serialized_network = _build_with_warnings  # type: ignore[method-assign]
if FAULT == "no-parser":
    del OnnxParser
if FAULT == "no-workspace":
    del IBuilderConfig.set_memory_pool_limit
if FAULT == "no-level":
    del IProgressMonitor
