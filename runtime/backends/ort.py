"""ONNX Runtime on the CPU."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.freed_memory import give_memory_back
from echoexport.runtime.engine.layer_times import LayerClock, LayerRecord
from echoexport.runtime.engine.network_files import NetworkFiles
from echoexport.runtime.engine.processor import count_cores, describe_processor
from echoexport.runtime.engine.protocol import Arrays, Backend, Engine, EngineOptions
from echoexport.runtime.errors import BackendError, MissingPackageError, SettingError
from echoexport.runtime.files.temporary import temporary_folder

_PROVIDER = "CPUExecutionProvider"
_KERNEL_TIME = "_kernel_time"


class OrtEngine(Engine):
    """An InferenceSession.

    Graphs in fp16 run where kernels have fp16, and through casts to fp32 elsewhere.
    """

    def __init__(self, session: Any, precision: str, *, profile: ExitStack | None = None) -> None:
        """``profile`` removes the folder that a profiled session writes to."""
        self.precision = precision
        self._profile = profile
        self._layers: tuple[LayerRecord, ...] = ()
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Run once.

        Raises:
            BackendError: ONNX Runtime refused the inputs or failed.
        """
        session = self._session  # another thread may close the engine meanwhile
        if session is None:
            raise BackendError("this engine is closed")
        try:
            values = session.run(self._outputs, dict(inputs))
        except Exception as error:  # the library raises classes of its own, made in C++
            raise BackendError(f"ONNX Runtime failed: {_first_line(error)}") from error
        return dict(zip(self._outputs, values, strict=True))

    def read_layers(self) -> tuple[LayerRecord, ...]:
        """Layers of an engine that was opened to be profiled; the first reading ends the profile.

        Raises:
            BackendError: ONNX Runtime wrote no readable profile.
        """
        if self._session is not None and self._profile is not None:
            try:
                self._layers = read_layer_profile(Path(self._session.end_profiling()))
            except (OSError, ValueError, KeyError) as error:
                raise BackendError(f"ONNX Runtime wrote no readable profile: {error}") from error
            finally:
                self._profile.close()
                self._profile = None
        return self._layers

    def close(self) -> None:
        """Drop the session."""
        self._session = None
        if self._profile is not None:
            self._profile.close()
            self._profile = None


class OrtBackend(Backend):
    """The ``onnxruntime`` package."""

    name = "ort"
    in_memory = True  # the library maps weights that it reads from a file, for as long as it runs
    engine_suffix = ".onnx"

    def unavailable(self) -> str | None:
        """Whether the package is here and has its CPU provider."""
        try:
            import onnxruntime
        except ImportError:
            return "onnxruntime is not installed: pip install 'echoexport[onnxruntime]'"
        if _PROVIDER not in onnxruntime.get_available_providers():
            return f"this onnxruntime has no {_PROVIDER}"
        return None

    def describe(self) -> str:
        """Version and provider."""
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}, {_PROVIDER}"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> OrtEngine:
        """A session of one network.

        Raises:
            MissingPackageError: onnxruntime is not installed. SettingError: a compute
                precision that this backend does not have. BackendError: the graph does
                not load, or ended up on another provider than asked for.
        """
        return _open_session(graph, spec, options)

    def open_held(self, files: NetworkFiles, spec: SubnetSpec, options: EngineOptions) -> OrtEngine:
        """The same of files that were read into memory; raises the same."""
        return _open_session(files.path, spec, options, files=files)

    def fingerprint(self, options: EngineOptions) -> dict[str, str]:
        """Version, and what it chooses layouts and kernels by."""
        library = load_onnxruntime()
        return {"library": "onnxruntime", "version": library.__version__, **describe_processor()}

    def open_engine(self, engine: Path, spec: SubnetSpec, options: EngineOptions) -> OrtEngine:
        """A session of a graph that was optimized for this processor, and is not optimized again.

        Raises:
            MissingPackageError: onnxruntime is not installed.
            BackendError: the graph does not load.
        """
        return _open_session(engine, spec, options, optimized=True)

    def open_held_engine(
        self, files: NetworkFiles, spec: SubnetSpec, options: EngineOptions
    ) -> OrtEngine:
        """The same of files that were read into memory; raises the same."""
        return _open_session(files.path, spec, options, files=files, optimized=True)


def load_onnxruntime() -> Any:
    """The ``onnxruntime`` package; ``MissingPackageError`` where it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError(
            "onnxruntime", extra="onnxruntime", purpose="backend 'ort'"
        ) from error
    return onnxruntime


def make_settings(options: EngineOptions) -> Any:
    """Session options that every session of ours has.

    Raises:
        MissingPackageError: onnxruntime is not installed.
        SettingError: a compute precision that this backend does not have.
    """
    library = load_onnxruntime()
    if options.compute not in ("", "fp32"):
        raise SettingError(
            f"compute {options.compute!r}: backend 'ort' has fp32 only; 'openvino' has bf16"
        )
    settings = library.SessionOptions()
    settings.intra_op_num_threads = options.threads or count_cores()
    settings.log_severity_level = 3  # its warnings about kept initializers are about itself
    return settings


def start_inference(graph: Path, settings: Any, *, files: NetworkFiles | None = None) -> Any:
    """A session on the CPU, from memory where ``files`` are given.

    Raises:
        BackendError: the graph does not load, or ended up on another provider than
            asked for.
    """
    with ExitStack() as stack:
        source = str(graph) if files is None else _place_in_memory(files, settings, stack)
        if isinstance(source, str) and not _is_utf8(source):
            raise BackendError(
                f"{graph}: ONNX Runtime opens no path that is not UTF-8; give the folder another "
                "name"
            )
        try:
            session = load_onnxruntime().InferenceSession(source, settings, providers=[_PROVIDER])
        except Exception as error:
            raise BackendError(
                f"{graph}: ONNX Runtime cannot load it: {_first_line(error)}"
            ) from error
    if session.get_providers() != [_PROVIDER]:  # it falls back silently
        raise BackendError(f"{graph}: asked for {_PROVIDER}, got {session.get_providers()}")
    if files is not None:
        give_memory_back()
    return session


def _place_in_memory(files: NetworkFiles, settings: Any, stack: ExitStack) -> str | bytes:
    """Hand weights over in memory, and give what the session is made of.

    Python's onnxruntime before 1.24 takes weights from files alone, and maps them: from
    copies then that nobody else knows, for as long as ``stack`` is open.
    """
    if hasattr(settings, "add_external_initializers_from_files_in_memory"):
        names = [file.path.name for file in files.beside if file.size]
        contents = [file.content() for file in files.beside if file.size]
        if names:
            sizes = [len(content) for content in contents]
            settings.add_external_initializers_from_files_in_memory(names, contents, sizes)
        return bytes(files.main.content())
    folder = stack.enter_context(temporary_folder("network"))
    for file in (files.main, *files.beside):
        (folder / file.path.name).write_bytes(file.content())
    return str(folder / files.path.name)


def read_layer_profile(path: Path) -> tuple[LayerRecord, ...]:
    """The layers of a profile that ONNX Runtime wrote.

    Its "Node" events, named "NODE_kernel_time", in microseconds.

    Raises:
        OSError, ValueError, KeyError: it is no such file.
    """
    events = [
        event
        for event in json.loads(path.read_text(encoding="utf-8"))
        if event.get("cat") == "Node"
    ]
    runs = [event for event in events if event["name"].endswith(_KERNEL_TIME)]
    clock = LayerClock()
    kinds = {}
    for event in runs:
        name = event["name"].removesuffix(_KERNEL_TIME)
        clock.report_layer_time(name, event["dur"] / 1e3)
        kinds[name] = str(event["args"]["op_name"])
    return tuple(
        LayerRecord(name, kinds[name], seconds, (name,))
        for name, seconds in clock.medians().items()
    )


def _open_session(
    graph: Path,
    spec: SubnetSpec,
    options: EngineOptions,
    *,
    files: NetworkFiles | None = None,
    optimized: bool = False,
) -> OrtEngine:
    settings = make_settings(options)
    if optimized:
        settings.graph_optimization_level = (
            load_onnxruntime().GraphOptimizationLevel.ORT_DISABLE_ALL
        )
    profile: ExitStack | None = None
    if options.profile:
        profile = ExitStack()
        settings.enable_profiling = True
        folder = profile.enter_context(temporary_folder("layers"))
        settings.profile_file_prefix = str(folder / "layers")
    session = start_inference(graph, settings, files=files)
    return OrtEngine(session, spec.computed_in("fp32"), profile=profile)


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


BACKEND = OrtBackend()
