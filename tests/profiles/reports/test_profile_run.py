"""Profiling: stages add up, a slowed network is found, and the JSON comes back as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echoexport.profiles.measuring.modes import IN_TURNS, OVERLAPPED
from echoexport.profiles.measuring.rounds import Round
from echoexport.profiles.reports.mode_report import UNACCOUNTED, find_steady
from echoexport.profiles.reports.profile import (
    NOISE,
    ProfileReport,
    format_profile_json,
    make_timing,
    read_profile,
)
from echoexport.profiles.reports.profile_compare import find_culprits
from echoexport.profiles.reports.profile_run import Profiled, ProfilePlan
from echoexport.profiles.reports.verdict import find_noise, find_quicker, find_slowest, give_verdict
from echoexport.runtime.errors import InputError, SettingError
from echoexport.runtime.trace.tracer import Span


def test_both_ways_of_rendering_are_told_with_all_their_networks(
    null_report: ProfileReport,
) -> None:
    assert [mode.name for mode in null_report.modes] == [OVERLAPPED, IN_TURNS]
    for mode in null_report.modes:
        assert mode.frames == 24
        assert {network.name for network in mode.networks} >= {
            "denoising_unet",
            "vae_decoder",
            "audio_encoder",
        }
        decoder = mode.network("vae_decoder")
        assert decoder is not None and decoder.calls == 24
        assert [len(repeat) for repeat in decoder.host.samples] == [24] * 3
        assert mode.wall.figures.count == mode.first_frame.figures.count == 3
        assert 0 < mode.first_frame.figures.p50 < mode.wall.figures.p50
        assert set(mode.load) == set(null_report.bundle.arithmetic)


def test_stages_in_turns_and_the_unaccounted_add_up_to_the_wall(null_report: ProfileReport) -> None:
    turns = null_report.mode(IN_TURNS)
    assert turns is not None
    main = [stage for stage in turns.stages if stage.track == "main"]
    assert main[-1].name == UNACCOUNTED
    for index, (wall,) in enumerate(turns.wall.samples):
        assert sum(stage.timing.samples[index][0] for stage in main) == pytest.approx(
            wall, rel=1e-6
        )


def test_a_report_comes_back_from_json_as_it_was(
    null_report: ProfileReport, tmp_path: Path
) -> None:
    (tmp_path / "report.json").write_text(format_profile_json(null_report), encoding="utf-8")
    assert read_profile(tmp_path / "report.json") == null_report


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": 99}, "profile schema 99"),
        ({"kind": "other"}, "not a profile"),
        ({"extra": 1}, "unknown key"),
        ({"modes": []}, "without a mode"),
        ({"bundle": None}, "wanted an object"),
    ],
)
def test_another_file_is_refused_in_one_line(
    null_report: ProfileReport, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    data = json.loads(format_profile_json(null_report)) | change
    (tmp_path / "report.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(InputError, match=told) as error:
        read_profile(tmp_path / "report.json")
    assert "report.json" in str(error.value)


@pytest.mark.parametrize("content", ["", "[1", "[]", "null"])
def test_what_is_no_json_of_ours_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(InputError, match=r"report\.json: not"):
        read_profile(tmp_path / "report.json")


@pytest.mark.parametrize("slowed", ["denoising_unet", "vae_decoder", "reference_unet"])
def test_a_slowed_network_is_the_one_that_the_comparison_names(
    profile_null: Callable[..., Profiled], slowed: str
) -> None:
    own = dict.fromkeys(("denoising_unet", "vae_decoder", "reference_unet"), 0.002)
    plain = profile_null(own).report
    slow = profile_null({**own, slowed: 0.012}).report
    assert [line.partition(":")[0] for line in find_culprits(plain, slow)] == [
        f"{slowed} is slower"
    ]
    before = plain.modes[-1].network(slowed)
    after = slow.modes[-1].network(slowed)
    assert before is not None and after is not None
    assert after.host.figures.p50 - before.host.figures.p50 == pytest.approx(0.01)


def test_the_report_says_which_network_takes_most_of_the_time(
    profile_null: Callable[..., Profiled],
) -> None:
    report = profile_null({"vae_decoder": 0.01}, repeats=1).report
    assert find_slowest(report.modes[-1]).startswith("vae_decoder takes ")


def test_layers_are_left_out_unless_they_are_asked_for(
    profile_null: Callable[..., Profiled], null_report: ProfileReport
) -> None:
    plain = profile_null(repeats=1, frames=4).report
    assert (plain.layers, plain.layers_note.partition(":")[0]) == ((), "not asked for")
    assert {summary.network for summary in null_report.layers} == set(null_report.bundle.arithmetic)
    assert all(summary.count == 1 for summary in null_report.layers)


def test_a_short_clip_has_no_steady_pace_and_says_why(
    profile_null: Callable[..., Profiled],
) -> None:
    mode = profile_null(repeats=1, frames=3).report.headline
    assert (mode.steady, mode.steady_fps) == (None, None)
    assert "longer --duration" in mode.steady_reason


def make_round(*, frames: int, lead: int, window: int = 4) -> Round:
    """Frames of 1 s each, a call before every fourth; ``lead`` calls more before the first."""
    spans = [Span("denoising_unet", "engine", 0.0, 0.0) for _ in range(lead)]
    for frame in range(frames):
        if frame % window == 0:
            spans.append(Span("denoising_unet", "engine", float(frame), frame + 0.1))
        spans.append(Span("encode", "encode", frame + 0.8, frame + 1.0, arguments={"frame": frame}))
    return Round(frames, 1.0, 0.0, float(frames), tuple(spans))


def test_a_steady_pace_is_that_of_frames_whose_work_was_done_meanwhile() -> None:
    timing, reason = find_steady([make_round(frames=32, lead=0)], window=4, calls=0.25)
    assert timing is not None
    assert (timing.figures.p50, reason) == (pytest.approx(1.0), "")


def test_frames_whose_work_was_done_before_give_no_steady_pace() -> None:
    timing, reason = find_steady([make_round(frames=32, lead=0)], window=4, calls=1.0)
    assert timing is None
    assert "too short" in reason


def test_repeats_that_drift_apart_are_called_noise(null_report: ProfileReport) -> None:
    calm, wild = (
        replace(null_report.headline, drift=drift) for drift in (NOISE * 0.9, NOISE * 1.1)
    )
    assert find_noise([calm]) == ""
    assert "noisy" in find_noise([calm, wild])
    assert find_noise([replace(calm, drift=None)]) == ""


@pytest.mark.parametrize(
    ("seconds", "line"),
    [
        (0.025, "real-time at 25 fps: yes, 1.6 x headroom"),
        (0.04, "real-time at 25 fps: yes, 1 x headroom"),
        (0.32, "real-time at 25 fps: no, 3.12 fps; no change that the model knows would do it"),
    ],
)
def test_the_verdict_is_about_the_steady_pace(
    null_report: ProfileReport, seconds: float, line: str
) -> None:
    mode = replace(null_report.headline, steady=make_timing(((seconds,),)))
    verdict = give_verdict([mode], null_report.forecast, wanted=25.0)
    assert (verdict.line, verdict.real_time) == (line, seconds <= 0.04)


def test_a_mode_that_is_quicker_than_the_one_that_is_judged_is_told(
    null_report: ProfileReport,
) -> None:
    one = null_report.headline
    wall = make_timing(tuple(tuple(value / 2 for value in repeat) for repeat in one.wall.samples))
    assert wall is not None
    assert find_quicker([one, replace(one, name="other", wall=wall)]) == (
        "rendering other is 2.00 x as quick as overlapped here"
    )
    assert find_quicker([one, one]) == ""


@pytest.mark.parametrize(("warmup", "repeats"), [(-1, 1), (0, 0)])
def test_a_profile_without_a_repeat_is_refused(warmup: int, repeats: int) -> None:
    with pytest.raises(SettingError, match="repeats"):
        ProfilePlan(warmup=warmup, repeats=repeats)
