"""A double of ONNX Runtime with GPU providers.

It claims them, computes on the CPU, and fails where it is told to.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as real

from echoexport.runtime.engine import ort_providers
from echoexport.runtime.engine.ort_providers import CPU, CUDA_PROVIDER, TENSORRT_PROVIDER

GRAPHS = ("enable_cuda_graph", "trt_cuda_graph_enable")
KINDS = ("Sub", "Mul")  # the nodes of the network that these tests run


class DeviceValue:
    """An OrtValue "on the GPU": a numpy array of its own."""

    def __init__(self, fake: Fake, shape: list[int], dtype: type) -> None:
        with fake.on_gpu("allocate"):
            self.array = np.zeros(shape, dtype)
        self._fake = fake
        self.copies = 0

    def update_inplace(self, array: np.ndarray) -> None:
        if array.nbytes != self.array.nbytes:
            raise RuntimeError(
                "The input size of numpy arrays does not match the size of the OrtValue."
            )
        with self._fake.on_gpu("upload"):
            self.array[...] = array
        self.copies += 1

    def numpy(self) -> np.ndarray:
        return self.array.copy()


@dataclass
class Fake:
    """What the library pretends, what goes wrong, and what it was asked for."""

    providers: tuple[str, ...] = (TENSORRT_PROVIDER, CUDA_PROVIDER, CPU)
    """Those that the library has."""
    gives: tuple[str, ...] | None = None
    """Providers of a session; None for those asked for."""
    runs_on: str = CUDA_PROVIDER
    """Which provider takes every node."""
    placement: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Node kinds by provider, where not all run on one."""
    records: bool = True
    """Whether the library knows how to record graphs."""
    load_error: Callable[[dict[str, str]], str] = lambda options: ""
    """What opening a session with these options raises; empty for nothing."""
    run_error: Callable[[dict[str, str]], str] = lambda options: ""
    """What running a session with these options raises; empty for nothing."""
    bind_error: str = ""
    """What binding an input raises; empty for nothing."""
    memory_error: str = ""
    """What asking for device memory raises; empty for nothing."""
    on_gpu: Callable[[str], AbstractContextManager[None]] = lambda what: contextlib.nullcontext()
    """What goes on while the GPU is asked to "load", "allocate", "upload", "record",
    "run" or "free" something."""
    asked: list[list[tuple[str, dict[str, str]]]] = field(default_factory=list)
    """The providers and options of every session."""
    settings: list[Any] = field(default_factory=list)
    """The settings of every session."""
    preloaded: int = 0
    """How often libraries were loaded beforehand."""
    severity: int = 2
    """Of what the library logs outside sessions: warnings and worse."""
    disabled: int = 0
    """How often falling back to another provider was switched off."""

    def placed(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Providers and the kinds of the nodes that each runs."""
        return self.placement or ((self.runs_on, KINDS),)

    def module(self) -> Any:
        """What ``import onnxruntime`` gives."""
        fake = self

        class OrtValue:
            @staticmethod
            def ortvalue_from_shape_and_type(
                shape: list[int], dtype: type, device: str, number: int
            ) -> DeviceValue:
                assert (device, number) == ("cuda", 0)
                if fake.memory_error:
                    raise RuntimeError(fake.memory_error)
                return DeviceValue(fake, shape, dtype)

        class Session(FakeSession):
            def __init__(
                self, path: str, settings: Any, *, providers: list[Any], enable_fallback: int
            ) -> None:
                assert enable_fallback == 0
                super().__init__(fake, path, settings, providers)

        if self.records:
            setattr(Session, "get_provider_graph_assignment_info", _tell_placement)  # noqa: B010

        def set_default_logger_severity(severity: int) -> None:
            self.severity = severity

        def preload_dlls() -> None:
            self.preloaded += 1
            print("Failed to load libcufft.so.11: a line that nobody asked for")

        return SimpleNamespace(
            __version__="1.31.1",
            cuda_version="13.0",
            OrtValue=OrtValue,
            InferenceSession=Session,
            SessionOptions=Settings,
            preload_dlls=preload_dlls,
            set_default_logger_severity=set_default_logger_severity,
            get_available_providers=lambda: list(self.providers),
        )


class Settings:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}
        self.enable_profiling = False
        self.profile_file_prefix = ""

    def add_session_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value


class FakeSession:
    """Runs the graph with the real library's CPU provider, and claims another one."""

    def __init__(
        self, fake: Fake, path: str, settings: Any, providers: list[tuple[str, dict[str, str]]]
    ) -> None:
        fake.asked.append(providers)
        fake.settings.append(settings)
        self._fake = fake
        self._options = providers[0][1]
        self._settings = settings
        if text := fake.load_error(self._options):
            raise RuntimeError(text)
        with fake.on_gpu("load"):
            self._real = real.InferenceSession(path, providers=[CPU])
        self._records = any(self._options.get(key) == "1" for key in GRAPHS)
        # As ONNX Runtime: each thread that runs it records a graph of its own.
        self._recorded = threading.local()
        self._providers = (
            fake.gives if fake.gives is not None else (*(name for name, _ in providers), CPU)
        )

    def __del__(self) -> None:
        with self._fake.on_gpu("free"):
            pass

    def get_providers(self) -> list[str]:
        return list(self._providers)

    def disable_fallback(self) -> None:
        self._fake.disabled += 1

    def io_binding(self) -> Any:
        bound: dict[str, dict[str, DeviceValue]] = {"in": {}, "out": {}}

        def bind_input(name: str, value: DeviceValue) -> None:
            if self._fake.bind_error:
                raise RuntimeError(self._fake.bind_error)
            bound["in"][name] = value

        return SimpleNamespace(
            bound=bound,
            bind_ortvalue_input=bind_input,
            bind_ortvalue_output=bound["out"].__setitem__,
            synchronize_inputs=lambda: None,
            synchronize_outputs=lambda: None,
        )

    def run_with_iobinding(self, binding: Any) -> None:
        if text := self._fake.run_error(self._options):
            raise RuntimeError(text)
        given = {name: value.array for name, value in binding.bound["in"].items()}
        names = [output.name for output in self._real.get_outputs()]
        records = self._records and not hasattr(self._recorded, "graph")
        with self._fake.on_gpu("record" if records else "run"):
            for name, array in zip(names, self._real.run(names, given), strict=True):
                binding.bound["out"][name].array[...] = array
        self._recorded.graph = True

    def end_profiling(self) -> str:
        assert self._settings.enable_profiling
        events = [
            {
                "cat": "Node",
                "name": f"{kind}_{i}_kernel_time",
                "args": {"provider": provider, "op_name": kind},
            }
            for provider, kinds in self._fake.placed()
            for i, kind in enumerate(kinds)
        ]
        path = Path(f"{self._settings.profile_file_prefix}_now.json")
        path.write_text(json.dumps([{"cat": "Session", "name": "model_run"}, *events]))
        return str(path)


def _tell_placement(session: FakeSession) -> list[Any]:
    assert session._settings.entries["session.record_ep_graph_assignment_info"] == "1"
    nodes = lambda kinds: [SimpleNamespace(name="", op_type=kind) for kind in kinds]  # noqa: E731
    parts = session._fake.placed()
    return [
        SimpleNamespace(ep_name=name, get_nodes=lambda kinds=kinds: nodes(kinds))
        for name, kinds in parts
    ]


class Driver:
    """libcuda.so.1 with so many GPUs."""

    def __init__(self, count: int, *, code: int) -> None:
        self._count = count
        self._code = code

    def cuInit(self, flags: int) -> int:  # noqa: N802 - CUDA's name
        return self._code

    def cuDeviceGetCount(self, pointer: Any) -> int:  # noqa: N802
        ctypes.cast(pointer, ctypes.POINTER(ctypes.c_int))[0] = self._count
        return 0


def install(
    monkeypatch: Any,
    *,
    gpus: int = 1,
    driver_code: int = 0,
    missing: tuple[str, ...] = (),
    kind: str = "gpu",
    **pretends: Any,
) -> Fake:
    """The process's ONNX Runtime until the test ends, on a machine of a kind with so many GPUs.

    ``missing`` libraries.

    ``driver_code`` is what the driver's start answers; ``pretends`` are the fields of
    ``Fake``.
    """
    fake = Fake(**pretends)
    monkeypatch.setitem(sys.modules, "onnxruntime", fake.module())

    def load(name: str) -> Any:
        if name in missing:
            raise OSError(f"{name}: cannot open shared object file")
        return Driver(gpus, code=driver_code)

    monkeypatch.setattr(ort_providers, "_load_shared", load)
    device = SimpleNamespace(
        kind=kind, gpu="NVIDIA A100-SXM4-80GB", model="a server", tensorrt="10.16.2"
    )
    monkeypatch.setattr("echoexport.runtime.device.detect_device", lambda: device)
    return fake
