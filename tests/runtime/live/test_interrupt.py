"""An interrupted face comes to rest by itself: on time, without a worker, without a jump."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from fixtures.live_stage import RATE, Stage, make_voice

from echoexport.runtime.live.frames import EASING, IDLE, SPEAKING
from echoexport.runtime.live.session import LiveSession

MakeStage = Callable[..., Stage]

SLOW = 0.06  # seconds of a step: two of them and the decoding leave 28 ms of a block's 160


def paint_loop(talk: LiveSession, level: int) -> None:
    """Make the idle loop's pictures tell themselves from all that is drawn."""
    for frame in talk._production._portrait.idle.frames:
        object.__setattr__(frame, "picture", np.full_like(frame.picture, level))


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
def test_no_frame_is_late_for_an_interrupt_whenever_it_comes(
    make_stage: MakeStage, workers: int, at_once: bool
) -> None:
    stage = make_stage(draw=SLOW, workers=workers)
    with stage.talk() as talk:
        frames = []
        for number in range(24):
            begun = stage.time.now()
            voice = make_voice(3.0, seed=number)
            if at_once:
                talk.push(voice, RATE)
            else:
                stage.speak(talk, voice[: round(1.5 * RATE)])
            called = begun + 0.9 + 0.017 * number  # every phase of blocks and frames
            stage.time.at(called, talk.interrupt)
            given = stage.take_until(talk, begun + 3.0)
            frames += [frame for _, frame in given]
            spoken = [moment for moment, frame in given if frame.state == SPEAKING]
            assert spoken
            assert spoken[0] < called
        assert [frame.late for frame in frames if frame.late] == []
        assert talk.steps_down == 0


def test_it_rests_within_200_ms_where_no_worker_is_free(stage: Stage) -> None:
    with stage.talk(patience=60) as talk:
        begun = stage.time.now()
        talk.push(make_voice(4.0), RATE)
        stage.take_until(talk, begun + 1)
        stage.workers.hung = "draw"
        called = stage.time.now()
        talk.interrupt()
        given = stage.take_until(talk, called + 1)
        assert [frame.state for _, frame in given[:4]] == [EASING, EASING, EASING, IDLE]
        assert given[3][0] - called <= 0.2
        assert {frame.state for _, frame in given[3:]} == {IDLE}
        assert {frame.steps for _, frame in given} == {0}


def test_what_was_shown_fades_into_the_loop_in_equal_steps(stage: Stage) -> None:
    with stage.talk() as talk:
        paint_loop(talk, 7)
        begun = stage.time.now()
        talk.push(make_voice(4.0), RATE)
        shown = [frame for _, frame in stage.take_until(talk, begun + 1)][-1]
        talk.interrupt()
        frames = stage.take(talk, 4)
        levels = [int(frame.picture[0, 0, 0]) for frame in [shown, *frames]]
        assert levels == [127, 97, 67, 37, 7]


def test_a_second_interrupt_does_not_bring_the_old_face_back(stage: Stage) -> None:
    with stage.talk() as talk:
        paint_loop(talk, 7)
        begun = stage.time.now()
        talk.push(make_voice(4.0), RATE)
        stage.take_until(talk, begun + 1)
        talk.interrupt()
        before = stage.take(talk, 2)[-1].picture.max()
        talk.interrupt()
        frames = stage.take(talk, 4)
        levels = [before, *(frame.picture.max() for frame in frames)]
        assert levels == sorted(levels, reverse=True)
        assert levels[-1] == 7
        assert {frame.epoch for frame in frames} == {2}


def test_a_word_that_was_not_shown_yet_is_never_seen(stage: Stage) -> None:
    with stage.talk() as talk:
        stage.take(talk, 3)
        talk.push(make_voice(4.0), RATE)
        while not talk._production.slots or talk._production.slots[0].picture is None:
            stage.time.run(0.001)
        talk.interrupt()
        frames = stage.take(talk, 20)
        assert {frame.state for frame in frames} == {IDLE}
        assert not any(frame.late for frame in frames)


def test_what_is_said_next_begins_where_the_loop_is(stage: Stage) -> None:
    with stage.talk() as talk:
        begun = stage.time.now()
        talk.push(make_voice(4.0), RATE)
        stage.take_until(talk, begun + 1)
        talk.interrupt()
        voice = make_voice(1.0, seed=3)
        talk.push(voice, RATE)
        talk.flush()
        frames = stage.take(talk, 40)
        states = [frame.state for frame in frames]
        first = states.index(SPEAKING)
        assert states[:3] == [EASING] * 3
        assert set(states[3:first]) == {IDLE}
        heard = np.concatenate([frame.samples for frame in frames])
        np.testing.assert_array_equal(heard[: voice.size], voice)
