"""The noise schedule's settings: what the sampler does not have is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from echoexport.runtime.contract.noise_schedule import SchedulerConfig
from echoexport.runtime.errors import SettingError


@pytest.mark.parametrize(
    "setting",
    [
        {"beta_schedule": "squaredcos_cap_v2"},
        {"prediction_type": "epsilon"},
        {"spacing": "leading"},
        {"train_steps": 1},
        {"train_steps": 10.5},
        {"beta_start": 0.0},
        {"beta_end": 1.0},
        {"beta_end": float("nan")},
    ],
)
def test_a_schedule_that_is_not_implemented_is_refused_by_name(setting: dict[str, Any]) -> None:
    (name, value), *_ = setting.items()
    with pytest.raises(SettingError, match=rf"{name}.*{value}"):
        SchedulerConfig(**setting)
