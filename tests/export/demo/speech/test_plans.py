"""Plans of clips: the same for a seed, whole in JSON, held-out ones apart."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoexport.export.demo.speech.espeak import Speaker
from echoexport.export.demo.speech.plans import ClipPlan, demo_voice_plan, plan_clips
from echoexport.export.demo.speech.sentences import (
    HELD_OUT_SPEAKERS,
    TRAINING_SPEAKERS,
    find_language,
    read_sentences,
)
from echoexport.runtime.errors import InputError, SettingError


def test_the_same_seed_draws_the_same_plans_and_another_seed_others() -> None:
    assert plan_clips(3, 20) == plan_clips(3, 20)
    assert plan_clips(3, 20) != plan_clips(4, 20)


def test_more_plans_start_with_the_same_ones() -> None:
    assert plan_clips(1, 80)[:10] == plan_clips(1, 10)


def test_every_training_speaker_is_heard_and_few_clips_are_silent() -> None:
    plans = plan_clips(0, 2 * len(TRAINING_SPEAKERS))
    assert {plan.voice for plan in plans} == {one.voice for one in TRAINING_SPEAKERS}
    assert 0 < sum(not plan.sentences for plan in plans) <= 0.06 * len(plans)


def test_held_out_plans_say_only_held_out_sentences() -> None:
    for plan in plan_clips(0, 60, held_out=True):
        assert plan.speaker in HELD_OUT_SPEAKERS
        assert plan.sentences
        assert set(plan.sentences) <= set(
            read_sentences(find_language(plan.speaker), held_out=True)
        )


@settings(deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_a_plan_reads_back_from_its_json(seed: int, held_out: bool) -> None:
    for plan in plan_clips(seed, 2, held_out=held_out):
        assert ClipPlan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    "change", [{"extra": 1}, {"lead": -1.0}, {"lead": "long"}, {"pauses": [0.1, 0.2, 0.3]}]
)
def test_a_plan_with_other_keys_or_values_is_refused(change: dict[str, object]) -> None:
    entry = {**json.loads(demo_voice_plan().to_json()), **change}
    with pytest.raises(InputError, match="not the plan of a clip"):
        ClipPlan.from_json(json.dumps(entry))


def test_text_that_is_no_json_is_refused() -> None:
    with pytest.raises(InputError, match="not the plan of a clip"):
        ClipPlan.from_json("{")


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(SettingError, match="count -1"):
        plan_clips(0, -1)


@pytest.mark.parametrize("setting", [{"speed": 20}, {"pitch": 100}, {"pitch_range": -1}])
def test_a_speaker_beyond_the_synthesizer_is_refused(setting: dict[str, int]) -> None:
    with pytest.raises(SettingError, match=next(iter(setting))):
        Speaker("en-us", **setting)


def test_the_demo_speaks_with_a_held_out_voice() -> None:
    assert demo_voice_plan().voice in {one.voice for one in HELD_OUT_SPEAKERS}
