"""The gates let the truth pass, and each of them stops what it is there for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from echoexport.export.demo.gates.clips import GateCase, measure_case, measure_drift
from echoexport.export.demo.gates.mouth import draw_person_frames
from echoexport.export.demo.gates.table import QualityGate, judge
from echoexport.export.demo.world.state import FaceState

Spoil = Callable[[np.ndarray, GateCase], np.ndarray]


def failures(cases: list[GateCase], spoil: Spoil) -> set[str]:
    """The gates that the true frames miss once they are spoilt."""
    results = [
        measure_case(case, lambda *_, case=case: spoil(case.truth, case))[0] for case in cases[:-1]
    ]
    found = measure_drift(cases[-1], lambda *_: spoil(cases[-1].truth, cases[-1]))
    return {line.name for line in judge(results, found) if not line.passed} - {"shuffled"}


def shift_levels(frames: np.ndarray, by: np.ndarray) -> np.ndarray:
    return np.clip(frames + by, 0, 255).astype(np.uint8)


def test_the_truth_passes_every_gate(cases: list[GateCase]) -> None:
    assert failures(cases, lambda frames, case: frames) == set()


def test_a_frozen_mouth_fails_lip_sync(cases: list[GateCase]) -> None:
    found = failures(
        cases, lambda frames, case: np.repeat(case.portrait[None], len(frames), axis=0)
    )
    assert {"correlation", "correlation_worst"} <= found
    assert "silence" not in found


def test_a_noisy_picture_fails_flicker(cases: list[GateCase]) -> None:
    noise = np.random.default_rng(0)
    found = failures(
        cases, lambda frames, case: shift_levels(frames, noise.uniform(-6, 6, frames.shape))
    )
    assert "flicker" in found
    assert not found & {"correlation", "delta_e", "silence"}


def test_a_mouth_four_frames_late_fails_lag(cases: list[GateCase]) -> None:
    assert "lag" in failures(
        cases, lambda frames, case: np.concatenate([frames[:1]] * 4 + [frames[:-4]])
    )


def test_wrong_colours_fail_the_colour_gate(cases: list[GateCase]) -> None:
    found = failures(cases, lambda frames, case: shift_levels(frames, np.array([14, -14, 10])))
    assert "delta_e" in found
    assert not found & {"correlation", "flicker", "silence"}


def test_a_mouth_that_never_closes_fails_silence(cases: list[GateCase]) -> None:
    def open_mouth(frames: np.ndarray, case: GateCase) -> np.ndarray:
        state = FaceState.rest(1).as_matrix()
        state[0, 0] = 0.6
        one = draw_person_frames(case.person, FaceState.from_matrix(state), size=case.size)
        return np.repeat(one, len(frames), axis=0)

    assert "silence" in failures(cases, open_mouth)


def test_colours_that_wander_fail_drift(cases: list[GateCase]) -> None:
    def wander(frames: np.ndarray, case: GateCase) -> np.ndarray:
        return shift_levels(
            frames, np.linspace(0, 8, len(frames))[:, None, None, None] * [1, 0, -1]
        )

    found = failures(cases, wander)
    assert {"drift_psnr", "drift_delta_e"} <= found
    assert "delta_e" not in found


@pytest.mark.parametrize(
    ("limit", "at_least", "value", "passes"),
    [
        (0.9, True, 0.9, True),
        (0.9, True, 0.89, False),
        (1.0, False, 1.0, True),
        (1.0, False, 1.1, False),
        (None, True, -5.0, True),
    ],
)
def test_a_limit_may_be_reached_and_not_passed(
    limit: float | None, at_least: bool, value: float, passes: bool
) -> None:
    assert QualityGate("name", "what", limit, at_least).passes(value) is passes
