"""A tuning told in words, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from echoexport.profiles.tuning.choices import TuningChoice
from echoexport.profiles.tuning.limits import TuningLimits
from echoexport.profiles.tuning.report import describe_tuning, format_tuning_json, name_choice


def test_the_verdict_says_what_was_chosen_and_what_it_gives(
    tune: Callable[..., Any], rendered: Any
) -> None:
    (line,) = describe_tuning(tune())
    assert line.startswith("chosen: 1 step, overlap 1, fp32 (4.0 frames/s")
    assert "2.00 x as fast as now (2 steps, overlap 1, fp32, 2.0 frames/s)" in line


def test_a_default_that_stays_is_told_with_the_reason(
    tune: Callable[..., Any], rendered: Any
) -> None:
    (line,) = describe_tuning(tune(limits=TuningLimits(psnr=41.0)))
    assert line.startswith("kept as it is: 2 steps, overlap 1, fp32")
    assert line.endswith("no choice that keeps the limits is quicker")


def test_a_default_that_breaks_limits_itself_is_told(tune: Callable[..., Any]) -> None:
    (line,) = describe_tuning(tune(limits=TuningLimits(psnr=61.0)))
    assert "nothing that was tried keeps the limits, nor does it (PSNR 60 < 61)" in line


def test_a_quicker_bundle_is_named(tune: Callable[..., Any], rendered: Any) -> None:
    report = tune()
    best = report.find(report.chosen)
    other = replace(best, choice=TuningChoice("small: int8", 1, 1), frames_per_second=9.0)
    told = describe_tuning(replace(report, results=(*report.results, other)))
    assert told[1].startswith("quicker still, in another bundle: 1 step, overlap 1, small: int8, 9")


def test_json_holds_every_choice(tune: Callable[..., Any], rendered: Any) -> None:
    found = json.loads(format_tuning_json(tune()))
    assert [one["choice"]["steps"] for one in found["results"]] == [3, 2, 1]
    assert found["chosen"]["steps"] == 1 and found["origin"] == "measured"


def test_charts_name_a_choice_by_steps_and_overlap() -> None:
    assert name_choice(TuningChoice("fp32", 2, 1)) == "2/1"
