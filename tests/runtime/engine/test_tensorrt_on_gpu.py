"""TensorRT on a real GPU: copies, graphs and whole clips.

Tests are skipped, with the reason, where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime import Bundle, RenderInputs, RenderSettings, Session, open_bundle
from echoexport.runtime.backends import load_backend
from echoexport.runtime.bundle.network import compare_outputs
from echoexport.runtime.engine.cuda import find_cuda_trouble, open_cuda
from echoexport.runtime.engine.held_arrays import freeze
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.inputs.voice import voice_from_samples

pytestmark = pytest.mark.gpu

# Of each output's largest value; a network is held to 5e-4 in fp32, and a clip adds up
# several calls.
CLIP_TOLERANCE = 1e-2


@pytest.fixture(scope="module", params=["tensorrt", "tensorrt_rtx"])
def compiled(
    request: pytest.FixtureRequest,
    build_tiny: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bundle]:
    """The tiny bundle, compiled here."""
    from echoexport.export.compile.bundle import CompileSettings, compile_bundle

    reason = load_backend(request.param).unavailable()
    if reason is not None:
        pytest.skip(reason)
    output = tmp_path_factory.mktemp(request.param) / "compiled"
    settings = CompileSettings(backend=request.param)
    compile_bundle(
        build_tiny(), output, settings=settings, report=lambda *told: None, warn=lambda told: None
    )
    with open_bundle(output) as bundle:
        yield bundle


def inputs_of(bundle: Bundle) -> RenderInputs:
    generator = np.random.default_rng(3)
    height = bundle.manifest.picture.height
    width = bundle.manifest.picture.width
    voice = voice_from_samples(generator.uniform(-0.3, 0.3, 16000).astype(np.float32))
    picture = generator.integers(0, 255, (height, width, 3), np.uint8)
    return RenderInputs(picture, voice, mask=np.full((height, width), 255, np.uint8))


def denoiser_inputs(bundle: Bundle) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    tensors = bundle.manifest.networks["denoising_unet"].inputs
    return {t.name: freeze(generator.standard_normal(t.shape).astype(t.dtype)) for t in tensors}


def engine_of(bundle: Bundle) -> Any:
    return bundle.network("denoising_unet")._engine


@pytest.fixture
def need_cuda() -> None:
    reason = find_cuda_trouble()
    if reason is not None:
        pytest.skip(reason)


@pytest.mark.usefixtures("need_cuda")
def test_bytes_go_to_the_gpu_and_come_back() -> None:
    cuda = open_cuda()
    stream = cuda.create_stream()
    address = cuda.malloc(1 << 20)
    given = np.random.default_rng(0).integers(0, 255, 1 << 20, np.uint8)
    pinned = cuda.host_alloc(1 << 20)
    cuda.upload(address, given, stream)
    cuda.download(pinned, address, stream)
    cuda.synchronize(stream)
    np.testing.assert_array_equal(pinned, given)
    cuda.host_free(pinned)
    cuda.free(address)
    cuda.destroy_stream(stream)


@pytest.mark.usefixtures("need_cuda")
def test_recorded_copies_are_replayed_with_what_is_there_then() -> None:
    cuda = open_cuda()
    stream = cuda.create_stream()
    address = cuda.malloc(64)
    source = cuda.host_alloc(64)
    target = cuda.host_alloc(64)
    cuda.begin_capture(stream)
    cuda.upload(address, source, stream)
    cuda.download(target, address, stream)
    ready = cuda.end_capture(stream)
    for value in (1, 2):
        source[:] = value
        cuda.launch(ready, stream)
        cuda.synchronize(stream)
        assert set(target.tolist()) == {value}
    cuda.destroy_graph(ready)
    for memory in (source, target):
        cuda.host_free(memory)
    cuda.free(address)
    cuda.destroy_stream(stream)


@pytest.mark.usefixtures("need_cuda")
def test_too_large_a_buffer_is_refused_with_the_fix() -> None:
    from echoexport.runtime.errors import DeviceError

    with pytest.raises(
        DeviceError, match=r"cudaErrorMemoryAllocation .* are free; close other programs"
    ):
        open_cuda().malloc(1 << 50)
    assert find_cuda_trouble() is None


def test_a_clip_is_the_one_that_the_cpu_gives(
    compiled: Bundle, build_tiny: Callable[..., Path]
) -> None:
    settings = RenderSettings(steps=2, frames=13)
    found = Session(compiled).start(inputs_of(compiled), settings).latents
    with open_bundle(build_tiny(), backend="ort", options=EngineOptions(threads=2)) as plain:
        wanted = Session(plain).start(inputs_of(plain), settings).latents
    assert compare_outputs({"latents": found}, {"latents": wanted}) <= CLIP_TOLERANCE


def test_replayed_calls_give_what_the_first_gave(compiled: Bundle) -> None:
    network = compiled.network("denoising_unet")
    inputs = denoiser_inputs(compiled)
    first = network(inputs)
    for _ in range(3):
        assert compare_outputs(network(inputs), first) <= 1e-5
    assert engine_of(compiled).notes == []


def test_frozen_inputs_go_up_once(compiled: Bundle) -> None:
    network = compiled.network("denoising_unet")
    inputs = denoiser_inputs(compiled)
    network(inputs)
    before = engine_of(compiled).uploaded
    changed = {**inputs, "latents": inputs["latents"] + 1}
    found = network(changed)
    assert engine_of(compiled).uploaded - before == inputs["latents"].nbytes
    afresh = network({name: array.copy() for name, array in changed.items()})
    assert compare_outputs(found, afresh) <= 1e-5


def test_closing_a_network_gives_its_memory_back(compiled: Bundle) -> None:
    cuda = open_cuda()
    inputs = denoiser_inputs(compiled)
    left = []
    for _ in range(3):
        compiled.network("denoising_unet")(inputs)
        compiled.close_network("denoising_unet")
        left.append(cuda.measure_memory()[0])
    assert left[-1] >= left[0] - (8 << 20)  # the library itself keeps some from the first time on
