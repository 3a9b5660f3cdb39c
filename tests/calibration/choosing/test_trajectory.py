"""A window's way from noise to latents."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from echoexport.calibration.choosing.trajectory import (
    TrajectorySettings,
    choose_starts,
    run_trajectory,
)
from echoexport.calibration.sample import Sample
from echoexport.runtime.contract.noise_schedule import SchedulerConfig
from echoexport.runtime.errors import CalibrationError
from echoexport.runtime.sampling.ddim import DDIMScheduler, sinusoid

Arrays = Mapping[str, np.ndarray]


def start(portrait: str = "a.png", *, step: int | None = 0, seed: int = 0) -> Sample:
    draw = np.random.default_rng(seed)
    inputs = {
        "latents": draw.standard_normal((1, 4, 3, 2, 2)).astype(np.float32),
        "timestep_sinusoid": sinusoid([999], 8),
        "audio_tokens": np.ones((1, 3, 5, 6), np.float32),
        "face_feature": np.ones((1, 8, 1, 2, 2), np.float32),
        "reference_gate": np.ones(1, np.float32),
    }
    return Sample("denoising_unet", inputs, portrait, "voice.wav", step=step)


def test_the_latents_are_those_of_the_samplers_own_arithmetic() -> None:
    seen: list[np.ndarray] = []

    def denoise(inputs: Arrays) -> Arrays:
        seen.append(inputs["timestep_sinusoid"])
        return {"velocity": np.tanh(inputs["latents"])}

    settings = TrajectorySettings(SchedulerConfig(), 4)
    sample = start()
    found = run_trajectory(denoise, sample, settings=settings)
    scheduler = DDIMScheduler()
    latents = sample.inputs["latents"]
    timesteps = scheduler.timesteps(4)
    for timestep in timesteps:
        latents = scheduler.step(np.tanh(latents), int(timestep), latents, steps=4)[0]
    np.testing.assert_allclose(found, latents, rtol=1e-6)
    np.testing.assert_array_equal(np.concatenate(seen), sinusoid(timesteps, 8))


def test_guidance_asks_twice_and_moves_away_from_the_blank_answer() -> None:
    gates: list[float] = []

    def denoise(inputs: Arrays) -> Arrays:
        gates.append(float(inputs["reference_gate"][0]))
        assert (inputs["audio_tokens"].any(), inputs["face_feature"].any()) == (
            gates[-1] == 1,
            gates[-1] == 1,
        )
        return {"velocity": np.full_like(inputs["latents"], 1.0 + gates[-1])}

    run_trajectory(
        denoise, start(), settings=TrajectorySettings(SchedulerConfig(), 2, guidance=2.5)
    )
    assert gates == [1, 0, 1, 0]


def test_starts_come_from_as_many_portraits_as_there_are() -> None:
    samples = [
        start("a.png", seed=1),
        start("a.png", seed=2),
        start("b.png"),
        start("c.png", step=1),
    ]
    assert [sample.portrait for sample in choose_starts(samples, most=2)] == ["a.png", "b.png"]
    assert len(choose_starts(samples, most=9)) == 3


def test_a_set_without_a_first_step_is_refused() -> None:
    with pytest.raises(CalibrationError, match="no sample of a first step"):
        choose_starts([start(step=1)], most=1)
