"""One TensorRT engine as a callable on named arrays.

One context, one stream, buffers that stay, a CUDA graph.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec
from echoexport.runtime.engine.cuda import CudaRuntime, describe_bytes
from echoexport.runtime.engine.device_arrays import DeviceInput, DeviceOutput
from echoexport.runtime.engine.layer_times import LayerClock, LayerRecord, make_trt_profiler
from echoexport.runtime.engine.protocol import Arrays, Engine, EngineOptions
from echoexport.runtime.engine.tensorrt_library import TensorRTLibrary
from echoexport.runtime.errors import BackendError, DeviceError
from echoexport.runtime.trace.tracer import NULL, Tracer


class TensorRTEngine(Engine):
    """An engine on the GPU.

    Inputs and outputs are bound by name. A frozen input (see ``held_arrays``) that was
    given at the last call too is not copied again. The second call records the
    network's work as a CUDA graph, which later calls launch as one; where that fails
    they go on without, and ``notes`` says why. ``uploaded`` and ``downloaded`` count
    bytes copied since the engine was opened.

    The DDIM step stays on the host, in float32: windows overlap, and a frame is stepped
    when the last of its windows is done. So the velocity comes down and the latents go
    up at each call, at 512 px and 12 frames 384 KiB each in fp16, where a portrait's
    keys and values are 46 MB.

    ``run`` tells its tracer of copies and of the device's time.
    """

    def __init__(
        self,
        library: TensorRTLibrary,
        cuda: CudaRuntime,
        plan: Path,
        spec: SubnetSpec,
        options: EngineOptions,
        *,
        content: memoryview | None = None,
    ) -> None:
        """Read a plan, from ``content`` where that was read, and take all memory for calls.

        Raises:
            BackendError: the library refuses the plan, it is not this network's, or
                memory runs out.
        """
        self.precision = spec.computed_in("fp32")
        self.notes: list[str] = []
        self.uploaded = 0
        self.downloaded = 0
        self.calls = 0
        self._tracer: Tracer = NULL  # of the call that is running
        self._layers: LayerClock | None = None
        self._library = library
        self._cuda = cuda
        self._spec = spec
        self._lock = threading.Lock()
        self._graph: int | None = None
        self._events: tuple[int, int] | None = None
        self._execute: Callable[[int], bool] | None = None
        self._engine: Any = None
        self._owned = ExitStack()
        try:
            self._open(plan, content, options, self._owned)
        except BaseException as error:
            self._owned.close()
            if isinstance(error, AttributeError):
                raise BackendError(
                    f"{library.title} {library.version} is not one that this backend knows "
                    f"(10.3 to 11.x): {error}"
                ) from error
            raise

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run once, as :meth:`run` does."""
        return self.run(inputs, NULL)

    def run(self, inputs: Arrays, tracer: Tracer) -> dict[str, np.ndarray]:
        """Run once; threads that call at once wait for each other.

        Raises:
            BackendError: the engine is closed, an input has another shape or dtype, or
                CUDA or TensorRT fails.
        """
        with self._lock:
            self._tracer = tracer
            if self._execute is None:
                raise BackendError("this engine is closed")
            ready = {name: _require_fit(inputs, one.tensor) for name, one in self._inputs.items()}
            try:
                with self._tracer.span("upload", "copy", network=self._spec.name):
                    self.uploaded += sum(
                        one.upload(ready[name], self._stream) for name, one in self._inputs.items()
                    )
                with self._timed():
                    self._launch()
                self.downloaded += sum(one.download(self._stream) for one in self._outputs.values())
                self._cuda.synchronize(self._stream)
            except BaseException:
                self._recover()
                raise
            self._tell_time()
            self.calls += 1
            if self.calls == 1 and self._keep is not None:
                self._keep()
            with self._tracer.span("download", "copy", network=self._spec.name):
                return {name: one.read() for name, one in self._outputs.items()}

    def read_layers(self) -> tuple[LayerRecord, ...] | None:
        """Layers of an engine that was opened to be profiled, as TensorRT names them."""
        return None if self._layers is None else self._layers.read_layers()

    def close(self) -> None:
        """Give all memory back."""
        with self._lock:
            self._owned.close()

    def _open(
        self, plan: Path, content: memoryview | None, options: EngineOptions, owned: ExitStack
    ) -> None:
        self._stream = self._cuda.create_stream()
        owned.callback(self._cuda.destroy_stream, self._stream)
        engine = self._library.read_plan(plan, content=content)
        _require_tensors(plan, self._library.list_tensors(engine), self._spec)
        self._inputs = {t.name: DeviceInput(self._cuda, t, owned) for t in self._spec.inputs}
        self._outputs = {t.name: DeviceOutput(self._cuda, t, owned) for t in self._spec.outputs}
        context = self._library.create_context(engine, self._spec, options)
        if context.handle is None:
            size: Any = getattr(engine, "device_memory_size_v2", 0)
            size = size or getattr(engine, "device_memory_size", 0)
            raise DeviceError(
                f"{plan}: {self._library.title} cannot take {describe_bytes(int(size))} of GPU "
                f"memory to run in{self._library.explain()}{self._cuda.describe_memory()}; "
                "close other programs"
            )
        self._captures = not (context.replays or options.profile)
        self._keep = context.keep
        if options.profile:
            clock = LayerClock()
            context.handle.profiler = make_trt_profiler(self._library.module, clock)
            self._layers = clock
        addresses = {name: one.address for name, one in self._inputs.items()}
        addresses |= {name: one.address for name, one in self._outputs.items()}
        for name, address in addresses.items():
            if not context.handle.set_tensor_address(name, address):
                raise BackendError(
                    f"{plan}: {self._library.title} takes no address for tensor {name!r}"
                )
        self._engine = engine
        self._execute = context.handle.execute_async_v3
        owned.callback(self._release)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Between two events, where somebody wants to know."""
        if not self._tracer.enabled:
            yield
            return
        if self._events is None:
            self._events = (self._cuda.create_event(), self._cuda.create_event())
            for event in self._events:
                self._owned.callback(self._cuda.destroy_event, event)
        self._cuda.record_event(self._events[0], self._stream)
        yield
        self._cuda.record_event(self._events[1], self._stream)

    def _tell_time(self) -> None:
        if self._tracer.enabled and self._events is not None:
            end = self._tracer.now()
            seconds = self._cuda.measure_seconds(*self._events)
            name = self._spec.name
            self._tracer.record(
                name, "engine", start=end - seconds, end=end, clock="device", network=name
            )

    def _launch(self) -> None:
        """Put the network's work into the stream.

        A first call prepares what a capture may not, such as memory and kernels that
        are loaded when first used.
        """
        if self._captures and self._graph is None and self.calls:
            self._graph = self._capture()
            self._captures = self._graph is not None
        if self._graph is not None:
            self._cuda.launch(self._graph, self._stream)
        else:
            self._enqueue()

    def _capture(self) -> int | None:
        try:
            self._cuda.begin_capture(self._stream)
            self._enqueue()
            return self._cuda.end_capture(self._stream)
        except BaseException as error:
            self._cuda.abandon_capture(self._stream)
            if not isinstance(error, BackendError):  # an interrupt; the next call records anew
                raise
            self.notes.append(f"{self._spec.name}: runs without a CUDA graph: {error}")
            return None

    def _enqueue(self) -> None:
        if self._execute is None or not self._execute(self._stream):
            raise BackendError(
                f"{self._spec.name}: {self._library.title} cannot run it{self._library.explain()}"
            )

    def _release(self) -> None:
        if self._graph is not None:
            self._cuda.destroy_graph(self._graph)
        # the context goes before its engine
        self._execute = None
        self._graph = None
        self._keep = None
        self._engine = None

    def _recover(self) -> None:
        """Begin anew after an error.

        What is on the device is not known any more, and nothing may still be on its way
        there.
        """
        for one in self._inputs.values():
            one.forget()
        with suppress(BackendError):
            self._cuda.synchronize(self._stream)


def _require_fit(inputs: Arrays, tensor: TensorSpec) -> np.ndarray:
    array = inputs.get(tensor.name)
    if (
        array is None
        or array.shape != tensor.shape
        or array.dtype != tensor.dtype
        or not array.flags.c_contiguous
    ):
        found = "missing" if array is None else f"{array.shape} {array.dtype}"
        raise BackendError(
            f"input {tensor.name!r} is {found}; wanted {tensor.shape} {tensor.dtype} in C order"
        )
    return array


def _require_tensors(
    plan: Path, found: dict[str, tuple[bool, tuple[int, ...], str]], spec: SubnetSpec
) -> None:
    """Names, directions, shapes and dtypes are the network's."""
    wanted = {t.name: (True, t.shape, t.dtype) for t in spec.inputs}
    wanted |= {t.name: (False, t.shape, t.dtype) for t in spec.outputs}
    for name in sorted({*wanted, *found}):
        if wanted.get(name) != found.get(name):
            raise BackendError(
                f"{plan}: tensor {name!r} is {_describe(found.get(name))}, the manifest of "
                f"{spec.name} says {_describe(wanted.get(name))}"
            )


def _describe(tensor: tuple[bool, tuple[int, ...], str] | None) -> str:
    return (
        "none of it"
        if tensor is None
        else f"{'an input' if tensor[0] else 'an output'} {tensor[1]} {tensor[2]}"
    )
