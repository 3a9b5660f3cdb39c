"""A live session when something goes wrong: sound, engines, clocks, consumers, load."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from fixtures.live_stage import RATE, Stage, make_voice

from echoexport.runtime.errors import (
    AudioError,
    BackendError,
    CapacityError,
    DeviceError,
    SettingError,
)
from echoexport.runtime.live.frames import IDLE, SPEAKING, LiveFrame

MakeStage = Callable[..., Stage]


def samples_of(frames: list[LiveFrame]) -> np.ndarray:
    return np.concatenate([frame.samples for frame in frames])


def test_sound_with_nan_is_refused_and_the_session_goes_on(stage: Stage) -> None:
    voice = make_voice(1.0)
    with stage.talk(pace="fast") as talk:
        talk.push(voice[:5000], RATE)
        with pytest.raises(AudioError, match="NaN"):
            talk.push(np.full(100, np.nan, np.float32), RATE)
        talk.push(voice[5000:], RATE)
        talk.finish()
        np.testing.assert_array_equal(samples_of(list(talk))[: voice.size], voice)


def test_more_sound_than_may_wait_is_refused_with_the_seconds(stage: Stage) -> None:
    with stage.talk(most_pending=2.0) as talk:
        talk.push(make_voice(3.0), RATE)
        with pytest.raises(AudioError, match="at most 2 may"):
            talk.push(make_voice(1.0), RATE)


def test_an_engine_that_fails_ends_its_session_and_no_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage.talk() as bad, stage.talk() as good:
        bad.push(make_voice(1.0), RATE)

        def refuse(*_: object) -> None:
            raise BackendError("no more memory")

        with monkeypatch.context() as patched:
            patched.setattr(stage.host, "decode", refuse)
            with pytest.raises(BackendError, match="no more memory"):
                stage.take(bad, 100)
        good.push(make_voice(1.0), RATE)
        assert SPEAKING in {frame.state for frame in stage.take(good, 40)}


def test_an_engine_that_never_answers_ends_its_session_and_its_worker_is_replaced(
    make_stage: MakeStage,
) -> None:
    stage = make_stage(workers=1)
    with stage.talk(patience=3.0) as talk:
        stage.take(talk, 3)
        stage.workers.hung = "draw"
        talk.push(make_voice(1.0), RATE)
        begin = stage.time.now()
        with pytest.raises(BackendError, match="drawing: the engine has given no answer for 3 s"):
            stage.take_until(talk, begin + 60)
        assert stage.time.now() - begin < 3.5
    stage.workers.hung = ""
    with stage.talk() as talk:
        talk.push(make_voice(1.0), RATE)
        assert SPEAKING in {frame.state for frame in stage.take(talk, 30)}


def test_after_an_engine_failed_new_sessions_open_networks_anew(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stage.host.network("denoising_unet")

    def refuse(*_: object) -> None:
        raise BackendError("out of memory")

    with stage.talk() as talk, monkeypatch.context() as patched:
        patched.setattr(stage.host, "decode", refuse)
        talk.push(make_voice(1.0), RATE)
        with pytest.raises(BackendError, match="out of memory"):
            stage.take(talk, 60)
    with stage.talk() as talk:
        assert stage.host.network("denoising_unet") is not before
        talk.push(make_voice(1.0), RATE)
        assert SPEAKING in {frame.state for frame in stage.take(talk, 40)}


def test_a_lost_device_ends_every_session_with_its_error(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: object) -> None:
        raise DeviceError("the GPU has fallen off the bus")

    with stage.talk() as speaking, stage.talk() as idle, monkeypatch.context() as patched:
        patched.setattr(stage.host, "decode", lose)
        speaking.push(make_voice(1.0), RATE)
        with pytest.raises(DeviceError, match="fallen off"):
            stage.take(speaking, 60)
        with pytest.raises(DeviceError, match="fallen off"):
            stage.take(idle, 60)
        assert stage.host.closed


def test_a_consumer_that_stops_stops_the_drawing_and_can_come_back(stage: Stage) -> None:
    with stage.talk() as talk:
        talk.push(make_voice(30.0), RATE)
        stage.take(talk, 20)
        stage.time.run(30)
        # what may be drawn ahead, and the block that was begun
        assert talk.statistics.blocks <= (20 + 20 + 8) // 4
        assert SPEAKING in {frame.state for frame in stage.take(talk, 50)}


def test_a_clock_that_jumps_an_hour_makes_no_hour_of_frames(stage: Stage) -> None:
    with stage.talk() as talk:
        stage.take(talk, 10)
        stage.time.run(3600)
        begin = stage.time.now()
        stage.take(talk, 50)
        assert stage.time.now() - begin > 0.9


def test_twelve_hours_of_idling_and_speaking_keep_sound_and_picture_together(
    stage: Stage,
) -> None:
    with stage.talk() as talk:
        begin = stage.time.now()
        delays = []
        for hour in range(12):
            stage.time.run(3600)
            stage.take(talk, 3)
            start = stage.time.now() + 0.1
            voice = make_voice(2.0, seed=hour)
            stage.speak(talk, voice, delay=0.1)
            given = stage.take_until(talk, start + 4)
            frames = [frame for _, frame in given]
            np.testing.assert_array_equal(samples_of(frames)[: voice.size], voice)
            first = next(moment for moment, frame in given if frame.samples.size)
            delays.append(first - start)
            assert frames[-1].state == IDLE
        assert stage.time.now() - begin > 12 * 3600
        assert max(delays) - min(delays) < 0.02
        assert len(talk._production.slots) < 10


def test_sound_that_never_ends_keeps_its_delay_and_little_of_the_past(stage: Stage) -> None:
    with stage.talk() as talk:
        begin = stage.time.now()
        silence = np.zeros(320, np.float32)
        voice = make_voice(0.02)
        for number in range(50 * 120):
            # a microphone whose clock is 1 % quick: half a minute of talk, half of silence
            chunk = voice if number % 3000 < 1500 else silence
            moment = begin + 0.0198 * (number + 1)
            stage.time.at(moment, lambda chunk=chunk: talk.push(chunk, RATE))
        stage.take_until(talk, begin + 115)
        assert talk.pending < 0.8
        assert talk._playout.skipped > 0


def test_numbers_that_are_none_end_the_session_with_one_line(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = stage.host.network("denoising_unet")
    with stage.talk() as talk:
        velocity = network({t.name: np.zeros(t.shape, t.dtype) for t in network.spec.inputs})
        broken = {"velocity": np.full_like(velocity["velocity"], np.nan)}
        monkeypatch.setattr(type(network), "__call__", lambda self, inputs: broken)
        talk._production._tokens.silence = None  # type: ignore[assignment,method-assign]
        monkeypatch.setattr(
            talk._production._tokens, "encode", lambda columns: np.zeros((50, 4), np.float32)
        )
        talk.push(make_voice(1.0), RATE)
        with pytest.raises(BackendError, match="NaN"):
            stage.take(talk, 100)


def test_a_process_without_a_free_descriptor_goes_on_talking(stage: Stage) -> None:
    with stage.talk() as talk:
        stage.take(talk, 3)
        held = []
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, limit[1]))
        try:
            with suppress(OSError):
                for _ in range(64):
                    held.append(os.open(os.devnull, os.O_RDONLY))
            talk.push(make_voice(1.0), RATE)
            assert SPEAKING in {frame.state for frame in stage.take(talk, 40)}
        finally:
            for descriptor in held:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def test_a_closed_session_takes_and_gives_nothing(stage: Stage) -> None:
    talk = stage.talk()
    talk.close()
    assert talk.next_frame() is None
    with pytest.raises(SettingError, match="closed"):
        talk.push(make_voice(0.1), RATE)
    talk.close()


def test_after_the_end_was_told_nothing_more_may_come(stage: Stage) -> None:
    with stage.talk() as talk:
        talk.finish()
        with pytest.raises(SettingError, match="nothing more"):
            talk.push(make_voice(0.1), RATE)
        assert list(talk) == []


def test_one_session_more_than_the_device_can_draw_for_is_refused(make_stage: MakeStage) -> None:
    stage = make_stage()
    stage.host.costs.tell("draw 2 renoised", 0.04)
    stage.host.costs.tell("decode", 0.003)
    share = (0.04 / 4 + 0.003) * 25 / 2
    sessions = [stage.talk() for _ in range(int(0.75 / share))]
    with pytest.raises(CapacityError, match="75% may be taken"):
        stage.talk()
    sessions.pop().close()
    stage.talk().close()


def test_a_device_that_falls_behind_goes_down_the_ladder_and_comes_back(
    make_stage: MakeStage,
) -> None:
    stage = make_stage(workers=1)
    with stage.talk(steps=4) as talk:
        begin = stage.time.now()
        stage.speak(talk, make_voice(20.0))
        stage.time.at(begin + 4, lambda: setattr(stage.workers, "slower", 3.0))
        stage.time.at(begin + 9, lambda: setattr(stage.workers, "slower", 1.0))
        given = stage.take_until(talk, begin + 16)
        steps = [(moment - begin, frame.steps) for moment, frame in given if frame.steps]
        assert min(count for moment, count in steps if moment < 4) == 4
        assert min(count for moment, count in steps if 4 < moment < 9) < 4
        assert max(count for moment, count in steps if moment > 13) == 4
        assert talk.statistics.late_frames > 0


def test_a_session_that_failed_takes_no_more_room_and_no_more_sound(
    make_stage: MakeStage,
) -> None:
    stage = make_stage(workers=1)
    stage.host.costs.tell("draw 2 renoised", 0.04)
    stage.host.costs.tell("decode", 0.003)
    sessions = [stage.talk() for _ in range(2)]
    with pytest.raises(CapacityError):
        stage.talk()
    sessions[0].fail(BackendError("it broke"))
    sessions[0].fail(BackendError("and again"))
    stage.talk().close()
    with pytest.raises(SettingError, match="this live session has ended: it broke"):
        sessions[0].push(make_voice(0.1), RATE)
    with pytest.raises(BackendError, match="it broke"):
        sessions[0].next_frame()


def test_who_has_a_loop_of_his_own_is_told_of_an_engine_that_hangs(make_stage: MakeStage) -> None:
    stage = make_stage(workers=1)
    with stage.talk(patience=3.0) as talk:
        stage.take(talk, 3)
        stage.workers.hung = "draw"
        talk.push(make_voice(1.0), RATE)
        with pytest.raises(BackendError, match="has given no answer for 3 s"):
            for _ in range(100):
                if talk.due_in() == 0:
                    talk.next_frame()
                stage.time.run(0.04)


def test_a_block_that_was_broken_off_says_nothing_of_what_blocks_cost(stage: Stage) -> None:
    with stage.talk() as talk:
        talk.push(make_voice(5.0), RATE)
        stage.take(talk, 30)
        known = stage.host.costs.bad("draw 2 renoised")
        stage.workers.seconds["draw"] = 5.0
        stage.take(talk, 5)
        talk.interrupt()
        stage.workers.seconds["draw"] = 0.02
        stage.time.run(11.0)
        assert stage.host.costs.bad("draw 2 renoised") == known > 0
