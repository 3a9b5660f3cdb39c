"""One mode of a profile: stages that add up, and the pace of a clip under way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from echoexport.profiles.measuring.modes import IN_TURNS
from echoexport.profiles.measuring.rounds import Round
from echoexport.profiles.reports.mode_report import UNACCOUNTED, find_steady
from echoexport.profiles.reports.profile import (
    ProfileReport,
)
from echoexport.profiles.reports.profile_run import Profiled
from echoexport.runtime.trace.tracer import Span


def test_stages_in_turns_and_the_unaccounted_add_up_to_the_wall(null_report: ProfileReport) -> None:
    turns = null_report.mode(IN_TURNS)
    assert turns is not None
    main = [stage for stage in turns.stages if stage.track == "main"]
    assert main[-1].name == UNACCOUNTED
    for index, (wall,) in enumerate(turns.wall.samples):
        assert sum(stage.timing.samples[index][0] for stage in main) == pytest.approx(
            wall, rel=1e-6
        )


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
