"""Held-out clips, and cases of them whose true frames are drawn once."""

from __future__ import annotations

from pathlib import Path

import pytest

from echoexport.export.demo.gates.clips import GateCase, join_clips, pair_up
from echoexport.export.demo.gates.run import GateSettings, list_cases
from echoexport.export.demo.held_out import HeldOutClip, read_held_out

HELD_OUT = Path(__file__).parents[1] / "data" / "held_out.npz"


@pytest.fixture(scope="session")
def gate_settings() -> GateSettings:
    return GateSettings(clips=3, silent=1, seconds=2.0, size=64, drift_seconds=0.0)


@pytest.fixture(scope="session")
def clips() -> list[HeldOutClip]:
    return read_held_out(HELD_OUT)


@pytest.fixture(scope="session")
def cases(clips: list[HeldOutClip], gate_settings: GateSettings) -> list[GateCase]:
    """Three speaking clips, a silent one and a long one; a case keeps its frames."""
    long = pair_up(join_clips(clips[5:8], seconds=2.4), person=1_000_099, fps=10.0, size=64)
    return [*list_cases(clips, gate_settings), long]
