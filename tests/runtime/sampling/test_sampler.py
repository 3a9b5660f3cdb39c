"""The sampling loop on made-up denoisers, whose right answers are known in closed form."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime.bundle.opened import Bundle, Lease
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import Arrays, Backend, Engine, EngineOptions
from echoexport.runtime.errors import SettingError
from echoexport.runtime.sampling.ddim import DDIMScheduler, sinusoid
from echoexport.runtime.sampling.denoiser import Conditions
from echoexport.runtime.sampling.noise import initial_latents
from echoexport.runtime.sampling.sampler import (
    Sampling,
    SamplingHooks,
    SamplingSettings,
    SamplingStep,
    sample_latents,
)
from echoexport.runtime.sampling.windows import context_windows, shifted_windows

Denoiser = Callable[[Arrays], np.ndarray]
FRAMES = 10  # of the clip; the null bundle's window holds 4


class FakeEngine(Engine):
    """A denoiser given as a function; keeps copies of what it was called with."""

    precision = "fp32"
    lanes = 1

    def __init__(self, denoise: Denoiser) -> None:
        self.denoise = denoise
        self.given: list[dict[str, np.ndarray]] = []

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        self.given.append({name: array.copy() for name, array in inputs.items()})
        return {"velocity": self.denoise(inputs)}

    def close(self) -> None:
        """Nothing to close."""


class FakeBackend(Backend):
    """Opens the one engine it was made with."""

    name = "fake"

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine

    def unavailable(self) -> str | None:
        return None

    def describe(self) -> str:
        return "a function"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> FakeEngine:
        return self.engine


def fake_bundle(folder: Path, denoise: Denoiser) -> tuple[Lease, FakeEngine]:
    engine = FakeEngine(denoise)
    bundle = Bundle(
        folder, read_manifest(folder), backend=FakeBackend(engine), options=EngineOptions()
    )
    return bundle.lease(), engine


def frame_conditions(networks: Lease) -> Conditions:
    """Audio tokens and face features that say which frame they belong to; references of sevens."""
    shapes = {t.name: t.shape for t in networks.manifest.networks["denoising_unet"].inputs}
    tokens = shapes["audio_tokens"]
    face = shapes["face_feature"]
    reference = {
        n: np.full(s, 7, np.float32)
        for n, s in shapes.items()
        if n.startswith("reference_") and len(s) == 3
    }

    def audio(indices: object) -> np.ndarray:
        frames = np.array(list(indices), np.float32)  # type: ignore[call-overload]
        return np.broadcast_to(frames[None, :, None, None], (1, len(frames), *tokens[2:])).copy()

    return Conditions(audio=audio, face=lambda _: np.ones(face, np.float32), reference=reference)


def noise(frames: int = FRAMES) -> np.ndarray:
    return initial_latents(3, frames=frames, shape=(4, 4, 4), clamp=None)


def velocity_of_frame(inputs: Arrays) -> np.ndarray:
    """A velocity that is the frame's index, read from its audio tokens."""
    frames = inputs["audio_tokens"][0, :, 0, 0]
    return np.broadcast_to(frames[None, None, :, None, None], inputs["latents"].shape).astype(
        np.float32
    )


def sample(
    networks: Lease,
    latents: np.ndarray,
    *,
    steps: int = 3,
    guidance: float = 1.0,
    overlap: int = 1,
) -> tuple[np.ndarray, list[SamplingStep]]:
    seen: list[SamplingStep] = []
    result = sample_latents(
        networks,
        latents,
        conditions=frame_conditions(networks),
        settings=SamplingSettings(steps, guidance, overlap),
        hooks=SamplingHooks(on_step=seen.append),
    )
    return result, seen


@pytest.mark.parametrize("overlap", [0, 1, 2, 3])
def test_overlapping_windows_that_agree_give_what_one_window_gives(
    null_bundle: Path, overlap: int
) -> None:
    networks, _ = fake_bundle(null_bundle, velocity_of_frame)
    _, steps = sample(networks, noise(), overlap=overlap)
    for step in steps:
        np.testing.assert_allclose(step.velocity[0, 0, :, 0, 0], np.arange(FRAMES), rtol=1e-6)


def test_overlapping_windows_that_disagree_are_averaged_frame_by_frame(null_bundle: Path) -> None:
    numbers = iter(range(1000))

    def denoise(inputs: Arrays) -> np.ndarray:
        return np.full(inputs["latents"].shape, float(next(numbers)), np.float32)

    networks, _ = fake_bundle(null_bundle, denoise)
    _, steps = sample(networks, noise(), steps=1, overlap=2)
    windows = context_windows(FRAMES, context=4, overlap=2)
    for frame in range(FRAMES):
        wanted = np.mean([number for number, window in enumerate(windows) if frame in window])
        np.testing.assert_allclose(steps[0].velocity[:, :, frame], wanted, rtol=1e-6)


def test_each_window_sees_its_own_frames_of_the_latents_in_order(null_bundle: Path) -> None:
    networks, engine = fake_bundle(null_bundle, lambda inputs: np.zeros_like(inputs["latents"]))
    start = noise()
    sample(networks, start, steps=1)
    for window, given in zip(
        context_windows(FRAMES, context=4, overlap=1), engine.given, strict=True
    ):
        np.testing.assert_array_equal(given["latents"], start[:, :, list(window)])
        np.testing.assert_array_equal(given["audio_tokens"][0, :, 0, 0], window)


def test_windows_move_on_by_the_bundles_shift_at_each_step(null_bundle: Path) -> None:
    networks, _ = fake_bundle(null_bundle, velocity_of_frame)
    _, steps = sample(networks, noise())
    windows = context_windows(FRAMES, context=4, overlap=1)
    assert [s.windows for s in steps] == [
        shifted_windows(windows, i, shift=2, frames=FRAMES) for i in range(3)
    ]


def test_latents_follow_the_scheduler_from_step_to_step(null_bundle: Path) -> None:
    networks, _ = fake_bundle(null_bundle, velocity_of_frame)
    scheduler = DDIMScheduler(networks.manifest.sampler.scheduler)
    wanted = noise()
    result, steps = sample(networks, wanted)
    assert [step.timestep for step in steps] == scheduler.timesteps(3).tolist()
    for step in steps:
        wanted = scheduler.step(step.velocity, step.timestep, wanted, steps=3)[0]
        np.testing.assert_array_equal(step.latents, wanted)
    np.testing.assert_array_equal(result, wanted)
    assert result.dtype == np.float32


def test_a_denoiser_that_knows_the_answer_leads_to_it(null_bundle: Path) -> None:
    # with zero terminal SNR the velocity at the first timestep is minus the clean
    # sample
    clean = noise(4)
    networks, _ = fake_bundle(null_bundle, lambda inputs: -clean)
    result, _ = sample(networks, noise(4), steps=1)
    np.testing.assert_allclose(result, clean, atol=1e-6)


def test_the_starting_noise_is_left_as_it_was(null_bundle: Path) -> None:
    start = noise()
    sample(fake_bundle(null_bundle, velocity_of_frame)[0], start)
    np.testing.assert_array_equal(start, noise())


def test_guidance_moves_away_from_the_unconditional_velocity(null_bundle: Path) -> None:
    def denoise(inputs: Arrays) -> np.ndarray:
        return np.full(
            inputs["latents"].shape, 5.0 if inputs["reference_gate"][0] else 2.0, np.float32
        )

    networks, _ = fake_bundle(null_bundle, denoise)
    _, steps = sample(networks, noise(), guidance=2.5)
    for step in steps:
        np.testing.assert_allclose(step.velocity, 2.0 + 2.5 * (5.0 - 2.0), rtol=1e-6)


def test_the_unconditional_half_hears_and_sees_nothing(null_bundle: Path) -> None:
    networks, engine = fake_bundle(null_bundle, velocity_of_frame)
    sample(networks, noise(), steps=1, guidance=1.8)
    conditional = engine.given[::2]
    unconditional = engine.given[1::2]
    assert len(conditional) == len(unconditional) > 1
    for with_all, without in zip(conditional, unconditional, strict=True):
        assert (with_all["reference_gate"][0], without["reference_gate"][0]) == (1.0, 0.0)
        assert with_all["face_feature"].all()
        assert not without["face_feature"].any()
        assert not without["audio_tokens"].any()
        for name in ("latents", "timestep_sinusoid"):
            np.testing.assert_array_equal(with_all[name], without[name])


@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.0])
def test_guidance_of_one_or_less_costs_no_second_call(null_bundle: Path, guidance: float) -> None:
    networks, engine = fake_bundle(null_bundle, velocity_of_frame)
    sample(networks, noise(), steps=2, guidance=guidance)
    assert len(engine.given) == 2 * len(context_windows(FRAMES, context=4, overlap=1))
    assert all(given["reference_gate"][0] == 1.0 for given in engine.given)


def test_the_reference_and_the_timestep_reach_every_call(null_bundle: Path) -> None:
    networks, engine = fake_bundle(null_bundle, velocity_of_frame)
    _, steps = sample(networks, noise(4), steps=2)
    for step, given in zip(steps, engine.given, strict=True):
        np.testing.assert_array_equal(given["timestep_sinusoid"], sinusoid([step.timestep], 8))
        assert (given["reference_key.mid_block.attentions.0"] == 7).all()


def test_half_precision_velocities_are_summed_in_single(null_bundle: Path) -> None:
    networks, _ = fake_bundle(
        null_bundle, lambda inputs: np.full(inputs["latents"].shape, 6e4, np.float16)
    )
    _, steps = sample(networks, noise(), steps=1, overlap=3)
    np.testing.assert_allclose(steps[0].velocity, np.float16(6e4), rtol=1e-6)


def test_calls_are_counted_as_they_are_done(null_bundle: Path) -> None:
    networks, _ = fake_bundle(null_bundle, velocity_of_frame)
    told: list[tuple[int, int]] = []
    sample_latents(
        networks,
        noise(),
        conditions=frame_conditions(networks),
        settings=SamplingSettings(2, 3.0, 1),
        hooks=SamplingHooks(on_call=lambda done, total: told.append((done, total))),
    )
    assert told == [(i + 1, 8) for i in range(8)]


@pytest.mark.parametrize("steps", [0, -1, 61, 1001])
def test_a_number_of_steps_that_has_no_schedule_is_refused(null_bundle: Path, steps: int) -> None:
    networks, engine = fake_bundle(null_bundle, velocity_of_frame)
    with pytest.raises(SettingError, match="sampling steps do not work"):
        sample(networks, noise(), steps=steps)
    assert engine.given == []


@pytest.mark.parametrize("overlap", [-1, 4])
def test_an_overlap_that_the_window_does_not_hold_is_refused(
    null_bundle: Path, overlap: int
) -> None:
    with pytest.raises(SettingError, match="overlap"):
        sample(fake_bundle(null_bundle, velocity_of_frame)[0], noise(), overlap=overlap)


def start_sampling(
    networks: Lease, latents: np.ndarray, *, steps: int = 3, guidance: float = 1.0
) -> Sampling:
    settings = SamplingSettings(steps, guidance, 1)
    return Sampling(networks, latents, conditions=frame_conditions(networks), settings=settings)


def mix_neighbours(inputs: Arrays) -> np.ndarray:
    """A velocity in which every frame of a window depends on all others, and on its place."""
    latents = inputs["latents"]
    audio = inputs["audio_tokens"][0, :, 0, 0]
    mixed = latents.mean(axis=2, keepdims=True) + 0.1 * audio[None, None, :, None, None]
    return np.asarray(mixed + 0.01 * latents, np.float32)


@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_frames_asked_for_one_by_one_are_those_of_the_whole_clip(
    null_bundle: Path, steps: int, guidance: float
) -> None:
    networks, _ = fake_bundle(null_bundle, mix_neighbours)
    whole, _ = sample(networks, noise(29), steps=steps, guidance=guidance)
    sampling = start_sampling(networks, noise(29), steps=steps, guidance=guidance)
    for frame in range(29):
        np.testing.assert_array_equal(sampling.frame(frame), whole[:, :, frame])
    assert sampling.done


def test_frames_may_be_asked_for_in_any_order_and_again(null_bundle: Path) -> None:
    networks, _ = fake_bundle(null_bundle, mix_neighbours)
    whole, _ = sample(networks, noise(20))
    sampling = start_sampling(networks, noise(20))
    for frame in (7, 19, 0, 7, 12):
        np.testing.assert_array_equal(sampling.frame(frame), whole[:, :, frame])


def test_the_first_frame_of_a_long_clip_costs_a_fraction_of_the_calls(null_bundle: Path) -> None:
    networks, engine = fake_bundle(null_bundle, mix_neighbours)
    sampling = start_sampling(networks, noise(300), steps=3)
    sampling.frame(0)
    assert not sampling.done
    first = len(engine.given)
    sampling.finish()
    assert first <= 15 < len(engine.given) == 3 * 100  # windows of 4 frames that share 1


def test_every_window_runs_once_a_step_however_frames_are_asked_for(null_bundle: Path) -> None:
    networks, engine = fake_bundle(null_bundle, mix_neighbours)
    sampling = start_sampling(networks, noise(30), steps=4)
    for frame in range(30):
        sampling.frame(frame)
    assert len(engine.given) == 4 * len(context_windows(30, context=4, overlap=1))


def test_steps_are_told_in_their_order_though_frames_are_sampled_one_by_one(
    null_bundle: Path,
) -> None:
    networks, _ = fake_bundle(null_bundle, mix_neighbours)
    _, wanted = sample(networks, noise(25), steps=3)
    seen: list[SamplingStep] = []
    settings = SamplingSettings(3, 1.0, 1)
    hooks = SamplingHooks(on_step=seen.append)
    sampling = Sampling(
        networks, noise(25), conditions=frame_conditions(networks), settings=settings, hooks=hooks
    )
    for frame in range(25):
        sampling.frame(frame)
    assert [step.index for step in seen] == [0, 1, 2]
    for step, other in zip(seen, wanted, strict=True):
        np.testing.assert_array_equal(step.velocity, other.velocity)
        np.testing.assert_array_equal(step.latents, other.latents)


def test_lanes_change_nothing_but_who_calls(null_bundle: Path) -> None:
    networks, _ = fake_bundle(null_bundle, mix_neighbours)
    whole, _ = sample(networks, noise(40), steps=3)
    threads: set[str] = set()

    def denoise(inputs: Arrays) -> np.ndarray:
        threads.add(threading.current_thread().name)
        time.sleep(0.002)
        return mix_neighbours(inputs)

    networks, engine = fake_bundle(null_bundle, denoise)
    engine.lanes = 3
    sampling = start_sampling(networks, noise(40), steps=3)
    for frame in range(40):
        np.testing.assert_array_equal(sampling.frame(frame), whole[:, :, frame])
    assert len(threads) > 1
    assert len(engine.given) == 3 * len(context_windows(40, context=4, overlap=1))
