"""CUDA's runtime through NVIDIA's cuda-python.

Memory, streams, graphs, every return code looked at.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.errors import DeviceError

# Older wheels have the second only.
_MODULES = ("cuda.bindings.runtime", "cuda.cudart")
_INSTALL = (
    "pip install cuda-python (on JetPack 6 'cuda-python==12.6.*', on 7.2 'cuda-python==13.2.*')"
)

_START_AGAIN = "start the program again: after this error CUDA refuses all work of a process"
_FIXES = {
    "cudaErrorMemoryAllocation": (
        "close other programs, or take a bundle with a smaller picture or window"
    ),
    "cudaErrorInsufficientDriver": (
        "install a newer driver, or the cuda-python that belongs to this one"
    ),
    "cudaErrorNoDevice": "this process sees no NVIDIA GPU",
    "cudaErrorNoKernelImageForDevice": "compile the bundle again on this machine",
    "cudaErrorIllegalAddress": _START_AGAIN,
    "cudaErrorLaunchFailure": _START_AGAIN,
}


@dataclass(frozen=True)
class CudaDevice:
    """The GPU in use. memory is in bytes; integrated ones share it with the CPU."""

    name: str
    compute_capability: str
    """As "8.7"."""
    memory: int
    integrated: bool


class CudaRuntime:
    """The few calls that engines need, on device 0 of those that the process sees.

    Addresses and handles are whole numbers. Every method raises ``DeviceError`` where
    CUDA reports an error: it names the call, the error and, where one is known, the
    fix.
    """

    def __init__(self, api: Any) -> None:
        """``api``: the module ``cuda.bindings.runtime``, or ``cuda.cudart`` of older wheels."""
        self._api = api

    def malloc(self, size: int) -> int:
        """So many bytes on the device; their address."""
        (address,) = self._call("cudaMalloc", size, of=f" of {describe_bytes(size)}")
        return int(address)

    def free(self, address: int) -> None:
        """Give them back.

        Like all that give back it raises nothing: after an error CUDA refuses that too.
        """
        self._give_back("cudaFree", address)

    def host_alloc(self, size: int) -> NDArray[np.uint8]:
        """So many bytes of pinned host memory.

        The device can read and write it while the host goes on.
        """
        (address,) = self._call("cudaHostAlloc", size, 0, of=f" of {describe_bytes(size)}")
        memory = (ctypes.c_uint8 * size).from_address(int(address))
        view: NDArray[np.uint8] = np.ctypeslib.as_array(memory)
        return view

    def host_free(self, memory: NDArray[np.uint8]) -> None:
        """Give pinned memory back; no view of it may be used any more."""
        self._give_back("cudaFreeHost", memory.ctypes.data)

    def upload(self, address: int, source: NDArray[Any], stream: int) -> None:
        """Copy a C-contiguous array to the device, in the stream's order."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, source.ctypes.data, source.nbytes, kind, stream)

    def download(self, target: NDArray[Any], address: int, stream: int) -> None:
        """Copy from the device into a C-contiguous array, in the stream's order."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", target.ctypes.data, address, target.nbytes, kind, stream)

    def create_stream(self) -> int:
        """A stream that does not wait for the default one."""
        (stream,) = self._call("cudaStreamCreateWithFlags", self._api.cudaStreamNonBlocking)
        return int(stream)

    def destroy_stream(self, stream: int) -> None:
        """Give it back."""
        self._give_back("cudaStreamDestroy", stream)

    def synchronize(self, stream: int) -> None:
        """Wait until all that was put into a stream is done.

        Errors of that work are raised here.
        """
        self._call("cudaStreamSynchronize", stream)

    def begin_capture(self, stream: int) -> None:
        """From now on, work put into the stream is recorded, not run.

        Other threads may go on using CUDA.
        """
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)

    def end_capture(self, stream: int) -> int:
        """What was recorded, ready to be launched."""
        (graph,) = self._call("cudaStreamEndCapture", stream)
        try:
            (ready,) = self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._give_back("cudaGraphDestroy", graph)
        return int(ready)

    def abandon_capture(self, stream: int) -> None:
        """Leave a capture that went wrong; the stream runs its work again. Raises nothing."""
        self._give_back("cudaStreamEndCapture", stream)
        self._give_back("cudaGetLastError")  # it says once more what went wrong, and so forgets it

    def launch(self, ready: int, stream: int) -> None:
        """Put what was recorded into a stream."""
        self._call("cudaGraphLaunch", ready, stream)

    def destroy_graph(self, ready: int) -> None:
        """Give it back."""
        self._give_back("cudaGraphExecDestroy", ready)

    def create_event(self) -> int:
        """A mark that work in a stream passes, with the time at which it did."""
        (event,) = self._call("cudaEventCreate")
        return int(event)

    def destroy_event(self, event: int) -> None:
        """Give it back."""
        self._give_back("cudaEventDestroy", event)

    def record_event(self, event: int, stream: int) -> None:
        """Put the mark into a stream, after what is there."""
        self._call("cudaEventRecord", event, stream)

    def measure_seconds(self, first: int, last: int) -> float:
        """Seconds between two marks that the device has passed.

        They are the device's own clock's, good to 0.5 us.
        """
        (milliseconds,) = self._call("cudaEventElapsedTime", first, last)
        return float(milliseconds) / 1e3

    def count_devices(self) -> int:
        """How many the process sees."""
        return int(self._call("cudaGetDeviceCount")[0])

    def find_device(self) -> CudaDevice:
        """The one in use."""
        (properties,) = self._call("cudaGetDeviceProperties", 0)
        name = properties.name
        text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
        capability = f"{properties.major}.{properties.minor}"
        return CudaDevice(
            text.strip("\0 "),
            capability,
            int(properties.totalGlobalMem),
            bool(properties.integrated),
        )

    def find_versions(self) -> tuple[str, str]:
        """CUDA versions: that of this library, and the newest that the driver knows.

        The second is "0.0" without a driver.
        """
        numbers = (self._call("cudaRuntimeGetVersion")[0], self._call("cudaDriverGetVersion")[0])
        library, driver = (f"{number // 1000}.{number % 1000 // 10}" for number in numbers)
        return library, driver

    def _call(self, function: str, *arguments: Any, of: str = "") -> list[Any]:
        try:
            code, *values = getattr(self._api, function)(*arguments)
        except AttributeError as error:
            raise DeviceError(f"this cuda-python has no {function}; {_INSTALL}") from error
        # older wheels raise where newer ones return a code: without libcuda.so.1
        except RuntimeError as error:
            raise DeviceError(
                f"CUDA: {function} failed: {error}; is NVIDIA's driver installed?"
            ) from error
        if int(code) != 0:
            raise DeviceError(f"CUDA: {function}{of} failed: {self._explain(code)}")
        return list(values)

    def _give_back(self, function: str, *arguments: Any) -> None:
        with contextlib.suppress(DeviceError):
            self._call(function, *arguments)

    def _explain(self, code: Any) -> str:
        """An error's name, what CUDA says about it, and what would work."""
        name = str(getattr(code, "name", code))
        text = f"{name} ({_decode(self._api.cudaGetErrorString(code)[1])})"
        if name == "cudaErrorMemoryAllocation":
            text += self.describe_memory()
        return f"{text}; {_FIXES[name]}" if name in _FIXES else text

    def measure_memory(self) -> tuple[int, int]:
        """Bytes of the device's memory that are free, and in all."""
        free, total = self._call("cudaMemGetInfo")
        return int(free), int(total)

    def describe_memory(self) -> str:
        """A phrase such as ", 0.2 GiB of 7.4 GiB are free"; "" where CUDA does not say."""
        try:
            free, total = self.measure_memory()
        except DeviceError:
            return ""
        return f", {describe_bytes(free)} of {describe_bytes(total)} are free"


@functools.lru_cache(maxsize=1)
def open_cuda() -> CudaRuntime:
    """CUDA's runtime; the device is not touched yet.

    Raises:
        DeviceError: cuda-python is not installed, or does not load.
    """
    reasons = []
    for name in _MODULES:
        try:
            return CudaRuntime(importlib.import_module(name))
        except ModuleNotFoundError:
            continue
        except (ImportError, OSError, RuntimeError) as error:
            reasons.append(f"{name} does not load: {error}")
    raise DeviceError(reasons[0] if reasons else f"cuda-python is not installed: {_INSTALL}")


def find_cuda_trouble() -> str | None:
    """Why CUDA does not work in this process, in one line with the fix, or None where it does.

    Raises nothing.
    """
    try:
        cuda = open_cuda()
        library, driver = cuda.find_versions()
        if driver == "0.0":
            return "no NVIDIA driver is installed (libcuda.so.1 is missing)"
        if _is_older(driver, library):
            return (
                f"the NVIDIA driver knows CUDA {driver} only and cuda-python is for {library}: "
                f"update the driver, or pip install 'cuda-python=={driver}.*'"
            )
        return (
            None
            if cuda.count_devices()
            else "this process sees no NVIDIA GPU (is CUDA_VISIBLE_DEVICES empty?)"
        )
    except DeviceError as error:
        return _shorten(error)
    # whatever a broken installation raises: doctor goes on to the next line
    except Exception as error:
        return f"CUDA does not work: {type(error).__name__}: {_shorten(error)}"


def _is_older(driver: str, library: str) -> bool:
    """Within a major version an older driver runs a newer library's code."""
    return int(driver.partition(".")[0]) < int(library.partition(".")[0])


def describe_bytes(size: int) -> str:
    """As "16 bytes", "12.3 MiB" or "1.5 GiB"."""
    if size < 2**16:
        return f"{size} bytes"
    return f"{size / 2**20:.1f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"


def _decode(text: Any) -> str:
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def _shorten(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
