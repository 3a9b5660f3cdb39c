"""A timeline of sounds to the curves of a face, on timelines made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from echoexport.export.demo.speech.motion import COLUMNS, Phone, Timeline, animate
from echoexport.runtime.errors import SettingError

OPENNESS, WIDTH, ROUNDING, LIDS, BROWS, NOD = range(6)
NAMES = ("a", "i", "u", "aɪ", "p", "b", "m", "s", "t", "k", "f", "w", "l", "n", "tʃ", "pf", "h")


def lay_sounds(*sounds: tuple[str, float]) -> Timeline:
    """Sounds end to end from 0.5 s on; "" is silence."""
    phones = []
    time = 0.5
    for name, seconds in sounds:
        if name:
            phones.append(Phone(name, time, time + seconds))
        time += seconds
    return tuple(phones)


timelines = st.lists(
    st.tuples(st.sampled_from(("", *NAMES)), st.floats(0.03, 0.4)), min_size=1, max_size=25
).map(lambda sounds: lay_sounds(*sounds))


def sample(timeline: Timeline, *, seconds: float = 3.0) -> NDArray[np.float32]:
    return animate(timeline, np.arange(round(seconds * 100)) / 100)


def test_the_columns_are_those_of_a_face_state() -> None:
    assert COLUMNS == ("openness", "width", "rounding", "lids", "brows", "nod", "sway", "tilt")


def test_silence_is_a_face_at_rest() -> None:
    assert not animate((), np.linspace(0, 5, 100)).any()


def test_lips_meet_between_two_open_vowels() -> None:
    for name in ("p", "b", "m"):
        state = sample(lay_sounds(("a", 0.15), (name, 0.07), ("a", 0.15)))
        assert state[50:85, OPENNESS].min() <= 0.05
        assert state[50:65, OPENNESS].max() >= 0.75
        assert state[70:90, OPENNESS].max() >= 0.75


def test_a_plosive_shuts_the_lips_before_its_burst() -> None:
    state = sample(lay_sounds(("a", 0.2), ("p", 0.06), ("a", 0.2)))
    assert state[66:71, OPENNESS].max() <= 0.05


def test_the_mouth_is_shut_120_ms_after_the_last_sound() -> None:
    state = sample(lay_sounds(("a", 0.3)))
    assert state[68:79, OPENNESS].max() > 0.5
    assert not state[92:, :LIDS].any()


def test_a_round_vowel_rounds_and_narrows() -> None:
    state = sample(lay_sounds(("u", 0.3)))
    assert state[65, ROUNDING] > 0.9
    assert state[65, WIDTH] < -0.6


def test_one_blink_follows_each_phrase_and_none_a_short_pause() -> None:
    state = sample(lay_sounds(("a", 0.2), ("", 0.12), ("i", 0.2), ("", 0.5), ("a", 0.2)))
    lids = state[:, LIDS]
    peaks = (
        np.flatnonzero((lids[1:-1] > lids[:-2]) & (lids[1:-1] >= lids[2:]) & (lids[1:-1] > 0.9)) + 1
    )
    np.testing.assert_allclose(peaks / 100, [1.02 + 0.13, 1.72 + 0.13], atol=0.02)


def test_head_and_brows_rest_in_a_long_silence() -> None:
    state = sample(lay_sounds(("a", 0.4), ("", 1.5), ("a", 0.4)))
    assert state[70, NOD] > 0.3
    assert state[70, BROWS] > 0.3
    assert not state[140:180, [BROWS, NOD]].any()


def test_a_far_away_sound_does_not_move_the_mouth() -> None:
    one = sample(lay_sounds(("m", 0.1), ("a", 0.2), ("s", 0.1), ("", 0.3)))
    two = sample(lay_sounds(("m", 0.1), ("a", 0.2), ("s", 0.1), ("", 0.3), ("u", 0.5)))
    np.testing.assert_allclose(one[:105, :LIDS], two[:105, :LIDS], atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(timelines)
def test_any_timeline_gives_smooth_curves_within_their_ranges(timeline: Timeline) -> None:
    state = animate(timeline, np.arange(1200) / 100)
    assert np.isfinite(state).all()
    assert state[:, [OPENNESS, ROUNDING, LIDS]].min() >= 0
    assert np.abs(state).max() <= 1 + 1e-6
    assert np.abs(np.diff(state, axis=0)).max() <= 0.45  # of the range in 10 ms; a jump would be 1


@settings(deadline=None, max_examples=40)
@given(timelines)
def test_every_closure_is_reached(timeline: Timeline) -> None:
    closures = [phone.start for phone in timeline if phone.name in ("p", "b", "m")]
    assert (animate(timeline, closures)[:, OPENNESS] <= 0.05).all()


@settings(deadline=None, max_examples=40)
@given(timelines)
def test_silence_is_shut_120_ms_from_any_sound(timeline: Timeline) -> None:
    times = np.arange(1200) / 100
    away = np.array(
        [min((max(one.start - t, t - one.end) for one in timeline), default=9.0) for t in times]
    )
    assert not animate(timeline, times)[away > 0.12, OPENNESS].any()


@settings(deadline=None, max_examples=20)
@given(timelines, st.floats(0.0, 9.0))
def test_a_time_alone_gives_what_it_gives_among_others(timeline: Timeline, time: float) -> None:
    among = animate(timeline, [0.0, time, 9.5])
    np.testing.assert_array_equal(animate(timeline, [time])[0], among[1])


@pytest.mark.parametrize(
    "timeline",
    [
        (Phone("a", 1.0, 1.0),),
        (Phone("a", 1.0, 2.0), Phone("b", 1.5, 3.0)),
        (Phone("a", 0.0, float("nan")),),
    ],
)
def test_sounds_out_of_order_or_without_length_are_refused(timeline: Timeline) -> None:
    with pytest.raises(SettingError, match="order and length"):
        animate(timeline, [0.0])


@pytest.mark.parametrize("times", [[[0.0]], [float("inf")]])
def test_times_that_are_no_seconds_are_refused(times: list[float]) -> None:
    with pytest.raises(SettingError, match="finite seconds"):
        animate((), times)
