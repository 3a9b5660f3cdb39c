"""A first window drawn live is the clip's, on a real backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from echoexport.runtime.bundle.opened import Bundle, Lease, open_bundle
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.live.drawing.causal_sampling import BlockOrder, RenoisedWindows, Sitter
from echoexport.runtime.live.drawing.stream_state import StreamState
from echoexport.runtime.sampling.denoiser import Conditions
from echoexport.runtime.sampling.noise import initial_latents
from echoexport.runtime.sampling.sampler import SamplingSettings, sample_latents

pytestmark = pytest.mark.slow

FRAMES = 12
SEED = 3


@pytest.fixture(scope="module")
def bundle(build_tiny: Callable[..., Path]) -> Iterator[Bundle]:
    with open_bundle(build_tiny(), backend="ort", options=EngineOptions(threads=1)) as opened:
        yield opened


@pytest.fixture
def networks(bundle: Bundle) -> Iterator[Lease]:
    with bundle.lease() as lease:
        yield lease


@pytest.fixture(scope="module")
def inputs(bundle: Bundle) -> dict[str, NDArray[np.float32]]:
    """Something for every input of the denoiser but the latents and the time."""
    numbers = np.random.default_rng(0)
    return {
        tensor.name: numbers.standard_normal(tensor.shape).astype(np.float32)
        for tensor in bundle.manifest.networks["denoising_unet"].inputs
    }


def sit(inputs: dict[str, NDArray[np.float32]]) -> Sitter:
    reference = {name: array for name, array in inputs.items() if name.startswith("reference_k")}
    reference |= {name: array for name, array in inputs.items() if name.startswith("reference_v")}
    return Sitter(reference, lambda numbers: inputs["face_feature"])


def draw_live(
    networks: Lease, inputs: dict[str, NDArray[np.float32]], *, guidance: float = 1.0
) -> tuple[RenoisedWindows, StreamState]:
    denoiser = networks.network("denoising_unet")
    sampler = RenoisedWindows(denoiser, networks.manifest, seed=SEED, guidance=guidance)
    # One step: with more, the clip's window turns round by some frames at each.
    order = BlockOrder(sit(inputs), tuple(inputs["audio_tokens"][0]), 1)
    return sampler, sampler.begin(order)


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_a_first_window_is_the_clip_of_one_window(
    networks: Lease, inputs: dict[str, NDArray[np.float32]], guidance: float
) -> None:
    _, state = draw_live(networks, inputs, guidance=guidance)
    manifest = networks.manifest
    shape = networks.network("denoising_unet").spec.inputs[0].shape
    noise = initial_latents(
        SEED,
        frames=FRAMES,
        shape=(shape[1], shape[3], shape[4]),
        clamp=manifest.sampler.noise_clamp,
        shared=manifest.sampler.shared_noise,
    )
    sitter = sit(inputs)
    conditions = Conditions(
        audio=lambda frames: inputs["audio_tokens"], face=sitter.face, reference=sitter.reference
    )
    settings = SamplingSettings(1, guidance, 1)
    clip = sample_latents(networks, noise, conditions=conditions, settings=settings)
    drawn = np.stack([frame.latents for frame in state.past], axis=2)
    np.testing.assert_array_equal(drawn, clip[:, :, 1:])
    assert np.ptp(drawn) > 0.1


def test_a_block_is_the_same_from_the_same_state(
    networks: Lease, inputs: dict[str, NDArray[np.float32]]
) -> None:
    sampler, state = draw_live(networks, inputs)
    order = BlockOrder(sit(inputs), tuple(inputs["audio_tokens"][0, :4]), 2)
    first = sampler.draw(state, order)
    sampler.draw(first, order)
    again = sampler.draw(state, order)
    for one, other in zip(first.past, again.past, strict=True):
        np.testing.assert_array_equal(one.latents, other.latents)
    moved = [np.abs(frame.latents - state.past[-1].latents).max() for frame in first.past[-4:]]
    assert min(moved) > 0
