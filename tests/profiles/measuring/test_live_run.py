"""A conversation's record: what it says of delays, late frames and memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures.live_stage import RATE, make_voice

from echoexport.profiles.measuring.live_run import (
    LiveRun,
    describe_live_run,
    measure_growth,
    write_live_run,
)
from echoexport.profiles.reports.limits import list_metrics
from echoexport.profiles.reports.profile import ProfileReport
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.live.playing import PlayLog


@pytest.fixture
def run(make_null_bundle: Callable[..., Path]) -> Iterator[LiveRun]:
    """A short conversation that was given made-up delays."""
    grey = np.full((64, 64, 3), 9, np.uint8)
    with (
        open_bundle(make_null_bundle("talking")) as bundle,
        bundle.live(grey, fps=25, pace="fast") as talk,
    ):
        talk.push(make_voice(1.0), RATE)
        talk.finish()
        for _ in talk:
            pass
        talk.statistics.late_frames = 2
        talk.statistics.late = [0.03, 0.01]
        log = PlayLog(first_frame=0.25, delays=[0.3 + 0.001 * i for i in range(101)])
        yield describe_live_run(bundle, talk, log)


def test_a_run_says_how_soon_how_late_and_how_much(run: LiveRun) -> None:
    assert run.first_frame_ms == pytest.approx(250)
    assert run.delay_ms == pytest.approx(350)
    assert run.delay_ms_p99 == pytest.approx(399)
    assert run.late_frames == 2
    assert run.late_ms_p99 == pytest.approx(30)
    assert run.spoken_frames == 25
    assert run.frames >= 35
    assert run.fps_capacity > 25
    assert run.sessions_capacity >= 1
    assert run.conditions.origin == "measured"


def test_memory_counts_from_the_tenth_second_on() -> None:
    assert measure_growth([100] * 10) is None
    assert measure_growth([50, *[100] * 9, 200, 210, 220]) == pytest.approx(0.1)


def test_a_run_is_written_as_json(run: LiveRun, tmp_path: Path) -> None:
    write_live_run(tmp_path / "live.json", run)
    assert json.loads((tmp_path / "live.json").read_text("utf-8"))["first_frame_ms"] == 250.0


def test_a_profile_with_a_conversation_has_its_figures_for_limits(
    null_report: ProfileReport, run: LiveRun
) -> None:
    assert not any(name.startswith("live") for name in list_metrics(null_report))
    metrics = list_metrics(replace(null_report, live=run))
    assert metrics["live_first_frame"].value == pytest.approx(0.25)
    assert metrics["live_late_frames"].value == 2
    assert metrics["live_capacity"].more_is_better
