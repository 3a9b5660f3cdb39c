"""TensorRT-RTX: which GPUs it has kernels for, and plans that are tied to the library alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.backends import load_backend
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import BackendError

OPTIONS = EngineOptions()


@pytest.mark.parametrize(
    ("capability", "runs"),
    [((7, 5), False), ((8, 0), True), ((8, 9), True), ((9, 0), False), ((12, 1), True)],
)
def test_rtx_says_which_gpus_it_has_no_kernels_for(
    make_tensorrt: Callable[..., Any], cuda: Any, capability: tuple[int, int], runs: bool
) -> None:
    make_tensorrt("rtx-1.7")
    cuda.capability = capability
    reason = load_backend("tensorrt_rtx").unavailable()
    told = "has {}.{}: use backend 'tensorrt' or 'ort_cuda'".format(*capability)
    assert reason is None if runs else (reason or "").endswith(told)


def test_plans_of_rtx_are_tied_to_the_library_alone_and_need_no_gpu_to_say_so(
    make_tensorrt: Callable[..., Any], cuda: Any
) -> None:
    make_tensorrt("rtx-1.7")
    cuda.devices = 0
    found: Any = load_backend("tensorrt_rtx")
    assert set(found.fingerprint(OPTIONS)) == {"library", "version", "os", "arch"}


def test_the_real_rtx_library_refuses_noise_or_is_refused_for_want_of_a_gpu(
    tmp_path: Path, small_graph: Callable[..., tuple[Path, SubnetSpec]], cuda: Any
) -> None:
    pytest.importorskip("tensorrt_rtx_libs", reason="TensorRT-RTX is not installed")
    (tmp_path / "noise.plan").write_bytes(np.random.default_rng(0).bytes(4096))
    found: Any = load_backend("tensorrt_rtx")
    with pytest.raises(
        BackendError, match=r"noise\.plan: TensorRT-RTX [\d.]+ refuses it: .*(Serialization|Cuda)"
    ):
        found.open_engine(tmp_path / "noise.plan", small_graph()[1], OPTIONS)
    assert cuda.live == {}
