"""TensorRT's two backends.

What is missing is said in a line, plans are tied to all that they depend on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from echoexport.runtime import device as devices
from echoexport.runtime.backends import load_backend
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import BackendError, DeviceError, SettingError

NAMES = ("tensorrt", "tensorrt_rtx")
VERSIONS = {"tensorrt": "10.3", "tensorrt_rtx": "rtx-1.7"}
OPTIONS = EngineOptions()


@pytest.fixture(params=NAMES)
def backend(request: pytest.FixtureRequest, make_tensorrt: Callable[..., Any]) -> Any:
    """Each backend with its fake library and a fake GPU."""
    make_tensorrt(VERSIONS[request.param])
    return load_backend(request.param)


def test_where_library_driver_and_gpu_are_there_nothing_is_missing(backend: Any) -> None:
    assert backend.unavailable() is None


def test_a_backend_says_versions_and_device(backend: Any) -> None:
    title = {"tensorrt": "TensorRT 10.3.0.30", "tensorrt_rtx": "TensorRT-RTX 1.7.1.116"}[
        backend.name
    ]
    assert backend.describe() == f"{title}, Fake Orin (8.7), CUDA 12.6"


def test_its_engines_can_be_kept(backend: Any) -> None:
    assert backend.keeps_engines
    assert backend.engine_suffix == ".plan"


def test_a_graph_is_computed_in_what_it_is_stored_in(backend: Any) -> None:
    assert backend.arithmetic() == ("fp32",)
    spec = SubnetSpec("small", (), (), {}, "fp16")
    with pytest.raises(
        SettingError, match=r"compute 'bf16': backend 'tensorrt(_rtx)?' computes in what"
    ):
        backend.open_engine(Path("any.plan"), spec, EngineOptions(compute="bf16"))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "tensorrt",
            "TensorRT's Python module is not installed: on a Jetson 'sudo apt install "
            "python3-libnvinfer' and",
        ),
        ("tensorrt_rtx", "TensorRT-RTX is not installed: pip install 'echoexport[tensorrt-rtx]'"),
    ],
)
def test_a_library_that_is_not_installed_is_told_with_the_fix(
    name: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("tensorrt", "tensorrt_rtx_libs", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, module, None)
    found: Any = load_backend(name)
    assert (found.unavailable() or "").startswith(line)
    with pytest.raises(BackendError, match=r"is not installed"):
        found.open_engine(Path("any.plan"), SubnetSpec("small", (), (), {}, "fp16"), OPTIONS)


def test_a_library_that_does_not_load_is_told_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt.py").write_text(
        "raise ImportError('libnvinfer.so.10: cannot open\\nshared object file')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    assert load_backend("tensorrt").unavailable() == (
        "tensorrt is installed and does not load: libnvinfer.so.10: cannot open shared object file"
    )


@pytest.mark.parametrize(
    ("name", "version", "line"),
    [
        ("tensorrt", "8.6.2", "TensorRT 8.6.2 is too old: 10.3 or newer is wanted"),
        ("tensorrt", "10.2.0.19", "TensorRT 10.2.0.19 is too old: 10.3 or newer is wanted"),
        ("tensorrt_rtx", "1.1.1", "TensorRT-RTX 1.1.1 is too old: 1.2 or newer is wanted"),
    ],
)
def test_a_library_that_is_too_old_is_refused(
    make_tensorrt: Callable[..., Any], name: str, version: str, line: str
) -> None:
    module: ModuleType = make_tensorrt(VERSIONS[name])
    module.__version__ = version
    assert load_backend(name).unavailable() == line


def test_a_folder_that_is_called_like_the_library_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "tensorrt", None)  # so that it is not there afterwards either
    monkeypatch.delitem(sys.modules, "tensorrt")
    line = load_backend("tensorrt").unavailable() or ""
    assert line.startswith("what Python imports as 'tensorrt' is not TensorRT: ")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"driver": 0}, "no NVIDIA driver is installed"),
        ({"library": 13050}, "the NVIDIA driver knows CUDA 12.6 only"),
        ({"devices": 0}, "this process sees no NVIDIA GPU"),
    ],
    ids=["no driver", "old driver", "no GPU"],
)
def test_without_a_driver_or_gpu_the_first_thing_missing_is_told(
    backend: Any, cuda: Any, settings: dict[str, int], words: str
) -> None:
    for name, value in settings.items():
        setattr(cuda, name, value)
    assert words in (backend.unavailable() or "")


def test_a_backend_that_is_told_missing_touches_no_gpu_memory(backend: Any, cuda: Any) -> None:
    backend.unavailable()
    assert "cudaMalloc" not in cuda.calls
    assert cuda.live == {}


def fingerprint_on(machine: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(devices, "detect_device", lambda: machine)
    found: Any = load_backend(name)
    return dict(found.fingerprint(OPTIONS))


def test_on_a_jetson_a_plan_is_tied_to_module_jetpack_and_power_mode(
    make_tensorrt: Callable[..., Any],
    recorded_device: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_tensorrt("10.3")
    board = recorded_device("agx-orin-64-jetpack-6.2")
    found = fingerprint_on(board, "tensorrt", monkeypatch)
    assert found == {
        "library": "tensorrt",
        "version": "10.3.0.30",
        "os": "linux",
        "arch": found["arch"],
        "device": "jetson-orin",
        "compute_capability": "8.7",
        "jetpack": "6.2",
        "l4t": board.l4t,
        "power_mode": board.power_mode,
    }


def test_the_board_that_carries_a_module_makes_no_other_plan(
    make_tensorrt: Callable[..., Any],
    recorded_device: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_tensorrt("10.3")
    board = recorded_device("orin-nx-16-own-carrier")
    assert fingerprint_on(board, "tensorrt", monkeypatch)["device"] == "jetson-orin-nx-16"


def test_on_a_server_a_plan_is_tied_to_gpu_and_driver(
    make_tensorrt: Callable[..., Any],
    recorded_device: Callable[..., Any],
    cuda: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_tensorrt("11.4")
    cuda.device_name = "NVIDIA A100-SXM4-80GB"
    cuda.capability = (8, 0)
    server = recorded_device("a100-server")
    found = fingerprint_on(server, "tensorrt", monkeypatch)
    assert (found["device"], found["compute_capability"]) == ("NVIDIA A100-SXM4-80GB", "8.0")
    assert (found["version"], found["driver"]) == ("11.4.1.9", server.driver)
    assert not {"jetpack", "l4t", "power_mode"} & set(found)


def test_without_a_gpu_there_is_nothing_to_tie_a_plan_to(
    make_tensorrt: Callable[..., Any], cuda: Any
) -> None:
    make_tensorrt("10.3")
    cuda.driver = 0
    found: Any = load_backend("tensorrt")
    with pytest.raises(DeviceError, match="cudaErrorInsufficientDriver"):
        found.fingerprint(OPTIONS)
