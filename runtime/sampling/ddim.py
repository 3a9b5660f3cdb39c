"""The DDIM sampler's arithmetic: noise schedule, timesteps, one step, timestep embedding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echoexport.runtime.contract.noise_schedule import SchedulerConfig, is_whole
from echoexport.runtime.errors import SettingError

__all__ = ["DDIMScheduler", "sinusoid"]

LONGEST_PERIOD = 10000.0
"""Longest wavelength of the timestep embedding, in steps (over 2 pi)."""


class DDIMScheduler:
    """Deterministic DDIM (eta 0) for velocity-predicting networks; holds no state between steps.

    ``alphas_cumprod`` is the (train_steps,) float32 product of 1 - beta; with zero
    terminal SNR its last value is exactly 0, so that sampling starts from pure noise.
    """

    def __init__(self, config: SchedulerConfig | None = None) -> None:
        self.config = config or SchedulerConfig()
        self.alphas_cumprod = _alphas_cumprod(self.config)
        self.alphas_cumprod.setflags(write=False)

    def timesteps(self, steps: int) -> NDArray[np.int64]:
        """Timesteps of a run, (steps,) int64, noisiest first.

        Timestep i is round(T - i T / steps) - 1, rounded half to even.

        Raises ``SettingError`` for fewer than 1 or more than T steps, and for the step
        counts (61, 103, 121, ...) where the original's float arithmetic gives one
        timestep more than asked for.
        """
        self._check_steps(steps)
        return _trailing(self.config.train_steps, steps)

    def step(
        self, velocity: NDArray[Any], timestep: int, sample: NDArray[Any], *, steps: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One step from ``timestep`` towards clean.

        Returns the next sample and the clean sample that it implies. ``velocity`` and
        ``sample`` have one shape, any; both results are float32 of that shape. As in
        the original, the step ends at ``timestep - train_steps // steps``, which need
        not be the run's next timestep; below 0 it ends at the clean sample. Formula:
        Song et al. 2021 (DDIM, eta 0) with the velocity of Salimans and Ho 2022: x0 =
        sqrt(a) x - sqrt(1-a) v, noise = sqrt(a) v + sqrt(1-a) x.
        """
        if velocity.shape != sample.shape:
            raise SettingError(
                f"velocity {velocity.shape} and sample {sample.shape} must have the same shape"
            )
        if not 0 <= timestep < self.config.train_steps:
            raise SettingError(f"timestep {timestep} is outside 0..{self.config.train_steps - 1}")
        self._check_steps(steps)
        signal, noise = _mix(self.alphas_cumprod[timestep])
        previous = int(timestep) - self.config.train_steps // int(steps)
        next_signal, next_noise = _mix(
            self.alphas_cumprod[previous] if previous >= 0 else np.float32(1.0)
        )
        v = velocity.astype(np.float32, copy=False)
        x = sample.astype(np.float32, copy=False)
        original = signal * x - noise * v
        return next_signal * original + next_noise * (signal * v + noise * x), original

    def mix(self, timestep: int) -> tuple[np.float32, np.float32]:
        """Factors of signal and noise at a timestep: sqrt(a) and sqrt(1 - a)."""
        return _mix(self.alphas_cumprod[timestep])

    def _check_steps(self, steps: int) -> None:
        total = self.config.train_steps
        if is_whole(steps) and _gives_as_many_as_asked(total, steps):
            return
        wanted = float(steps) if isinstance(steps, (int, float)) and math.isfinite(steps) else 1.0
        nearest = min(
            (n for n in range(1, total + 1) if _gives_as_many_as_asked(total, n)),
            key=lambda n: abs(n - wanted),
        )
        raise SettingError(
            f"{steps!r} sampling steps do not work; the nearest count that does: {nearest} "
            f"(1 to {total}, but for a few)"
        )


def sinusoid(timesteps: ArrayLike, dim: int) -> NDArray[np.float32]:
    """Timestep embedding: (n,) timesteps to (n, dim) float32, cosines first, then sines.

    Angle i of t is t * exp(-ln(10000) i / (dim / 2)). Exponents, frequencies and angles
    are rounded to float32, as the networks were trained with them. Raises
    ``SettingError`` for an odd ``dim``.
    """
    if not is_whole(dim) or dim < 2 or dim % 2:
        raise SettingError(f"a timestep embedding needs an even width from 2 on, not {dim!r}")
    half = dim // 2
    exponents = (
        np.float32(-math.log(LONGEST_PERIOD)) * np.arange(half, dtype=np.float32) / np.float32(half)
    )
    # exp, cos and sin in float64: numpy's float32 versions depend on the CPU and err by
    # more than one bit.
    frequencies = np.exp(exponents.astype(np.float64)).astype(np.float32)
    steps = np.atleast_1d(np.asarray(timesteps)).astype(np.float32)
    if steps.ndim != 1:
        raise SettingError(
            f"timesteps must be one number or a row of them, not of shape {steps.shape}"
        )
    angles = (steps[:, None] * frequencies[None, :]).astype(np.float64)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def _alphas_cumprod(config: SchedulerConfig) -> NDArray[np.float32]:
    """Signal's share of the variance per timestep, rounded to float32 where the original rounds.

    Near the end the rescaled values are differences of nearly equal float32 numbers, so
    the last few dozen carry a relative error of some 1e-6 (below 2e-11 in absolute
    terms) that depends on the machine.
    """
    power = 0.5 if config.beta_schedule == "scaled_linear" else 1.0
    start = config.beta_start**power
    end = config.beta_end**power
    betas = np.linspace(start, end, config.train_steps, dtype=np.float32) ** np.float32(1.0 / power)
    kept = (np.float32(1.0) - betas).astype(np.float64)
    alphas: NDArray[np.float32] = np.cumprod(kept).astype(np.float32)
    if not config.rescale_zero_snr:
        return alphas
    # Lin et al. 2024, algorithm 1: shift sqrt(alpha) so that the last is 0, scale so
    # that the first stays.
    roots = np.sqrt(alphas)
    first = roots[0]
    last = roots[-1]
    rescaled: NDArray[np.float32] = np.square((roots - last) * (first / (first - last)))
    return rescaled


def _mix(alpha: np.float32) -> tuple[np.float32, np.float32]:
    """Factors of signal and noise at one share of signal."""
    return np.sqrt(alpha), np.sqrt(np.float32(1.0) - alpha)


def _trailing(total: int, steps: int) -> NDArray[np.int64]:
    return np.round(np.arange(total, 0, -total / steps)).astype(np.int64) - 1


def _gives_as_many_as_asked(total: int, steps: int) -> bool:
    return 1 <= steps <= total and len(_trailing(total, steps)) == steps
