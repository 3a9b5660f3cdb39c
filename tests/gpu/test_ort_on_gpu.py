"""ONNX Runtime's providers on a real GPU: parity, uploads, CUDA graphs, kept engines.

Skipped where there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.profiles.measuring.latency import read_self_test_inputs
from echoexport.runtime.backends import load_backend
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.engine.held_arrays import freeze
from echoexport.runtime.engine.ort_gpu import OrtGpuEngine
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import BackendError

pytestmark = pytest.mark.gpu


@pytest.fixture(params=["ort_cuda", "ort_tensorrt"])
def backend(request: pytest.FixtureRequest) -> str:
    reason = load_backend(request.param).unavailable()
    if reason is not None:
        pytest.skip(reason)
    return str(request.param)


def open_network(bundle: Bundle, name: str, **options: Any) -> OrtGpuEngine:
    entry = bundle.manifest.networks[name]
    backend: Any = bundle.backend
    engine = backend.open(
        bundle.folder / entry.graph, entry.describe(name), EngineOptions(**options)
    )
    assert isinstance(engine, OrtGpuEngine)
    return engine


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("network", FAMILY.required)
def test_every_network_passes_its_self_test(
    backend: str, build_tiny: Callable[..., Path], network: str, precision: str
) -> None:
    with open_bundle(build_tiny(precision=precision), backend=backend) as bundle:
        result = bundle.self_test(network)
        assert result.passed, result


def test_the_denoiser_runs_wholly_on_the_gpu_and_as_a_graph(
    backend: str, build_tiny: Callable[..., Path]
) -> None:
    with open_bundle(build_tiny(precision="fp16"), backend=backend) as bundle:
        engine = open_network(bundle, "denoising_unet")
        assert engine.notes == []
        engine.close()


def test_with_and_without_a_graph_the_outputs_are_the_same(
    backend: str, build_tiny: Callable[..., Path]
) -> None:
    with open_bundle(build_tiny(precision="fp16"), backend=backend) as bundle:
        inputs = read_self_test_inputs(bundle, "denoising_unet")
        found = []
        for recorded in (True, False):
            engine = open_network(bundle, "denoising_unet", cuda_graph=recorded)
            found.append(engine(inputs)["velocity"].astype(np.float32))
            engine.close()
    assert float(np.abs(found[0] - found[1]).max()) <= 1e-2 * float(np.abs(found[1]).max())


def test_a_portraits_keys_and_values_go_up_once(
    backend: str, build_tiny: Callable[..., Path]
) -> None:
    with open_bundle(build_tiny(precision="fp16"), backend=backend) as bundle:
        given = read_self_test_inputs(bundle, "denoising_unet")
        inputs = {
            n: freeze(array) if n.startswith("reference_") else array for n, array in given.items()
        }
        engine = open_network(bundle, "denoising_unet")
        first = engine(inputs)["velocity"]
        before = engine.uploaded
        np.testing.assert_array_equal(engine(inputs)["velocity"], first)
        small = sum(
            array.nbytes for name, array in inputs.items() if not name.startswith("reference_")
        )
        assert engine.uploaded - before == small
        inputs |= {
            name: freeze(array * 2)
            for name, array in inputs.items()
            if name.startswith("reference_")
        }
        assert not np.array_equal(engine(inputs)["velocity"], first)
        engine.close()


def test_a_memory_limit_that_is_too_small_is_said_to_be(build_tiny: Callable[..., Path]) -> None:
    reason = load_backend("ort_cuda").unavailable()
    if reason is not None:
        pytest.skip(reason)
    with (
        open_bundle(build_tiny(), backend="ort_cuda") as bundle,
        pytest.raises(BackendError, match="out of GPU memory"),
    ):
        open_network(bundle, "denoising_unet", device_memory=2**20)


def test_tensorrts_engines_are_found_again(build_tiny: Callable[..., Path], tmp_path: Path) -> None:
    reason = load_backend("ort_tensorrt").unavailable()
    if reason is not None:
        pytest.skip(reason)
    with open_bundle(build_tiny(precision="fp16"), backend="ort_tensorrt") as bundle:
        kept = []
        for _ in range(2):
            open_network(bundle, "vae_decoder", cache=tmp_path).close()
            kept.append({path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.engine")})
    assert kept[0] and kept[1] == kept[0]
