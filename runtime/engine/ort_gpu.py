"""ONNX Runtime on a GPU.

Inputs and outputs that stay on the device, and the backends of both providers.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec
from echoexport.runtime.engine.gate import Gate
from echoexport.runtime.engine.held_arrays import Held
from echoexport.runtime.engine.ort_providers import (
    CPU,
    CUDA_PROVIDER,
    TENSORRT_PROVIDER,
    Placement,
    cuda_options,
    explain_refusal,
    find_placement,
    find_trouble,
    is_handed_beside,
    load_gpu_library,
    make_gpu_settings,
    read_placement,
    start_gpu_inference,
    tensorrt_options,
)
from echoexport.runtime.engine.protocol import Arrays, Backend, Engine, EngineOptions, make_cache
from echoexport.runtime.errors import BackendError
from echoexport.runtime.files.folder_sums import drop_unproved, prove_files
from echoexport.runtime.files.temporary import temporary_folder
from echoexport.runtime.trace.tracer import NULL, Tracer

Providers = list[tuple[str, dict[str, str]]]

_GPU = Gate()
"""While ONNX Runtime records a graph, CUDA refuses what any other thread asks of it,
and the recording is lost."""


class OrtGpuEngine(Engine):
    """A session on device arrays that are bound once by name, and a thread that runs it.

    ONNX Runtime keeps a recorded graph with the thread that recorded it, and records
    another for each further thread that runs the session: so one thread does, whoever
    calls.

    A frozen input (see ``held_arrays``) that was given at the last call too is not
    copied again: a portrait's keys and values go up once. ``notes`` says what does not
    run as it should; ``uploaded`` counts bytes copied to the device.
    """

    def __init__(self, library: Any, session: Any, spec: SubnetSpec, *, provider: str) -> None:
        """Take the device's memory and bind it.

        Raises:
            BackendError: memory runs out, or a tensor cannot be bound.
        """
        self.precision = spec.computed_in("fp32")
        self.provider = provider
        self.notes: list[str] = []
        self.uploaded = 0
        self._name = spec.name
        self._tracer: Tracer = NULL  # of the call that is running
        self._session = session
        self._lock = threading.Lock()
        self._held = {tensor.name: Held() for tensor in spec.inputs}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"onnxruntime-{spec.name}")
        try:
            self._binding = session.io_binding()
            self._inputs = {t.name: _allocate(library, t) for t in spec.inputs}
            self._outputs = {t.name: _allocate(library, t) for t in spec.outputs}
            for name, value in self._inputs.items():
                self._binding.bind_ortvalue_input(name, value)
            for name, value in self._outputs.items():
                self._binding.bind_ortvalue_output(name, value)
        except Exception as error:  # the library raises classes of its own, made in C++
            raise BackendError(
                f"{spec.name}: {provider} cannot bind its tensors: {explain_refusal(error)}"
            ) from error

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run once, as :meth:`run` does."""
        return self.run(inputs, NULL)

    def run(self, inputs: Arrays, tracer: Tracer) -> dict[str, np.ndarray]:
        """Run once; threads that call at once wait for each other.

        Raises:
            BackendError: the engine is closed, an input is missing or does not fit,
                memory runs out, or the GPU fails.
        """
        with self._lock, _GPU.shared():
            self._tracer = tracer
            return self._compute(inputs)

    def call_alone(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """The same while no other engine does anything on the GPU.

        It is meant for the first call, which records a graph.
        """
        with self._lock, _GPU.alone():
            self._tracer = NULL
            return self._compute(inputs)

    def close(self) -> None:
        """Give the device's memory back."""
        with self._lock, _GPU.shared():
            self._session = None
            self._binding = None
            self._inputs = {}
            self._outputs = {}
            self._thread.shutdown()

    def _compute(self, inputs: Arrays) -> dict[str, np.ndarray]:
        if self._session is None:
            raise BackendError("this engine is closed")
        if missing := sorted(self._inputs.keys() - inputs.keys()):
            raise BackendError(f"{self._name}: input {missing[0]!r} is missing")
        try:
            with self._tracer.span("upload", "copy", network=self._name):
                self._upload(inputs)
            running = self._thread.submit(_run_bound, self._session, self._binding)
            try:
                running.result()
            finally:
                wait([running])  # an interrupt must not leave the gate before the GPU is done
                # it holds its error, whose traceback would hold it, and both the session
                del running
            with self._tracer.span("download", "copy", network=self._name):
                return {name: np.asarray(value.numpy()) for name, value in self._outputs.items()}
        except BaseException as error:
            for held in self._held.values():  # what lies on the device is not known any more
                held.forget()
            if not isinstance(error, Exception):
                raise
            raise BackendError(
                f"{self._name}: {self.provider} failed: {explain_refusal(error)}"
            ) from error

    def _upload(self, inputs: Arrays) -> None:
        for name, value in self._inputs.items():
            array = inputs[name]
            if self._held[name].is_same(array):
                continue
            value.update_inplace(np.ascontiguousarray(array))
            self._held[name].hold(array)
            self.uploaded += array.nbytes
        self._binding.synchronize_inputs()


def _run_bound(session: Any, binding: Any) -> None:
    session.run_with_iobinding(binding)
    binding.synchronize_outputs()


def _allocate(library: Any, tensor: TensorSpec) -> Any:
    return library.OrtValue.ortvalue_from_shape_and_type(
        list(tensor.shape), np.dtype(tensor.dtype).type, "cuda", 0
    )


class OrtGpuBackend(Backend):
    """One GPU provider of the ``onnxruntime-gpu`` package."""

    on_gpu = True

    def __init__(self, name: str, provider: str) -> None:
        self.name = name
        self.provider = provider
        if provider == TENSORRT_PROVIDER:  # builds its engines when it opens a graph
            self.longest_load = 6 * 3600.0

    def unavailable(self) -> str | None:
        """The first thing that is missing, None where all is there.

        Looked for are the package, the provider in it, a driver, a GPU, and NVIDIA's
        libraries.
        """
        return find_trouble(self.name, self.provider)

    def describe(self) -> str:
        """Version, provider and device."""
        from echoexport.runtime.device import detect_device

        device = detect_device()
        library = load_gpu_library(self.name)
        own = (
            f", TensorRT {device.tensorrt}"
            if self.provider == TENSORRT_PROVIDER and device.tensorrt
            else ""
        )
        gpu = device.gpu or device.model or "no GPU"
        return f"onnxruntime {library.__version__}, {self.provider}{own}, {gpu}"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> OrtGpuEngine:
        """A session that has run once.

        It has no CUDA graph where recording one fails; the engine's notes say so.

        Raises:
            MissingPackageError: onnxruntime is not installed. SettingError: a compute
                precision that this backend does not have. BackendError: the graph does
                not load or run, memory runs out, or the session ended up on the CPU.
        """
        library = load_gpu_library(self.name)
        options = replace(options, cache=make_cache(options.cache))
        kept = options.cache if self.provider == TENSORRT_PROVIDER else None
        dropped = () if kept is None else drop_unproved(kept)
        engine = self._open(library, graph, spec, options=options)
        if kept is not None:
            prove_files(kept)
        if dropped:
            engine.notes.append(
                f"{spec.name}: made anew, not being as it was left in the cache: "
                f"{', '.join(dropped)}"
            )
        return engine

    def _open(
        self, library: Any, graph: Path, spec: SubnetSpec, *, options: EngineOptions
    ) -> OrtGpuEngine:
        def attempt(recorded: bool) -> OrtGpuEngine:
            beside = is_handed_beside(library, graph)
            providers = self._choose_providers(spec, options, graph=recorded, beside=beside)
            return _open_engine(
                library,
                graph,
                spec,
                make_gpu_settings(library, options, backend=self.name),
                providers,
            )

        if not options.cuda_graph:
            return attempt(False)
        failed: BackendError | None = None
        try:
            return attempt(True)
        except BackendError as error:
            failed = error
        reason = str(failed)
        with _GPU.shared():  # its traceback holds the session, whose memory goes back now
            failed = None
        engine = attempt(False)  # what fails here as well was not the graph's fault
        engine.notes.append(f"{spec.name}: runs without a CUDA graph: {reason}")
        return engine

    def _choose_providers(
        self, spec: SubnetSpec, options: EngineOptions, *, graph: bool, beside: bool
    ) -> Providers:
        """TensorRT leaves what it does not take to CUDA.

        The CPU is never asked for, and found out where it is used.
        """
        if self.provider == CUDA_PROVIDER:
            return [(CUDA_PROVIDER, cuda_options(spec, options, graph=graph))]
        return [
            (TENSORRT_PROVIDER, tensorrt_options(spec, options, graph=graph, beside=beside)),
            (CUDA_PROVIDER, cuda_options(spec, options, graph=False)),
        ]


def _open_engine(
    library: Any, graph: Path, spec: SubnetSpec, settings: Any, providers: Providers
) -> OrtGpuEngine:
    """Session, engine, a first call, and where its nodes run."""
    wanted = providers[0][0]
    with temporary_folder("placement") as folder:
        records = hasattr(library.InferenceSession, "get_provider_graph_assignment_info")
        if not records:
            settings.enable_profiling = True
            settings.profile_file_prefix = str(folder / "nodes")
        with _GPU.shared():
            session = start_gpu_inference(library, graph, settings, providers=providers)
            engine = OrtGpuEngine(library, session, spec, provider=wanted)
        try:
            engine.call_alone(
                {tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in spec.inputs}
            )
            placement = (
                find_placement(session, wanted)
                if records
                else read_placement(Path(session.end_profiling()), wanted)
            )
            _judge(engine, placement, graph=graph)
        except BaseException:
            engine.close()
            raise
    return engine


def _judge(engine: OrtGpuEngine, placement: Placement | None, *, graph: Path) -> None:
    """Note what runs elsewhere.

    Nothing at all on the GPU is an error, however well the session claims to have it.
    """
    if placement is None or not placement.nodes:
        return
    if not placement.nodes.get(engine.provider):
        others = ", ".join(sorted(placement.nodes))
        raise BackendError(
            f"{graph}: not one node runs on {engine.provider}, all on {others}; use backend 'ort'"
        )
    note = placement.describe()
    if note is not None:
        slower = (
            ", which is slow" if any(provider == CPU for provider, _ in placement.elsewhere) else ""
        )
        engine.notes.append(f"{engine.provider}: {note}{slower}")
