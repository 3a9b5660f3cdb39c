"""A short sampling run of one window, with any function in the denoiser's place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoexport.calibration.sample import Sample
from echoexport.runtime.contract.noise_schedule import SchedulerConfig
from echoexport.runtime.errors import CalibrationError
from echoexport.runtime.sampling.ddim import DDIMScheduler, sinusoid
from echoexport.runtime.sampling.denoiser import blank, guide, is_guided

_Arrays = Mapping[str, NDArray[np.float32]]
Denoise = Callable[[_Arrays], _Arrays]
"""A denoising UNet: its inputs by name to {"velocity": (1, 4, f, h, w)}."""


@dataclass(frozen=True)
class TrajectorySettings:
    """How latents are sampled.

    ``guidance`` above 1 costs a second call a step, as in the runtime.
    """

    scheduler: SchedulerConfig
    steps: int
    guidance: float = 1.0


def choose_starts(samples: list[Sample], *, most: int) -> list[Sample]:
    """Samples of a first step, from as many portraits as can be, at most ``most``.

    Raises:
        CalibrationError: none is of a first step.
    """
    firsts = [sample for sample in samples if sample.step == 0]
    if not firsts:
        raise CalibrationError(
            "the calibration set holds no sample of a first step; record it again"
        )
    chosen: list[Sample] = []
    while firsts and len(chosen) < most:
        seen = [sample.portrait for sample in chosen]
        best = min(firsts, key=lambda sample: seen.count(sample.portrait))
        chosen.append(best)
        firsts.remove(best)
    return chosen


def run_trajectory(
    denoise: Denoise, start: Sample, *, settings: TrajectorySettings
) -> NDArray[np.float32]:
    """The final latents (1, 4, f, h, w) of the window that ``start`` is the first call of.

    The sample gives the noise, the audio, the face and the reference. The window does
    not move from step to step, so all that a denoiser's error can do to these frames
    happens here, without the rest of the clip.
    """
    scheduler = DDIMScheduler(settings.scheduler)
    latents = start.inputs["latents"]
    width = start.inputs["timestep_sinusoid"].shape[1]
    for timestep in scheduler.timesteps(settings.steps):
        now = {**start.inputs, "latents": latents, "timestep_sinusoid": sinusoid([timestep], width)}
        velocity = _denoise_once(denoise, now, guidance=settings.guidance)
        latents = scheduler.step(velocity, int(timestep), latents, steps=settings.steps)[0]
    return latents


def _denoise_once(
    denoise: Denoise, inputs: dict[str, NDArray[np.float32]], *, guidance: float
) -> NDArray[np.float32]:
    inputs = {**inputs, "reference_gate": np.ones(1, np.float32)}
    conditional = np.asarray(denoise(inputs)["velocity"], np.float32)
    if not is_guided(guidance):
        return conditional
    unconditional = np.asarray(denoise(blank(inputs))["velocity"], np.float32)
    return guide(conditional, unconditional, guidance)
