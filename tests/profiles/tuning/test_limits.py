"""Choices judged: which limits they break, which is quickest, and which none other beats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from echoexport.profiles.quality.mouth import CLOSED, FOLLOWS, SOUND
from echoexport.profiles.tuning.choices import TuningChoice
from echoexport.profiles.tuning.limits import (
    ChoiceFigures,
    TuningLimits,
    choose_quickest,
    find_front,
    summarize_choice,
)
from echoexport.profiles.tuning.trials import ClipTrial
from echoexport.runtime.errors import SettingError

Make = Callable[..., ClipTrial]
NOW = TuningChoice("fp32", 6, 1)


@pytest.fixture
def figure(make_trial: Make) -> Callable[..., ChoiceFigures]:
    """A function that gives the figures of one trial at 10 frames over so many seconds."""

    def run(steps: int, seconds: float, *, side: str = "fp32", **changed: Any) -> ChoiceFigures:
        trial = make_trial(seconds=(seconds,), **changed)
        return summarize_choice(TuningChoice(side, steps, 1), [trial], TuningLimits())

    return run


def test_speeds_are_medians_over_all_renderings(make_trial: Make) -> None:
    trials = [make_trial(seconds=(1.0, 2.0)), make_trial(seconds=(5.0,), first=(0.1,), cpu=(4.0,))]
    found = summarize_choice(NOW, trials, TuningLimits())
    assert (found.frames_per_second, found.first_frame, found.cpu_per_frame) == (5.0, 0.3, 0.3)


def test_a_still_clip_does_not_decide_how_all_of_them_flicker(make_trial: Make) -> None:
    still = make_trial(flicker=0.02, reference_flicker=0.005)
    found = summarize_choice(NOW, [make_trial(), still], TuningLimits())
    assert found.flicker == pytest.approx(2.02 / 2.005, abs=1e-5)


def test_where_nothing_moves_nothing_flickers(make_trial: Make) -> None:
    still = make_trial(flicker=0.0, reference_flicker=0.0)
    assert summarize_choice(NOW, [still], TuningLimits()).flicker == 1.0


def test_the_larger_of_two_losses_of_lip_sync_counts(make_trial: Make) -> None:
    trial = make_trial(
        scores={FOLLOWS: 0.99, SOUND: 0.6}, reference_scores={FOLLOWS: 1.0, SOUND: 0.65}
    )
    found = summarize_choice(NOW, [trial], TuningLimits())
    assert found.lipsync_loss == found.lipsync_worst == pytest.approx(0.05)
    assert found.misses == ("lip-sync loss 0.05 > 0.02",)


def test_a_mouth_that_gains_loses_nothing(make_trial: Make) -> None:
    trial = make_trial(
        scores={FOLLOWS: 1.0, SOUND: 0.7}, reference_scores={FOLLOWS: 1.0, SOUND: 0.6}
    )
    assert summarize_choice(NOW, [trial], TuningLimits()).lipsync_loss == 0


def test_a_mouth_that_was_not_measured_breaks_no_limit(make_trial: Make) -> None:
    found = summarize_choice(NOW, [make_trial()], TuningLimits())
    assert (found.lipsync_loss, found.closed_loss, found.holds) == (None, None, True)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"ssim": 0.94}, "SSIM 0.94 < 0.95"),
        ({"psnr": 29.0}, "PSNR 29 < 30"),
        ({"flicker": 2.2}, "flicker 1.1 > 1.05"),
        (
            {"scores": {CLOSED: 0.9}, "reference_scores": {CLOSED: 1.0}},
            "mouth less often closed in silence 0.1 > 0.02",
        ),
    ],
)
def test_a_broken_limit_is_named_with_its_figure(
    make_trial: Make, changed: dict[str, Any], told: str
) -> None:
    found = summarize_choice(NOW, [make_trial(**changed)], TuningLimits(psnr=30.0))
    assert found.misses == (told,)


def test_the_worst_clip_has_a_limit_of_its_own(make_trial: Make) -> None:
    good = make_trial(scores={FOLLOWS: 1.0}, reference_scores={FOLLOWS: 1.0})
    bad = make_trial(scores={FOLLOWS: 0.93}, reference_scores={FOLLOWS: 1.0})
    found = summarize_choice(NOW, [good, good, good, bad], TuningLimits())
    assert found.misses == ("lip-sync loss of the worst clip 0.07 > 0.06",)


def test_the_quickest_that_holds_is_chosen(figure: Callable[..., ChoiceFigures]) -> None:
    results = [figure(6, 4.0), figure(2, 2.0), figure(1, 1.0, ssim=0.5)]
    assert choose_quickest(results, present=NOW, among=["fp32"]) is results[1]


def test_another_bundle_s_choice_is_not_chosen(figure: Callable[..., ChoiceFigures]) -> None:
    results = [figure(6, 4.0), figure(2, 1.0, side="other")]
    assert choose_quickest(results, present=NOW, among=["fp32"]) is results[0]


def test_the_default_stays_where_nothing_holds(figure: Callable[..., ChoiceFigures]) -> None:
    results = [figure(6, 4.0, ssim=0.1), figure(2, 2.0, ssim=0.1)]
    assert choose_quickest(results, present=NOW, among=["fp32"]) is results[0]


def test_the_default_stays_where_another_is_quicker_by_less_than_noise(
    figure: Callable[..., ChoiceFigures],
) -> None:
    results = [figure(6, 4.0), figure(5, 3.95)]
    assert choose_quickest(results, present=NOW, among=["fp32"]) is results[0]


def test_of_equally_quick_ones_the_closest_to_the_reference_is_chosen(
    figure: Callable[..., ChoiceFigures],
) -> None:
    results = [figure(6, 4.0), figure(1, 1.0, ssim=0.97), figure(2, 1.01, ssim=0.99)]
    assert choose_quickest(results, present=NOW, among=["fp32"]) is results[2]


def test_the_front_has_what_nothing_beats_in_both(figure: Callable[..., ChoiceFigures]) -> None:
    slow = figure(6, 4.0)
    quick = figure(1, 1.0, psnr=30.0)
    beaten = figure(2, 2.0, psnr=29.0)
    assert find_front([slow, beaten, quick]) == [quick, slow]


@pytest.mark.parametrize("value", [-1.0, float("nan"), 101.0])
def test_what_is_no_limit_is_refused(value: float) -> None:
    with pytest.raises(SettingError, match="limit ssim"):
        TuningLimits(ssim=value)
