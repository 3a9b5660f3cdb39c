"""Whether ONNX Runtime's GPU backends can be used here, and what is missing where they cannot."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoexport.runtime.backends import load_backend
from echoexport.runtime.engine.ort_providers import CPU, CUDA_PROVIDER, TENSORRT_PROVIDER
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import MissingPackageError

real = pytest.importorskip("onnxruntime")

Make = Callable[..., Any]


def test_a_machine_that_has_everything_can_be_used(make_ort: Make, gpu_backend: str) -> None:
    make_ort()
    assert load_backend(gpu_backend).unavailable() is None


def test_nvidias_libraries_are_loaded_from_the_environment_without_a_word(
    make_ort: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = make_ort()
    load_backend("ort_cuda").unavailable()
    assert fake.preloaded == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("providers", [(TENSORRT_PROVIDER, CUDA_PROVIDER, CPU), (CPU,)])
def test_warnings_of_the_library_are_silenced_and_errors_are_not(
    make_ort: Make, gpu_backend: str, providers: tuple[str, ...]
) -> None:
    fake = make_ort(providers=providers)
    assert fake.severity == 2
    load_backend(gpu_backend).unavailable()
    assert fake.severity == 3


def test_sessions_log_errors_only(make_ort: Make, open_ort: Make, arithmetic_graph: Any) -> None:
    fake = make_ort()
    open_ort("ort_cuda", arithmetic_graph)
    assert (fake.severity, fake.settings[0].log_severity_level) == (3, 3)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (
            {"providers": (CPU,)},
            r"built without CUDAExecutionProvider: pip uninstall onnxruntime, then pip install "
            r"'echoexport\[onnxruntime-gpu\]'",
        ),
        ({"providers": (CPU,), "kind": "jetson"}, "holds no code for Orin: use backend 'tensorrt'"),
        (
            {"missing": ("libcuda.so.1",)},
            r"no NVIDIA driver is installed \(libcuda.so.1 is missing\)",
        ),
        ({"gpus": 0}, "this process sees no NVIDIA GPU"),
        ({"driver_code": 100}, "this process sees no NVIDIA GPU"),
        (
            {"missing": ("libcudart.so.13",)},
            r"libcudart.so.13 cannot be loaded.*onnxruntime-gpu\[cuda,cudnn\]",
        ),
        (
            {"missing": ("libcudnn.so.9",)},
            r"libcudnn.so.9 cannot be loaded.*onnxruntime-gpu\[cuda,cudnn\]",
        ),
    ],
)
def test_what_is_missing_is_named_with_the_fix(
    make_ort: Make, state: dict[str, Any], reason: str
) -> None:
    make_ort(**state)
    found = load_backend("ort_cuda").unavailable() or ""
    assert re.search(reason, found), found
    assert "\n" not in found


def test_tensorrt_wants_its_own_library_beside_cudas(make_ort: Make) -> None:
    make_ort(missing=("libnvinfer.so.10",))
    assert load_backend("ort_cuda").unavailable() is None
    reason = load_backend("ort_tensorrt").unavailable() or ""
    assert "libnvinfer.so.10 cannot be loaded" in reason and "use backend 'ort_cuda'" in reason


def test_without_the_package_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, gpu_backend: str, tmp_path: Path, arithmetic_spec: Make
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install 'echoexport[onnxruntime-gpu]'" in (
        load_backend(gpu_backend).unavailable() or ""
    )
    with pytest.raises(MissingPackageError, match=r"pip install 'echoexport\[onnxruntime-gpu\]'"):
        load_backend(gpu_backend).open(tmp_path / "graph.onnx", arithmetic_spec(), EngineOptions())


def test_a_gpu_backend_describes_library_provider_and_device(make_ort: Make) -> None:
    make_ort()
    assert (
        load_backend("ort_cuda").describe()
        == f"onnxruntime 1.31.1, {CUDA_PROVIDER}, NVIDIA A100-SXM4-80GB"
    )
    assert load_backend("ort_tensorrt").describe() == (
        f"onnxruntime 1.31.1, {TENSORRT_PROVIDER}, TensorRT 10.16.2, NVIDIA A100-SXM4-80GB"
    )


def test_the_real_library_without_a_gpu_build_is_told_apart() -> None:
    if CUDA_PROVIDER in real.get_available_providers():
        pytest.skip("this onnxruntime has the CUDA provider")
    reason = load_backend("ort_cuda").unavailable() or ""
    assert "built without CUDAExecutionProvider" in reason
