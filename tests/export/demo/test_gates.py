"""The gates let the truth pass, and each of them stops what it is there for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from echoexport.export.demo.gate_clips import (
    GateCase,
    find_silence,
    join_clips,
    measure_case,
    measure_drift,
    pair_up,
)
from echoexport.export.demo.gate_mouth import draw_person_frames
from echoexport.export.demo.gate_strip import draw_strip
from echoexport.export.demo.gates import (
    GateReport,
    GateSettings,
    format_report,
    judge,
    list_cases,
    run_gates,
)
from echoexport.export.demo.held_out import HeldOutClip, make_silent_clip, read_held_out
from echoexport.export.demo.world.state import FaceState
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.errors import InputError

HELD_OUT = Path(__file__).parent / "data" / "held_out.npz"
SETTINGS = GateSettings(clips=3, silent=1, seconds=2.0, size=64, drift_seconds=0.0)
Spoil = Callable[[np.ndarray, GateCase], np.ndarray]


@pytest.fixture(scope="module")
def clips() -> list[HeldOutClip]:
    return read_held_out(HELD_OUT)


@pytest.fixture(scope="module")
def cases(clips: list[HeldOutClip]) -> list[GateCase]:
    """Drawn once: a case keeps its frames."""
    long = pair_up(join_clips(clips[5:8], seconds=2.4), person=1_000_099, fps=10.0, size=64)
    return [*list_cases(clips, SETTINGS), long]


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


def test_a_renderer_with_the_wrong_number_of_frames_is_refused(cases: list[GateCase]) -> None:
    with pytest.raises(InputError, match="the renderer gave"):
        measure_case(cases[0], lambda *_: cases[0].truth[:-1])


def test_the_measure_reads_true_frames_at_full_size(clips: list[HeldOutClip]) -> None:
    case = pair_up(clips[1], person=1_000_050, fps=12.5, size=128, seconds=3.0)
    result, _ = measure_case(case, lambda *_: case.truth)
    assert result.truth_correlation is not None
    assert result.truth_correlation > 0.99
    assert result.closed_frames == result.silent_frames


def test_a_run_goes_on_from_known_results_and_its_report_is_json(
    clips: list[HeldOutClip], cases: list[GateCase], tmp_path: Path
) -> None:
    known = [measure_case(case, lambda *_, case=case: case.truth)[0] for case in cases[:-1]]
    fresh: list[str] = []
    report = run_gates(
        lambda *_: cases[0].truth,
        clips,
        settings=SETTINGS,
        known=known[1:],
        on_clip=lambda result, frames, case: fresh.append(result.name),
    )
    assert fresh == [known[0].name]
    assert parse(GateReport, json.loads(json.dumps(dump(report))), where="report") == report
    assert format_report(report).count("\n") == len(report.lines) + 2
    draw_strip(
        tmp_path / "strip.png", cases[0].truth, cases[0].clip.samples, result=report.clips[0]
    )
    assert (tmp_path / "strip.png").read_bytes()[:4] == b"\x89PNG"


def test_only_closures_of_a_fifth_of_a_second_are_silence() -> None:
    openness = np.array([0.0] * 5 + [0.5] * 3 + [0.0] * 4 + [0.5] * 2)
    assert find_silence(openness, fps=25).tolist() == [True] * 5 + [False] * 9


def test_too_few_held_out_clips_are_refused() -> None:
    with pytest.raises(InputError, match="40 speaking and 3 silent"):
        list_cases([make_silent_clip(1.0, name="quiet")], GateSettings())
