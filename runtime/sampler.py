"""The sampling loop: noise to latents, window by window, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.bundle import Bundle
from echoexport.runtime.scheduler import DDIMScheduler, sinusoid
from echoexport.runtime.windows import Windows, context_windows, shifted_windows

Gather = Callable[[Iterable[int]], NDArray[np.float32]]
"""Frame indices of a window to that window's array."""


@dataclass(frozen=True)
class Conditions:
    """What every call of the denoiser gets: audio (1, f, tokens, width), face (1, C0, 1 or f, h, w), reference."""

    audio: Gather
    face: Gather
    reference: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class SamplingPlan:
    """Numbers of one run. ``guidance`` above 1 costs a second, unconditional call for each window."""

    steps: int
    guidance: float
    overlap: int

    @property
    def guided(self) -> bool:
        """Whether the unconditional half is computed, as in the original for a guidance above 1."""
        return self.guidance > 1.0


@dataclass(frozen=True)
class SamplingStep:
    """What one step did. velocity is averaged over windows, guidance applied; latents are those after the step."""

    index: int
    timestep: int
    windows: Windows
    velocity: NDArray[np.float32]
    latents: NDArray[np.float32]


@dataclass(frozen=True)
class SamplingHooks:
    """Callbacks: ``on_step`` after each step, ``on_call`` after each window with (calls done, calls in all)."""

    on_step: Callable[[SamplingStep], None] | None = None
    on_call: Callable[[int, int], None] | None = None


def sample_latents(
    bundle: Bundle, latents: NDArray[np.float32], *, conditions: Conditions, plan: SamplingPlan,
    hooks: SamplingHooks | None = None,
) -> NDArray[np.float32]:  # fmt: skip
    """Denoise (1, 4, F, h, w) noise to latents of the same shape; F is at least the bundle's window.

    Velocities of overlapping windows are averaged, always (the original forgets to in two of its variants when
    guidance is off). Returns float32.

    Raises:
        SettingError: a number of steps or an overlap that cannot work.
    """
    manifest, hooks = bundle.manifest, hooks or SamplingHooks()
    scheduler = DDIMScheduler(manifest.sampler.scheduler)
    timesteps = scheduler.timesteps(plan.steps)
    frames = latents.shape[2]
    windows = context_windows(frames, context=manifest.window.frames, overlap=plan.overlap)
    total, done = len(timesteps) * len(windows), 0
    denoiser = _Denoiser(bundle, conditions, guided=plan.guided)
    for index, timestep in enumerate(int(t) for t in timesteps):
        shifted = shifted_windows(windows, index, shift=manifest.window.shift, frames=frames)
        sums = _WindowSums(latents.shape, halves=2 if plan.guided else 1)
        for window in shifted:
            sums.add(window, denoiser.run(latents, window=window, timestep=timestep))
            done += 1
            if hooks.on_call is not None:
                hooks.on_call(done, total)
        velocity = sums.combine(plan.guidance)
        latents = scheduler.step(velocity, timestep, latents, steps=plan.steps)[0]
        if hooks.on_step is not None:
            hooks.on_step(SamplingStep(index, timestep, shifted, velocity, latents))
    return latents


class _WindowSums:
    """Velocities added up per frame, and how many windows gave one."""

    def __init__(self, shape: tuple[int, ...], *, halves: int) -> None:
        self._sums = [np.zeros(shape, np.float32) for _ in range(halves)]
        self._counts = np.zeros(shape[2], np.float32)

    def add(self, window: tuple[int, ...], velocities: list[NDArray[np.float32]]) -> None:
        indices = list(window)  # a window names each frame once, so plain indexing adds up rightly
        for total, velocity in zip(self._sums, velocities, strict=True):
            total[:, :, indices] += velocity
        self._counts[indices] += 1

    def combine(self, guidance: float) -> NDArray[np.float32]:
        means = [total / self._counts[None, None, :, None, None] for total in self._sums]
        if len(means) == 1:
            return means[0]
        conditional, unconditional = means
        combined: NDArray[np.float32] = unconditional + np.float32(guidance) * (conditional - unconditional)
        return combined


class _Denoiser:
    """Calls the denoising UNet for one window, and for its unconditional half where guidance is on."""

    def __init__(self, bundle: Bundle, conditions: Conditions, *, guided: bool) -> None:
        self._network = bundle.network("denoising_unet")
        self._conditions = conditions
        self._guided = guided
        self._shapes = {tensor.name: tensor.shape for tensor in self._network.spec.inputs}

    def run(self, latents: NDArray[np.float32], *, window: tuple[int, ...], timestep: int) -> list[NDArray[np.float32]]:
        """Velocity of the window's frames, (1, 4, f, h, w); with guidance also the unconditional one, second."""
        time_width = self._shapes["timestep_sinusoid"][1]
        common = {
            "latents": latents[:, :, list(window)],
            "timestep_sinusoid": sinusoid([timestep], time_width),
            **self._conditions.reference,
        }
        audio, face = self._conditions.audio(window), self._conditions.face(window)
        velocities = [self._call(common, audio=audio, face=face, gate=1.0)]
        if self._guided:
            velocities.append(self._call(common, audio=np.zeros_like(audio), face=np.zeros_like(face), gate=0.0))
        return velocities

    def _call(
        self, common: Mapping[str, NDArray[np.float32]], *, audio: NDArray[np.float32], face: NDArray[np.float32],
        gate: float,
    ) -> NDArray[np.float32]:  # fmt: skip
        own = {"audio_tokens": audio, "face_feature": face, "reference_gate": np.full(1, gate, np.float32)}
        velocity = self._network({**common, **own})["velocity"]
        return velocity.astype(np.float32, copy=False)
