"""The noise schedule's settings, as checkpoints and manifests state them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from echoexport.runtime.errors import SettingError

BETA_SCHEDULES = ("linear", "scaled_linear")
PREDICTION_TYPES = ("v_prediction",)
SPACINGS = ("trailing",)


@dataclass(frozen=True)
class SchedulerConfig:
    """What the noise schedule is made of; the defaults are those EchoMimic was trained with.

    Raises ``SettingError`` for a value that this sampler does not implement.
    """

    train_steps: int = 1000
    """How many timesteps the network was trained with."""
    beta_start: float = 0.00085
    """Share of noise that the first timestep adds."""
    beta_end: float = 0.012
    """Share of noise that the last timestep adds."""
    beta_schedule: str = "linear"
    """How shares grow from one to the other, of ``BETA_SCHEDULES``."""
    rescale_zero_snr: bool = True
    """Whether the last timestep is pure noise."""
    prediction_type: str = "v_prediction"
    """What the network gives, of ``PREDICTION_TYPES``."""
    spacing: str = "trailing"
    """How a run's timesteps are spread, of ``SPACINGS``."""

    def __post_init__(self) -> None:
        for name, known in (
            ("beta_schedule", BETA_SCHEDULES),
            ("prediction_type", PREDICTION_TYPES),
            ("spacing", SPACINGS),
        ):
            value = getattr(self, name)
            if value not in known:
                raise SettingError(
                    f"scheduler {name} {value!r} is not supported; use {' or '.join(known)}"
                )
        if not is_whole(self.train_steps) or self.train_steps < 2:
            raise SettingError(
                f"scheduler train_steps must be a whole number from 2 on, not {self.train_steps!r}"
            )
        if not 0.0 < self.beta_start <= self.beta_end < 1.0:
            raise SettingError(
                f"scheduler betas must satisfy 0 < beta_start <= beta_end < 1, "
                f"not {self.beta_start!r} and {self.beta_end!r}"
            )


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number, numpy's included; True and False are none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
