"""Plans that TensorRT refuses, and what it says about them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.backends import load_backend
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.engine.tensorrt_engine import TensorRTEngine
from echoexport.runtime.errors import BackendError, DeviceError

VERSIONS = ("10.3", "10.16", "11.4", "rtx-1.7")


@pytest.mark.parametrize("version", ["10.3", "rtx-1.7"])
@pytest.mark.parametrize("content", [b"", b"no plan", b"[]"], ids=["empty", "noise", "list"])
def test_a_corrupt_plan_is_refused_with_the_fix_and_leaves_nothing(
    open_small: Callable[..., TensorRTEngine],
    small: tuple[Path, SubnetSpec],
    cuda: Any,
    tmp_path: Path,
    version: str,
    content: bytes,
) -> None:
    engine = open_small(version)
    (tmp_path / "bad.plan").write_bytes(content)
    engine.close()
    backend: Any = load_backend("tensorrt_rtx" if version.startswith("rtx") else "tensorrt")
    with pytest.raises(
        BackendError, match=r"bad\.plan: (TensorRT.* refuses it: |cannot be read: )"
    ) as caught:
        backend.open_engine(tmp_path / "bad.plan", small[1], EngineOptions())
    assert "\n" not in str(caught.value)
    assert cuda.live == {}


def test_a_plan_that_is_missing_is_named(
    small: tuple[Path, SubnetSpec], make_tensorrt: Callable[..., Any]
) -> None:
    make_tensorrt()
    backend: Any = load_backend("tensorrt")
    with pytest.raises(BackendError, match=r"^gone\.plan: cannot be read: "):
        backend.open_engine(Path("gone.plan"), small[1], EngineOptions())


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"of": "10.16"}, r"TensorRT 10\.3\.0\.30 refuses it: Version tag does not match"),
        (
            {"device": {"name": "Fake A100", "compute_capability": "8.0"}},
            r"refuses it: plan of compute 8\.0 on 8\.7",
        ),
        (
            {"device": {"name": "Fake NX", "compute_capability": "8.7"}},
            r"was compiled on another model of GPU",
        ),
    ],
    ids=["version", "compute capability", "model"],
)
def test_a_plan_of_another_version_or_device_is_refused_and_never_tried(
    open_small: Callable[..., TensorRTEngine], cuda: Any, plan: dict[str, Any], words: str
) -> None:
    with pytest.raises(BackendError, match=words):
        open_small("10.3", **plan)
    assert cuda.live == {}


def test_a_warning_about_one_plan_is_not_taken_for_the_next(
    open_small: Callable[..., TensorRTEngine],
    inputs_of: Callable[..., dict[str, np.ndarray]],
    wrong_outputs: Callable[..., dict[str, np.ndarray]],
) -> None:
    with pytest.raises(BackendError, match="another model"):
        open_small("10.3", device={"name": "Fake NX", "compute_capability": "8.7"})
    assert wrong_outputs(open_small("10.3"), inputs_of(1)) == {}


def test_no_memory_for_the_weights_is_told_as_the_devices_fault(
    open_small: Callable[..., TensorRTEngine], cuda: Any
) -> None:
    with pytest.raises(
        DeviceError, match=r"small\.plan: TensorRT 10\.3\.0\.30 refuses it: .*OutOfMemory"
    ):
        open_small("10.3", "no memory")
    assert cuda.live == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_no_memory_for_the_context_is_told_with_its_size(
    open_small: Callable[..., TensorRTEngine], cuda: Any, version: str
) -> None:
    with pytest.raises(
        BackendError,
        match=r"cannot take 1\.0 MiB of GPU memory to run in: .*OutOfMemory.* are free",
    ):
        open_small(version, "no context")
    assert cuda.live == {}


@pytest.mark.parametrize(
    "name", ["num_io_tensors", "get_tensor_mode", "set_tensor_address", "execute_async_v3"]
)
def test_a_library_that_lacks_an_attribute_is_named_with_the_versions_that_work(
    open_small: Callable[..., TensorRTEngine], cuda: Any, name: str
) -> None:
    with pytest.raises(BackendError, match=rf"TensorRT 10\.3\.0\.30 .*10\.3 to 11\.x.*{name}"):
        open_small("10.3", f"lacks {name}")
    assert cuda.live == {}
