"""A whole bundle through TensorRT's two halves.

Compiled in children, proved and opened in this process, on doubles.

And, where a GPU is, through NVIDIA's own.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echoexport.export.compile.bundle import CompileReport, CompileSettings, compile_bundle
from echoexport.export.engines import EngineSettings, tensorrt, tensorrt_rtx
from echoexport.export.engines.nvidia.tensorrt_child import TIMING_KEY
from echoexport.export.engines.nvidia.tensorrt_library import TENSORRT, TENSORRT_RTX
from echoexport.runtime.backends import load_backend
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.engine.cuda import open_cuda
from echoexport.runtime.errors import BackendError
from echoexport.runtime.files.sealed_file import read_sealed

FAKES = Path(__file__).parent / "fakes"
ENGINE = EngineSettings(workspace=10**9, level=2, timeout=300.0)
SMALL = "landmark_encoder"

Machine = Callable[..., None]


def load_fake(name: str) -> Any:
    found = importlib.util.spec_from_file_location(f"compiled_{name}", FAKES / f"{name}.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[module.__name__] = module
    found.loader.exec_module(module)
    return module


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A function that makes this machine one with a GPU and a TensorRT of a version.

    With a fault in the builder.
    """
    pytest.importorskip("onnxruntime")
    cuda = load_fake("fake_cuda")
    runtime = load_fake("fake_tensorrt_runtime")

    def make(version: str = "10.3", *, fault: str = "") -> None:
        open_cuda.cache_clear()
        gpu = cuda.install(monkeypatch, cuda.FakeCuda())
        runtime.install(monkeypatch, version, gpu)
        major, minor = gpu.capability
        monkeypatch.setenv("FAKE_TENSORRT_VERSION", version)
        monkeypatch.setenv("FAKE_TENSORRT_FAULT", fault)
        monkeypatch.setenv("FAKE_TENSORRT_DEVICE", f"{gpu.device_name}/{major}.{minor}")
        for module, product in ((tensorrt, TENSORRT), (tensorrt_rtx, TENSORRT_RTX)):
            monkeypatch.setattr(
                module, "_PRODUCT", replace(product, library=str(FAKES / "fake_tensorrt.py"))
            )

    yield make
    open_cuda.cache_clear()


@pytest.fixture
def compile_tiny(build_tiny: Callable[..., Path], tmp_path: Path) -> Callable[..., CompileReport]:
    """A function that compiles the tiny bundle for a backend, with a cache of the test's own."""
    # Before a double is in TensorRT's place: torch looks.
    bundle = build_tiny(precision="fp16", target="jetson-orin")

    def run(
        backend: str = "tensorrt", engine: EngineSettings = ENGINE, **settings: Any
    ) -> CompileReport:
        wanted = CompileSettings(
            backend=backend, engine=engine, cache=tmp_path / "cache", **settings
        )
        return compile_bundle(
            bundle,
            tmp_path / "compiled",
            settings=wanted,
            report=lambda *_: None,
            warn=lambda text: None,
        )

    return run


def require_passed(report: CompileReport) -> None:
    for engine in report.engines.values():
        assert engine.record.error is not None and engine.record.error <= engine.record.tolerance


@pytest.mark.slow
def test_a_bundle_compiles_opens_here_and_is_refused_with_the_fix_by_another_tensorrt(
    machine: Machine, compile_tiny: Callable[..., CompileReport], tmp_path: Path
) -> None:
    machine("10.3")
    report = compile_tiny()
    assert set(report.engines) == set(FAMILY.required)
    require_passed(report)
    with open_bundle(tmp_path / "compiled") as bundle:
        assert bundle.self_test("landmark_encoder").passed
    kept = [read_sealed(path, key=TIMING_KEY) for path in (tmp_path / "cache" / "timing").iterdir()]
    timings = [json.loads(bytes(content)) for content in kept if content is not None]
    assert [set(cache["entries"]) for cache in timings] == [set(FAMILY.required)]
    machine("10.16")
    with pytest.raises(BackendError, match=r"10\.3\.0\.30.*10\.16\.2\.10.*echoexport compile"):
        open_bundle(tmp_path / "compiled").self_test("landmark_encoder")
    assert not compile_tiny(networks=(SMALL,)).engines[SMALL].cached


@pytest.mark.parametrize(
    ("version", "fault"), [("10.16", "reordered"), ("11.4", "no-level"), ("rtx-1.7", "")]
)
def test_an_engine_passes_its_self_test_whatever_version_built_it(
    machine: Machine, compile_tiny: Callable[..., CompileReport], version: str, fault: str
) -> None:
    machine(version, fault=fault)
    backend = "tensorrt_rtx" if version.startswith("rtx") else "tensorrt"
    report = compile_tiny(backend, networks=(SMALL,))
    assert list(report.engines) == [SMALL]
    require_passed(report)


def test_a_killed_builder_costs_one_network_and_the_next_run_goes_on(
    machine: Machine, compile_tiny: Callable[..., CompileReport], tmp_path: Path
) -> None:
    machine()
    compile_tiny(networks=(SMALL,))
    machine(fault="kill")
    with pytest.raises(
        BackendError, match=r"\.onnx: TensorRT 10\.3\.0\.30 was killed, most likely for memory: "
    ):
        compile_tiny(networks=(SMALL, "audio_encoder"))
    machine()
    report = compile_tiny(networks=(SMALL, "audio_encoder"))
    assert {name: engine.cached for name, engine in report.engines.items()} == {
        SMALL: True,
        "audio_encoder": False,
    }


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt_rtx"])
def test_on_a_gpu_every_network_compiles_and_passes_its_self_test(
    compile_tiny: Callable[..., CompileReport], backend: str
) -> None:
    reason = load_backend(backend).unavailable()
    if reason is not None:
        pytest.skip(reason)
    report = compile_tiny(backend, replace(ENGINE, best_of=2))
    assert set(report.engines) == set(FAMILY.required)
    require_passed(report)
    for engine in report.engines.values():
        timed = any(
            note.startswith("kept the quickest of 2 builds") for note in engine.record.notes
        )
        assert timed == (backend == "tensorrt")
