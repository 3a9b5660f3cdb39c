"""The record of a machine: equal ones are one, and it can be written as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from echoexport.runtime.device import Device

DEVICES = Path(__file__).parents[2] / "fixtures" / "devices"
NAMES = sorted(path.name for path in DEVICES.iterdir() if path.is_dir())
Read = Callable[..., Device]


@pytest.mark.parametrize("name", NAMES)
def test_a_device_can_be_hashed_compared_and_written_as_json(
    recorded_device: Read, name: str
) -> None:
    assert len({recorded_device(name), recorded_device(name)}) == 1
    assert (
        json.loads(json.dumps(dataclasses.asdict(recorded_device(name))))["kind"]
        == recorded_device(name).kind
    )
