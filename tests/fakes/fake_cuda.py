"""A double of ``cuda.bindings.runtime``.

Device memory in bytearrays, streams that run when waited for, graphs.

It keeps the rules that a real GPU punishes at some later time: a pinned buffer is read
when the stream gets there, not when the copy is asked for; pageable memory is read at
once; in a capture nothing runs; every address is checked.

Faults: ``fail(function, error)`` gives that error code, from the n-th call on or just
once; ``raising`` names functions that raise RuntimeError, as the wheels of 12.6 do
without a driver; ``memory`` is where it runs out; ``remove`` takes a function away. An
error in a stream's own work is reported by the next wait, and sticks.
"""

# ruff: noqa: N802, N815 - NVIDIA's names

from __future__ import annotations

import ctypes
import enum
import itertools
import sys
import types
from collections import Counter, deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

FIRST_ADDRESS = 0x7000_0000_0000
ALIGNMENT = 256
EVENT_MILLISECONDS = 5.0
"""How far apart two events are by the double's clock."""


class Error(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100
    cudaErrorInvalidResourceHandle = 400
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


class Kind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class CaptureMode(enum.IntEnum):
    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1


class Handle:
    """As cuda-python's: not a number, but one can be made of it."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __int__(self) -> int:
        return self._value


class Stream:
    def __init__(self) -> None:
        self.work: deque[Callable[[], None]] = deque()
        self.recorded: list[Callable[[], None]] | None = None
        self.spoilt = False


class StreamError(Exception):
    """Raised by a stream's work."""

    def __init__(self, code: Error) -> None:
        super().__init__(code.name)
        self.code = code


class FakeCuda(types.ModuleType):
    cudaError_t = Error
    cudaMemcpyKind = Kind
    cudaStreamCaptureMode = CaptureMode
    cudaStreamNonBlocking = 1

    def __init__(
        self, *, memory: int = 8 << 30, library: int = 12060, driver: int = 12060, devices: int = 1
    ) -> None:
        super().__init__("cuda.bindings.runtime")
        self.memory = memory
        self.library = library
        self.driver = driver
        self.devices = devices
        self.device_name = "Fake Orin"
        self.capability = (8, 7)
        self.calls: Counter[str] = Counter()
        self.copies: list[
            tuple[str, int, bool]
        ] = []  # direction, bytes, whether the host's side is pinned
        self.raising: dict[str, str] = {}
        self._faults: dict[str, tuple[Error, int, bool]] = {}
        self._removed: set[str] = set()
        self._device: dict[int, bytearray] = {}
        self._pinned: dict[int, Any] = {}
        self._streams: dict[int, Stream] = {}
        self._graphs: dict[int, list[Callable[[], None]]] = {}
        self._events: dict[int, float] = {}
        self._clock = 0.0
        self._handles = itertools.count(0x5000, 16)
        self._next = FIRST_ADDRESS
        self._sticky = Error.cudaSuccess

    # what tests use

    def fail(self, function: str, code: Error, *, after: int = 0, once: bool = False) -> None:
        """``function`` gives ``code``, after so many good calls."""
        self._faults[function] = (code, self.calls[function] + after, once)

    def remove(self, function: str) -> None:
        """As a version without it."""
        self._removed.add(function)

    def bytes_copied(self, direction: str) -> int:
        return sum(size for way, size, _ in self.copies if way == direction)

    def forget_counts(self) -> None:
        self.copies.clear()
        self.calls.clear()

    @property
    def live(self) -> dict[str, int]:
        """What was taken and not given back."""
        kept = {
            "memory": self._device,
            "pinned": self._pinned,
            "streams": self._streams,
            "graphs": self._graphs,
            "events": self._events,
        }
        return {name: len(things) for name, things in kept.items() if things}

    # what the double of TensorRT uses

    def enqueue(self, stream: int, work: Callable[[], None]) -> None:
        """Put work in a stream, or into its recording."""
        found = self._streams[int(stream)]
        (found.work if found.recorded is None else found.recorded).append(work)

    def is_capturing(self, stream: int) -> bool:
        return self._streams[int(stream)].recorded is not None

    def spoil_capture(self, stream: int) -> None:
        """As a call does that a capture does not allow."""
        self._streams[int(stream)].spoilt = True

    def read(self, address: int, size: int) -> bytes:
        memory, start = self._find(address, size)
        return bytes(memory[start : start + size])

    def write(self, address: int, content: bytes) -> None:
        memory, start = self._find(address, len(content))
        memory[start : start + len(content)] = content

    # the module's own functions

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if not name.startswith("cuda") or not callable(found) or isinstance(found, type):
            return found
        if name in self._removed:
            raise AttributeError(f"module 'cuda.bindings.runtime' has no attribute {name!r}")
        return lambda *arguments: self._answer(name, found, arguments)

    def _answer(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        self.calls[name] += 1
        if name in self.raising:
            raise RuntimeError(self.raising[name])
        code, after, once = self._faults.get(name, (Error.cudaSuccess, 0, False))
        if code and self.calls[name] > after:
            if once:
                del self._faults[name]
            return (code, *(None,) * _RESULTS.get(name, 0))
        about_errors = name in ("cudaGetErrorString", "cudaGetLastError")
        if not self.driver and not about_errors and not name.endswith("GetVersion"):
            return (Error.cudaErrorInsufficientDriver, *(None,) * _RESULTS.get(name, 0))
        if self._sticky and not about_errors:
            return (self._sticky, *(None,) * _RESULTS.get(name, 0))
        return function(*arguments)

    def cudaRuntimeGetVersion(self) -> Any:
        return Error.cudaSuccess, self.library

    def cudaDriverGetVersion(self) -> Any:
        return Error.cudaSuccess, self.driver

    def cudaGetDeviceCount(self) -> Any:
        return (
            (Error.cudaSuccess, self.devices) if self.devices else (Error.cudaErrorNoDevice, None)
        )

    def cudaGetDeviceProperties(self, device: int) -> Any:
        major, minor = self.capability
        name = self.device_name.encode()
        return Error.cudaSuccess, SimpleNamespace(
            name=name, major=major, minor=minor, totalGlobalMem=self.memory, integrated=1
        )

    def cudaGetErrorString(self, code: Error) -> Any:
        return Error.cudaSuccess, {2: b"out of memory", 35: b"driver is insufficient"}.get(
            int(code), b"some error"
        )

    def cudaGetLastError(self) -> Any:
        return (self._sticky,)

    def cudaMemGetInfo(self) -> Any:
        return Error.cudaSuccess, self.memory - self._used(), self.memory

    def cudaMalloc(self, size: int) -> Any:
        if size > self.memory - self._used():
            return Error.cudaErrorMemoryAllocation, None
        address = self._next
        self._device[address] = bytearray(b"\xcd" * size)  # never zero by chance
        self._next += -(-size // ALIGNMENT) * ALIGNMENT + ALIGNMENT
        return Error.cudaSuccess, address

    def cudaFree(self, address: int) -> Any:
        return (
            Error.cudaSuccess
            if self._device.pop(address, None) is not None
            else Error.cudaErrorInvalidValue,
        )

    def cudaHostAlloc(self, size: int, flags: int) -> Any:
        memory = ctypes.create_string_buffer(b"\xcd" * size, size)
        self._pinned[ctypes.addressof(memory)] = memory
        return Error.cudaSuccess, ctypes.addressof(memory)

    def cudaFreeHost(self, address: int) -> Any:
        return (
            Error.cudaSuccess
            if self._pinned.pop(address, None) is not None
            else Error.cudaErrorInvalidValue,
        )

    def cudaStreamCreateWithFlags(self, flags: int) -> Any:
        handle = next(self._handles)
        self._streams[handle] = Stream()
        return Error.cudaSuccess, Handle(handle)

    def cudaStreamDestroy(self, stream: Any) -> Any:
        found = self._streams.pop(int(stream), None)
        return (Error.cudaErrorInvalidResourceHandle if found is None else Error.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: Any) -> Any:
        found = self._streams[int(stream)]
        if found.recorded is not None:
            found.spoilt = True
            return (Error.cudaErrorStreamCaptureUnsupported,)
        return (self._drain(found),)

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: Kind, stream: Any) -> Any:
        found = self._streams[int(stream)]
        up = kind == Kind.cudaMemcpyHostToDevice
        host, device = (source, target) if up else (target, source)
        pinned = self._is_pinned(host, size)
        if found.recorded is not None and found.spoilt:
            return (Error.cudaErrorStreamCaptureInvalidated,)

        def copy() -> None:
            if up:
                self.write(device, ctypes.string_at(host, size))
            else:
                ctypes.memmove(host, self.read(device, size), size)
            self.copies.append(("up" if up else "down", size, pinned))

        if pinned:
            self.enqueue(int(stream), copy)
            return (Error.cudaSuccess,)
        if found.recorded is not None:
            found.spoilt = True
            return (Error.cudaErrorStreamCaptureUnsupported,)
        found.work.append(copy)
        return (self._drain(found),)

    def cudaStreamBeginCapture(self, stream: Any, mode: CaptureMode) -> Any:
        found = self._streams[int(stream)]
        # A recording goes on until it is ended, whatever happened in it.
        if found.recorded is not None:
            return (Error.cudaErrorInvalidValue,)
        found.recorded = []
        found.spoilt = False
        return (Error.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: Any) -> Any:
        found = self._streams[int(stream)]
        recorded = found.recorded
        found.recorded = None
        if recorded is None or found.spoilt:
            return Error.cudaErrorStreamCaptureInvalidated, None
        return Error.cudaSuccess, self._keep_graph(recorded)

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> Any:
        return Error.cudaSuccess, self._keep_graph(self._graphs[int(graph)])

    def cudaGraphDestroy(self, graph: Any) -> Any:
        del self._graphs[int(graph)]
        return (Error.cudaSuccess,)

    def cudaGraphExecDestroy(self, graph: Any) -> Any:
        del self._graphs[int(graph)]
        return (Error.cudaSuccess,)

    def cudaEventCreate(self) -> Any:
        handle = next(self._handles)
        self._events[handle] = float("nan")
        return Error.cudaSuccess, Handle(handle)

    def cudaEventDestroy(self, event: Any) -> Any:
        del self._events[int(event)]
        return (Error.cudaSuccess,)

    def cudaEventRecord(self, event: Any, stream: Any) -> Any:
        def pass_mark() -> None:
            self._events[int(event)] = self._clock
            self._clock += EVENT_MILLISECONDS

        self.enqueue(int(stream), pass_mark)
        return (Error.cudaSuccess,)

    def cudaEventElapsedTime(self, first: Any, last: Any) -> Any:
        return Error.cudaSuccess, self._events[int(last)] - self._events[int(first)]

    def cudaGraphLaunch(self, graph: Any, stream: Any) -> Any:
        self._streams[int(stream)].work.extend(self._graphs[int(graph)])
        return (Error.cudaSuccess,)

    def _keep_graph(self, recorded: list[Callable[[], None]]) -> Handle:
        handle = next(self._handles)
        self._graphs[handle] = list(recorded)
        return Handle(handle)

    def _drain(self, stream: Stream) -> Error:
        try:
            while stream.work:
                stream.work.popleft()()
        except StreamError as fault:
            self._sticky = fault.code
        return self._sticky

    def _find(self, address: int, size: int) -> tuple[bytearray, int]:
        for start, memory in self._device.items():
            if start <= address and address + size <= start + len(memory):
                return memory, address - start
        raise StreamError(Error.cudaErrorIllegalAddress)

    def _is_pinned(self, address: int, size: int) -> bool:
        return any(
            start <= address and address + size <= start + len(m)
            for start, m in self._pinned.items()
        )

    def _used(self) -> int:
        return sum(map(len, self._device.values()))


_RESULTS = {
    "cudaMalloc": 1,
    "cudaHostAlloc": 1,
    "cudaStreamCreateWithFlags": 1,
    "cudaStreamEndCapture": 1,
    "cudaGraphInstantiate": 1,
    "cudaEventCreate": 1,
    "cudaEventElapsedTime": 1,
    "cudaGetDeviceCount": 1,
    "cudaGetDeviceProperties": 1,
    "cudaMemGetInfo": 2,
    "cudaRuntimeGetVersion": 1,
    "cudaDriverGetVersion": 1,
}
"""How many values each gives besides its error code, which are None with an error."""


def install(monkeypatch: Any, cuda: FakeCuda | None = None) -> FakeCuda:
    """The process's CUDA until the test ends."""
    cuda = cuda or FakeCuda()
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda)
    return cuda
