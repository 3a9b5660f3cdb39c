"""A clip sampled frame by frame is the one sampled step by step, and holds little of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echoexport.runtime.bundle.opened import Bundle, Lease
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import Arrays, Backend, Engine, EngineOptions
from echoexport.runtime.errors import SettingError
from echoexport.runtime.sampling.ddim import DDIMScheduler
from echoexport.runtime.sampling.denoiser import Conditions
from echoexport.runtime.sampling.noise import SeededNoise, initial_latents
from echoexport.runtime.sampling.sampler import Sampling, SamplingHooks, SamplingSettings
from echoexport.runtime.sampling.windows import context_windows, shifted_windows

WINDOW = 4  # frames; the null bundle's
SHIFT = 2
SHAPE = (4, 4, 4)


class MixingEngine(Engine):
    """A denoiser in which every frame of a window depends on all others, and on its place."""

    precision = "fp32"
    lanes = 1

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        return {"velocity": mix(inputs["latents"])}

    def close(self) -> None:
        """Nothing to close."""


class MixingBackend(Backend):
    """Opens that engine."""

    name = "mixing"

    def unavailable(self) -> str | None:
        return None

    def describe(self) -> str:
        return "mixes a window's frames"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> MixingEngine:
        return MixingEngine()


def mix(latents: np.ndarray) -> np.ndarray:
    places = np.arange(latents.shape[2], dtype=np.float32)[None, None, :, None, None]
    mixed = latents.mean(axis=2, keepdims=True) + np.float32(0.1) * places
    return np.asarray(mixed + np.float32(0.01) * latents, np.float32)


@pytest.fixture
def networks(null_bundle: Path) -> Lease:
    manifest = read_manifest(null_bundle)
    bundle = Bundle(null_bundle, manifest, backend=MixingBackend(), options=EngineOptions())
    return bundle.lease()


def open_sampling(networks: Lease, *, frames: int, steps: int, overlap: int, **more: Any) -> Any:
    shapes = {t.name: t.shape for t in networks.manifest.networks["denoising_unet"].inputs}
    tokens = np.zeros(shapes["audio_tokens"], np.float32)
    conditions = Conditions(
        audio=lambda _: tokens,
        face=lambda _: np.zeros(shapes["face_feature"], np.float32),
        reference={
            name: np.zeros(shape, np.float32)
            for name, shape in shapes.items()
            if name.startswith("reference_") and len(shape) == 3
        },
    )
    return Sampling(
        networks,
        SeededNoise(3, frames=frames, shape=SHAPE, clamp=None),
        conditions=conditions,
        settings=SamplingSettings(steps, 1.0, overlap),
        **more,
    )


def sample_plainly(*, frames: int, steps: int, overlap: int) -> np.ndarray:
    """The whole clip, step by step, every array whole."""
    scheduler = DDIMScheduler()
    latents = initial_latents(3, frames=frames, shape=SHAPE, clamp=None)
    windows = context_windows(frames, context=WINDOW, overlap=overlap)
    for step, timestep in enumerate(scheduler.timesteps(steps)):
        total = np.zeros_like(latents)
        counts = np.zeros(frames, np.float32)
        for window in shifted_windows(windows, step, shift=SHIFT, frames=frames):
            total[:, :, list(window)] += mix(latents[:, :, list(window)])
            counts[list(window)] += 1
        velocity = total / counts[None, None, :, None, None]
        latents = scheduler.step(velocity, int(timestep), latents, steps=steps)[0]
    return latents


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    frames=st.integers(WINDOW, 60),
    steps=st.sampled_from([1, 2, 4, 7]),
    overlap=st.integers(0, 2),
    keep=st.booleans(),
)
def test_frames_asked_for_in_order_are_those_of_plain_sampling_to_the_bit(
    networks: Lease, frames: int, steps: int, overlap: int, keep: bool
) -> None:
    plain = sample_plainly(frames=frames, steps=steps, overlap=overlap)
    sampling = open_sampling(networks, frames=frames, steps=steps, overlap=overlap, keep=keep)
    found = [sampling.frame(index) for index in range(frames)]
    # three windows meet where a clip closes on itself, and are added in another order
    exact = frames % (WINDOW - overlap) == 0
    difference = np.abs(np.stack(found, axis=2) - plain).max()
    assert difference == 0 if exact else difference < 1e-6
    assert sampling.done


@pytest.mark.parametrize("overlap", [1, 2])
@pytest.mark.parametrize("steps", [2, 7])
def test_what_is_held_does_not_grow_with_the_clip(
    networks: Lease, steps: int, overlap: int
) -> None:
    most = {}
    for frames in (120, 600):
        sampling = open_sampling(networks, frames=frames, steps=steps, overlap=overlap, keep=False)
        held = []
        for index in range(frames):
            sampling.frame(index)
            held.append(sampling.held)
        most[frames] = max(held)
    assert most[120] == most[600] <= 6 * WINDOW * (steps + 1)


def test_a_sampling_that_is_over_holds_nothing_but_what_is_kept(networks: Lease) -> None:
    sampling = open_sampling(networks, frames=30, steps=3, overlap=1)
    assert sampling.finish().shape == (1, 4, 30, 4, 4)
    assert sampling.held == 0


def test_a_frame_that_was_given_and_not_kept_is_refused(networks: Lease) -> None:
    sampling = open_sampling(networks, frames=10, steps=2, overlap=1, keep=False)
    sampling.frame(3)
    with pytest.raises(SettingError, match="frame 3: its latents were given before"):
        sampling.frame(3)
    with pytest.raises(SettingError, match="keep=True"):
        sampling.finish()


def test_who_follows_the_steps_has_all_kept(networks: Lease) -> None:
    seen = []
    hooks = SamplingHooks(on_step=seen.append)
    sampling = open_sampling(networks, frames=20, steps=3, overlap=1, hooks=hooks, keep=False)
    frames = [sampling.frame(index) for index in range(20)]
    assert [step.index for step in seen] == [0, 1, 2]
    np.testing.assert_array_equal(seen[-1].latents, np.stack(frames, axis=2))
    np.testing.assert_array_equal(sampling.finish(), seen[-1].latents)
