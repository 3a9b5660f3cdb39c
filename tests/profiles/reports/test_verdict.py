"""The verdict: real time or not, noise, quicker modes, the slowest network, remedies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from echoexport.profiles.reports.profile import (
    NOISE,
    ProfileReport,
    make_timing,
)
from echoexport.profiles.reports.profile_run import Profiled
from echoexport.profiles.reports.verdict import (
    find_noise,
    find_quicker,
    find_remedies,
    find_slowest,
    give_verdict,
)


def test_the_report_says_which_network_takes_most_of_the_time(
    profile_null: Callable[..., Profiled],
) -> None:
    report = profile_null({"vae_decoder": 0.01}, repeats=1).report
    assert find_slowest(report.modes[-1]).startswith("vae_decoder takes ")


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


def test_remedies_are_the_measured_pace_times_the_models_gain(full_report: ProfileReport) -> None:
    found = find_remedies(full_report.forecast, fps=9.0, wanted=25.0)
    assert found == ("2 steps: 27 fps modelled (49.9 dB PSNR on the built-in character)",)
    assert find_remedies(full_report.forecast, fps=8.0, wanted=25.0) == ()
    assert find_remedies(replace(full_report.forecast, boards=()), fps=9.0, wanted=1.0) == ()
