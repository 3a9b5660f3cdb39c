"""Every choice measured on every clip, kept at once, and gone on from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoexport.profiles.tuning.choices import TuningChoice
from echoexport.profiles.tuning.limits import TuningLimits
from echoexport.profiles.tuning.study import list_arithmetics
from echoexport.runtime.errors import InputError, SettingError

Tune = Callable[..., Any]
Rendered = list[tuple[str, TuningChoice]]


def test_the_quickest_that_holds_is_chosen(tune: Tune, rendered: Rendered) -> None:
    report = tune()
    assert report.chosen == TuningChoice("fp32", 1, 1)
    assert [one.frames_per_second for one in report.results] == [1.333, 2.0, 4.0]


def test_a_limit_keeps_the_quickest_out(tune: Tune, rendered: Rendered) -> None:
    report = tune(limits=TuningLimits(psnr=41.0))
    assert report.chosen == report.present == TuningChoice("fp32", 2, 1)
    assert report.find(TuningChoice("fp32", 1, 1)).misses


def test_the_reference_is_rendered_once_and_equals_itself(tune: Tune, rendered: Rendered) -> None:
    report = tune()
    assert report.find(report.reference).psnr == 60.0
    assert rendered.count(("one", report.reference)) == 1


def test_what_was_measured_is_not_rendered_again(tune: Tune, rendered: Rendered) -> None:
    first = tune()
    count = len(rendered)
    again = tune()
    assert len(rendered) == count
    assert (again.results, again.chosen) == (first.results, first.chosen)
    assert "3 of 3 renderings were measured before an interrupt" in again.notes[0]


def test_an_interrupted_study_goes_on_where_it_was(
    tune: Tune, rendered: Rendered, make_speaker: Callable[..., Any]
) -> None:
    clips = (make_speaker("one"), make_speaker("two"))

    def interrupt(phase: str, done: int, total: int | None) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(*clips, report=interrupt)
    del rendered[:]
    report = tune(*clips)
    assert {clip for clip, _ in rendered} == {"two"}
    assert len(report.results) == 3 and all(len(one.trials) == 2 for one in report.results)


def test_progress_counts_choices_times_clips(tune: Tune, rendered: Rendered) -> None:
    told: list[tuple[str, int, int | None]] = []
    tune(report=lambda *args: told.append(args))
    assert told == [("fp32", 1, 3), ("fp32", 2, 3), ("fp32", 3, 3)]


def test_a_study_without_a_mouth_says_that_it_was_not_judged(
    tune: Tune, rendered: Rendered
) -> None:
    assert "lip-sync was not judged" in tune().notes[-1]


def test_engines_really_render(tune: Tune) -> None:
    report = tune()
    assert {one.psnr for one in report.results} == {60.0}  # the null backend draws one picture
    assert all(one.frames_per_second > 0 for one in report.results)


def test_clips_of_one_name_are_refused(tune: Tune, make_speaker: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="two clips are called 'one'"):
        tune(make_speaker(), make_speaker())


def test_a_bundle_s_own_arithmetic_comes_first_and_once(null_bundle: Path) -> None:
    assert list_arithmetics(null_bundle, (), backend=None) == {"": "fp32"}
    assert list_arithmetics(null_bundle, ["fp32"], backend=None) == {"": "fp32"}


def test_an_arithmetic_that_the_backend_has_not_is_refused(null_bundle: Path) -> None:
    with pytest.raises(SettingError, match="--compute bf17: the backend has fp32"):
        list_arithmetics(null_bundle, ["bf17"], backend=None)
