"""OpenVINO on the CPU, with its inference precision always stated."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.layer_times import LayerClock, LayerRecord
from echoexport.runtime.engine.network_files import NetworkFiles
from echoexport.runtime.engine.openvino.cache import ModelCache, import_compiled
from echoexport.runtime.engine.openvino.graph_size import (
    count_lanes,
    hash_graph_files,
    is_worth_caching,
)
from echoexport.runtime.engine.openvino.library import load_openvino
from echoexport.runtime.engine.openvino.norms import merge_single_group_norms
from echoexport.runtime.engine.processor import describe_processor
from echoexport.runtime.engine.protocol import Arrays, Backend, Engine, EngineOptions, make_cache
from echoexport.runtime.errors import BackendError, MissingPackageError, SettingError

# Left alone, OpenVINO computes in bf16 wherever the CPU has it, which costs 80 dB on
# these networks.
_HINTS = {"": "f32", "fp32": "f32", "bf16": "bf16"}

_FIRST_USE = threading.Lock()
_CORES: list[Any] = []  # one at most


class OpenVINOEngine(Engine):
    """A compiled model and a request for each of its lanes."""

    def __init__(
        self,
        compiled: Any,
        precision: str,
        *,
        lanes: int = 1,
        keep: Any = None,
        notes: Sequence[str] = (),
    ) -> None:
        """``keep``: the memory that the model reads."""
        self.precision = precision
        self.notes = tuple(notes)
        self.lanes = lanes
        # Each with the memory that the model may read; None where the engine is closed.
        self._requests: queue.SimpleQueue[tuple[Any, Any] | None] = queue.SimpleQueue()
        for _ in range(lanes):
            self._requests.put((compiled.create_infer_request(), keep))
        self._names = [output.get_any_name() for output in compiled.outputs]
        self._profiled = compiled if compiled.get_property("PERF_COUNT") else None
        self._layers = LayerClock()

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run once; inputs are read in place, outputs are copies.

        Raises:
            BackendError: the engine is closed, or OpenVINO refused the inputs or
                failed.
        """
        requests = self._requests  # an engine that is closed meanwhile has another
        taken = requests.get()
        try:
            if taken is None:
                raise BackendError("this engine is closed")
            return self._run(taken[0], inputs)
        finally:
            requests.put(taken)

    def _run(self, request: Any, inputs: Arrays) -> dict[str, np.ndarray]:
        try:
            results = request.infer(dict(inputs), share_inputs=True)
            if self._profiled is not None:
                self._note_layers(request)
            return {name: np.asarray(results[i]) for i, name in enumerate(self._names)}
        except Exception as error:  # the library raises RuntimeError and classes of its own
            raise BackendError(f"OpenVINO failed: {_last_line(error)}") from error

    def read_layers(self) -> tuple[LayerRecord, ...]:
        """Layers of an engine that was opened to be profiled.

        Each has the nodes that it was fused from.
        """
        seconds = self._layers.medians()
        layers = (
            [] if self._profiled is None else self._profiled.get_runtime_model().get_ordered_ops()
        )
        return tuple(
            _describe_layer(layer, seconds[layer.get_friendly_name()])
            for layer in layers
            if layer.get_friendly_name() in seconds
        )

    def _note_layers(self, request: Any) -> None:
        for layer in request.profiling_info:
            if layer.real_time:  # what was fused into another is listed as well, as not run
                self._layers.report_layer_time(
                    layer.node_name, layer.real_time.total_seconds() * 1e3
                )

    def close(self) -> None:
        """Drop the requests and with them the model.

        A call that has begun ends as ever, one that waits is refused.
        """
        before = self._requests
        self._requests = queue.SimpleQueue()
        self._profiled = None
        for requests in (self._requests, before):
            requests.put(None)


class OpenVINOBackend(Backend):
    """The ``openvino`` package."""

    name = "openvino"
    engine_suffix = ".blob"

    def __init__(self) -> None:
        # Places in caches that held nothing, until the files that were looked for are compiled.
        self._missed: WeakKeyDictionary[NetworkFiles, ModelCache] = WeakKeyDictionary()

    def unavailable(self) -> str | None:
        """Whether the package is here and sees a CPU."""
        try:
            core = open_core()
        except MissingPackageError:
            return "openvino is not installed: pip install 'echoexport[openvino]'"
        return None if "CPU" in core.available_devices else "OpenVINO sees no CPU device"

    def describe(self) -> str:
        """Version, device, and the precisions the device has."""
        core = open_core()
        has = sorted(
            set(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
            & {"BF16", "FP16", "INT8", "FP32"}
        )
        version = load_openvino().__version__.split("-")[0]
        device = core.get_property("CPU", "FULL_DEVICE_NAME")
        return f"openvino {version}, {device}, {'/'.join(has)}"

    def arithmetic(self) -> tuple[str, ...]:
        """fp32, and bf16 where the CPU has instructions for it."""
        return ("fp32", "bf16") if _has_bf16(open_core()) else ("fp32",)

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> OpenVINOEngine:
        """A compiled network.

        Raises:
            MissingPackageError: openvino is not installed.
            SettingError: a compute precision that this CPU or backend does not have.
            BackendError: the graph does not compile.
        """
        return self._open(graph, spec, options)

    def open_kept(
        self, files: NetworkFiles, spec: SubnetSpec, options: EngineOptions
    ) -> OpenVINOEngine | None:
        """A compiled network from the cache; raises ``SettingError`` as :meth:`open` does."""
        if options.cache is None or not is_worth_caching(files.path):
            return None
        config = describe_config(files.path, options)
        cache = self._describe_cache(options.cache, options, config=config, hashes=files.hashes)
        found = _load_kept(cache, spec, options, config=config)
        if found is None:
            self._missed[files] = cache
        return found

    def open_held(
        self, files: NetworkFiles, spec: SubnetSpec, options: EngineOptions
    ) -> OpenVINOEngine:
        """The same of files that are held; raises the same.

        They are read by path, through the folder that was opened: the library takes no
        ONNX weights from memory. It reads them whole and maps nothing, see
        :func:`open_core`, so that what happens to them later makes no difference.
        """
        return self._open(files.path, spec, options, files=files)

    def _open(
        self,
        graph: Path,
        spec: SubnetSpec,
        options: EngineOptions,
        *,
        files: NetworkFiles | None = None,
    ) -> OpenVINOEngine:
        core = open_core()
        config = describe_config(graph, options)
        cache = None if files is None else self._missed.pop(files, None)
        if cache is None:
            cache = self._find_cache(graph, options, config=config, files=files)
            found = None if cache is None else _load_kept(cache, spec, options, config=config)
            if found is not None:
                return found
        elif make_cache(options.cache) is None:
            cache = None
        source = graph if files is None else files.main.pinned
        compiled = compile_graph(core, graph, config, source=source)
        if cache is not None:
            cache.keep(compiled)
        notes = () if cache is None or cache.note is None else (f"{spec.name}: {cache.note}",)
        precision = spec.computed_in(options.compute or "fp32")
        return OpenVINOEngine(compiled, precision, lanes=_lanes_of(config), notes=notes)

    def _find_cache(
        self,
        graph: Path,
        options: EngineOptions,
        *,
        config: dict[str, str],
        files: NetworkFiles | None,
    ) -> ModelCache | None:
        folder = make_cache(options.cache if is_worth_caching(graph) else None)
        if folder is None:
            return None
        hashes = hash_graph_files(graph) if files is None else files.hashes
        return self._describe_cache(folder, options, config=config, hashes=hashes)

    def _describe_cache(
        self,
        folder: Path,
        options: EngineOptions,
        *,
        config: dict[str, str],
        hashes: tuple[str, ...],
    ) -> ModelCache:
        made_of = {"files": hashes, "config": config, "machine": self.fingerprint(options)}
        return ModelCache(folder, made_of=made_of)

    def fingerprint(self, options: EngineOptions) -> dict[str, str]:
        """Full version, and the processor with what it can compute in."""
        core = open_core()
        return {
            "library": "openvino",
            "version": load_openvino().__version__,
            **describe_processor(),
            "device": core.get_property("CPU", "FULL_DEVICE_NAME"),
            "capabilities": " ".join(sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))),
        }

    def open_engine(self, engine: Path, spec: SubnetSpec, options: EngineOptions) -> OpenVINOEngine:
        """An exported model, brought in again.

        It says nothing of its arithmetic, threads or streams: left alone, what was
        compiled for fp32 comes back in bf16 with one stream (2026.4). So all of them
        are stated, as for a graph.

        Raises:
            MissingPackageError: openvino is not installed.
            SettingError: a compute precision that this CPU does not have.
            BackendError: it is no exported model of this version.
        """
        try:
            # not as bytes: the library insists that it could write to it
            content = np.fromfile(engine, np.uint8).data
        except OSError as error:
            raise BackendError(f"{engine}: cannot be read: {error.strerror or error}") from error
        return self._import(engine, content, spec, options)

    def open_held_engine(
        self, files: NetworkFiles, spec: SubnetSpec, options: EngineOptions
    ) -> OpenVINOEngine:
        """The same of a file that was read into memory; raises the same."""
        return self._import(files.path, files.main.content(), spec, options)

    def _import(
        self, engine: Path, content: memoryview, spec: SubnetSpec, options: EngineOptions
    ) -> OpenVINOEngine:
        config = describe_config(engine, options)
        try:
            compiled, memory = import_compiled(open_core(), content, config)
        except Exception as error:
            raise BackendError(
                f"{engine}: OpenVINO cannot import it: {_last_line(error)}"
            ) from error
        precision = spec.computed_in(options.compute or "fp32")
        return OpenVINOEngine(compiled, precision, lanes=_lanes_of(config), keep=memory)


def open_core() -> Any:
    """OpenVINO's core, one and the same for the whole process.

    A core gives a thread that compiles with it a stack for signals of its own, and
    takes the memory of that stack away when it goes, whichever thread still has it: the
    next Ctrl-C would end in a segmentation fault (2026.4). So none ever goes.

    It maps no files: who writes to a mapped one changes the weights of a network that
    runs, and who cuts it ends the process.

    Raises:
        MissingPackageError: the package is not installed.
    """
    try:
        return _make_core()
    except ImportError as error:
        raise MissingPackageError(
            "openvino", extra="openvino", purpose="backend 'openvino'"
        ) from error


def describe_config(graph: Path, options: EngineOptions) -> dict[str, str]:
    """OpenVINO's properties for a network, its arithmetic always among them.

    Raises:
        SettingError: a compute precision that this CPU or backend does not have.
    """
    lanes = count_lanes(graph, options)
    config = {
        "INFERENCE_PRECISION_HINT": _find_hint(open_core(), options.compute),
        "PERFORMANCE_HINT": "LATENCY",
    }
    if lanes > 1:
        config = {**config, "PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": str(lanes)}
    if options.threads:
        config["INFERENCE_NUM_THREADS"] = str(options.threads)
    if options.profile:
        config["PERF_COUNT"] = "YES"
    return config


def compile_graph(
    core: Any, graph: Path, config: dict[str, str], *, source: Path | None = None
) -> Any:
    """A graph as a compiled model, read from ``source`` where that is another path to it.

    Raises:
        BackendError: it does not compile.
    """
    try:
        model = core.read_model(str(source or graph))
        merge_single_group_norms(model)
        return core.compile_model(model, "CPU", config)
    except Exception as error:
        raise BackendError(f"{graph}: OpenVINO cannot compile it: {_last_line(error)}") from error


def _load_kept(
    cache: ModelCache, spec: SubnetSpec, options: EngineOptions, *, config: dict[str, str]
) -> OpenVINOEngine | None:
    found = cache.load(open_core(), config)
    if found is None:
        return None
    precision = spec.computed_in(options.compute or "fp32")
    return OpenVINOEngine(found[0], precision, lanes=_lanes_of(config), keep=found[1])


def _describe_layer(layer: Any, seconds: float) -> LayerRecord:
    told = layer.get_rt_info()
    origins = tuple(filter(None, str(told["originalLayersNames"].value).split(",")))
    after = tuple(value.get_node().get_friendly_name() for value in layer.input_values())
    return LayerRecord(
        layer.get_friendly_name(), str(told["layerType"].value), seconds, origins, after
    )


def _lanes_of(config: dict[str, str]) -> int:
    return int(config.get("NUM_STREAMS", "1"))


def _make_core() -> Any:
    library = load_openvino()
    with _FIRST_USE:
        if not _CORES:
            core = library.Core()
            core.set_property({"ENABLE_MMAP": False})
            _CORES.append(core)
        return _CORES[0]


def _has_bf16(core: Any) -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _find_hint(core: Any, compute: str) -> str:
    if compute not in _HINTS:
        raise SettingError(
            f"compute {compute!r}: backend 'openvino' has {', '.join(filter(None, _HINTS))}"
        )
    if compute == "bf16" and not _has_bf16(core):
        raise SettingError("compute 'bf16': this CPU has no bf16 instructions; use fp32")
    return _HINTS[compute]


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]


BACKEND = OpenVINOBackend()
