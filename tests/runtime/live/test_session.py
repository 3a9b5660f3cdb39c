"""A live session in simulated time, on a backend that gives zeros."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import cycle

import numpy as np
import pytest
from fixtures.live_stage import FRAME, RATE, Stage, make_voice
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echoexport.runtime.live.frames import EASING, IDLE, SPEAKING, LiveFrame

MakeStage = Callable[..., Stage]


def samples_of(frames: list[LiveFrame]) -> np.ndarray:
    return np.concatenate([frame.samples for frame in frames])


def test_a_sentence_pushed_at_once_comes_out_whole_with_its_frames(stage: Stage) -> None:
    voice = make_voice(1.3)
    with stage.talk(pace="fast") as talk:
        talk.push(voice, RATE)
        talk.finish()
        frames = list(talk)
    spoken = [frame for frame in frames if frame.samples.size]
    assert all(frame.samples.size == FRAME for frame in spoken)
    np.testing.assert_array_equal(samples_of(frames)[: voice.size], voice)
    assert not samples_of(frames)[voice.size :].any()
    assert len(spoken) == -(-voice.size // FRAME)
    assert [frame.index for frame in frames] == list(range(len(frames)))


def test_the_last_frame_of_an_utterance_says_so_and_the_face_comes_to_rest(stage: Stage) -> None:
    with stage.talk(pace="fast") as talk:
        talk.push(make_voice(1.0), RATE)
        talk.finish()
        frames = list(talk)
    assert [frame.index for frame in frames if frame.end_of_utterance] == [24]
    states = [frame.state for frame in frames]
    assert states[:25] == [SPEAKING] * 25
    assert set(states[25:]) == {EASING}
    # the block that ends the sound, and silence until ten frames were shut
    assert 10 <= len(states[25:]) < 14


@given(
    cuts=st.lists(st.integers(60, 9000), min_size=1, max_size=30),
    taken=st.lists(st.integers(0, 6), min_size=1, max_size=30),
)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_chunks_and_no_consumer_change_what_is_spoken(
    stage: Stage, cuts: list[int], taken: list[int]
) -> None:
    voice = np.concatenate([make_voice(0.7), np.zeros(RATE, np.float32), make_voice(0.4, seed=1)])
    with stage.talk(pace="fast") as talk:
        talk.push(voice, RATE)
        talk.finish()
        wanted = list(talk)
    with stage.talk(pace="fast") as talk:
        found = list[LiveFrame]()
        start = 0
        for size, wait in zip(cycle(cuts), cycle(taken), strict=False):
            talk.push(voice[start : start + size], RATE)
            start += size
            stage.time.run(0.01 * wait)
            if start >= voice.size:
                break
        talk.finish()
        found += list(talk)
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)
        np.testing.assert_array_equal(one.picture, other.picture)
        assert (one.state, one.end_of_utterance) == (other.state, other.end_of_utterance)


def test_who_says_nothing_sees_a_face_at_rest_25_times_a_second_without_the_denoiser(
    stage: Stage,
) -> None:
    with stage.talk() as talk:
        start = stage.time.now()
        frames = stage.take(talk, 100)
        assert stage.time.now() - start == pytest.approx(99 / 25)
        assert {frame.state for frame in frames} == {IDLE}
        assert not any(frame.samples.size or frame.late for frame in frames)
        assert talk.statistics.denoiser_calls == 0


def test_a_first_word_is_shown_soon_after_enough_of_it_was_heard(stage: Stage) -> None:
    with stage.talk() as talk:
        stage.take(talk, 5)
        begin = stage.time.now()
        stage.speak(talk, make_voice(2.0))
        given = stage.take_until(talk, begin + 1)
        first = next(moment for moment, frame in given if frame.state == SPEAKING)
        # 4 frames and the look-ahead are 252.5 ms; a block takes 40 ms, a picture 12
        assert 0.26 < first - begin < 0.36


def test_a_voice_at_its_own_pace_is_spoken_without_a_late_frame(stage: Stage) -> None:
    with stage.talk() as talk:
        begin = stage.time.now()
        voice = make_voice(6.0)
        stage.speak(talk, voice, delay=0.3)
        given = stage.take_until(talk, begin + 8)
        frames = [frame for _, frame in given]
        assert [frame.late for frame in frames if frame.late] == []
        np.testing.assert_array_equal(samples_of(frames)[: voice.size], voice)
        gaps = np.diff([moment for moment, _ in given])
        assert gaps.max() < 0.0601
        kinds = Counter(frame.state for frame in frames)
        assert kinds[SPEAKING] == 150


def test_sound_that_stops_coming_eases_the_face_and_never_freezes_it(stage: Stage) -> None:
    with stage.talk() as talk:
        begin = stage.time.now()
        for number in range(50):
            part = make_voice(0.02, seed=number)
            stage.time.at(begin + 0.02 * (number + 1), lambda part=part: talk.push(part, RATE))
        given = stage.take_until(talk, begin + 3)
        gaps = np.diff([moment for moment, _ in given])
        assert gaps.max() < 0.0601
        states = [frame.state for _, frame in given]
        assert states[-1] == IDLE
        assert EASING in states
        assert not any(frame.end_of_utterance for _, frame in given)
        assert not any(frame.late for _, frame in given)


def test_an_interrupt_ends_the_old_sound_at_once_and_eases_the_face(stage: Stage) -> None:
    with stage.talk() as talk:
        begin = stage.time.now()
        talk.push(make_voice(5.0), RATE)
        stage.take_until(talk, begin + 1)
        called = stage.time.now()
        talk.interrupt()
        given = stage.take_until(talk, called + 2)
        assert {frame.epoch for _, frame in given} == {1}
        assert not any(frame.samples.size for _, frame in given)
        gaps = np.diff([called, *(moment for moment, _ in given)])
        assert gaps.max() < 0.081
        assert given[-1][1].state == IDLE
        easing = [moment for moment, frame in given if frame.state == EASING]
        assert easing[0] - called < 0.06


def test_after_an_interrupt_the_next_sentence_is_spoken_whole(stage: Stage) -> None:
    with stage.talk() as talk:
        talk.push(make_voice(5.0), RATE)
        stage.take(talk, 30)
        talk.interrupt()
        voice = make_voice(1.0, seed=9)
        talk.push(voice, RATE)
        talk.finish()
        frames = list(talk)
        np.testing.assert_array_equal(samples_of(frames)[: voice.size], voice)


def test_reset_is_a_new_beginning_at_rest(stage: Stage) -> None:
    with stage.talk() as talk:
        talk.push(make_voice(5.0), RATE)
        stage.take(talk, 30)
        talk.reset()
        frames = stage.take(talk, 20)
        assert {(frame.state, frame.epoch) for frame in frames} == {(IDLE, 1)}
        assert frames[0].index == 30


def test_another_portrait_is_shown_from_the_next_block_on(stage: Stage) -> None:
    with stage.talk() as talk, stage.talk(seed=5) as other:
        stage.take(talk, 3)
        face = other._production._portrait
        picture = np.full_like(face.idle.frames[0].picture, 9)
        for frame in face.idle.frames:
            object.__setattr__(frame, "picture", picture)
        talk.show(face)
        assert (stage.take(talk, 1)[0].picture == 9).all()


def test_several_sessions_at_once_are_each_on_time(stage: Stage) -> None:
    talks = [stage.talk() for _ in range(3)]
    begin = stage.time.now()
    for number, talk in enumerate(talks):
        stage.speak(talk, make_voice(3.0, seed=number), delay=0.1 * number)
    given = stage.take_all(talks, begin + 4)
    for number, frames in enumerate(given):
        assert not any(frame.late for frame in frames)
        wanted = make_voice(3.0, seed=number)
        np.testing.assert_array_equal(samples_of(frames)[: wanted.size], wanted)


def test_frames_can_be_awaited(stage: Stage) -> None:
    async def collect() -> list[LiveFrame]:
        return [frame async for frame in talk]

    with stage.talk(pace="fast") as talk:
        talk.push(make_voice(0.5), RATE)
        talk.finish()
        assert sum(frame.samples.size for frame in asyncio.run(collect())) == 13 * FRAME


def test_an_interrupt_at_rest_does_not_move_the_loop(stage: Stage) -> None:
    with stage.talk() as talk:
        stage.take(talk, 3)
        talk.push(np.zeros(RATE, np.float32), RATE)
        places = []
        for number in range(12):
            if number == 4:
                talk.interrupt()
            stage.take(talk, 1)
            shown = talk._production.shown
            assert shown is not None
            places.append(shown.place)
        assert np.diff(places).tolist() == [1] * 11
