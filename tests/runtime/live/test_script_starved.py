"""Where sound fails to come the face eases to rest, and what comes later is not lost."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from echoexport.runtime.live.frames import EASING, IDLE, SPEAKING
from echoexport.runtime.live.listening.hearing import HearingSettings
from echoexport.runtime.live.script import SHUT, Cue, CueFrame, Script

BLOCK = 4
FRAME = 640  # samples at 25 fps


@pytest.fixture
def script() -> Script:
    return Script(HearingSettings(Fraction(25), 80, 16_000, -3.5))


def speak(frames: float) -> np.ndarray:
    """Noise, (n,) int16."""
    noise = np.random.default_rng(3).standard_normal(round(frames * FRAME))
    return (noise * 3000).astype(np.int16)


def take_all(script: Script) -> list[CueFrame]:
    frames = []
    while (cue := script.next(BLOCK)) is not None:
        frames += cue.frames
    return frames


def ease_all(script: Script) -> list[CueFrame]:
    frames = []
    while (cue := script.ease(BLOCK)) is not None:
        frames += cue.frames
    return frames


def starve(script: Script, sound: np.ndarray) -> list[CueFrame]:
    """All frames of sound that is pushed and not flushed, until the face rests."""
    script.hear(sound, 16_000)
    return [*take_all(script), *ease_all(script)]


def join_samples(frames: Sequence[CueFrame]) -> np.ndarray:
    return np.concatenate([frame.samples for frame in frames])


def count_ends(frames: Sequence[CueFrame]) -> int:
    return sum(frame.end_of_utterance for frame in frames)


def test_a_starved_face_says_all_it_heard_and_comes_to_rest(script: Script) -> None:
    sound = speak(10)
    frames = starve(script, sound)
    states = [frame.state for frame in frames]
    assert states[:10] == [SPEAKING] * 10
    assert set(states[10:]) == {EASING}
    assert 10 + SHUT < len(frames) <= 10 + 1 + SHUT + BLOCK
    assert np.array_equal(join_samples(frames), sound / np.float32(32768))
    assert count_ends(frames) == 0
    assert not script.speaking


@pytest.mark.parametrize("eased", [1, 2, 3, 4])
def test_the_flush_that_comes_late_gives_one_end_after_the_last_sample(
    script: Script, eased: int
) -> None:
    script.hear(speak(10), 16_000)
    frames = take_all(script)
    for _ in range(eased):
        cue = script.ease(BLOCK)
        assert isinstance(cue, Cue)
        frames += cue.frames
    script.flush()
    script.flush()
    frames += [*take_all(script), *ease_all(script)]
    assert count_ends(frames) == 1
    last = max(place for place, frame in enumerate(frames) if frame.samples.size)
    assert any(frame.end_of_utterance for frame in frames[last:])
    assert not script.take_owed_end()


def test_a_flush_at_rest_is_owed_to_whoever_makes_the_next_frame(script: Script) -> None:
    frames = starve(script, speak(10))
    assert take_all(script) == []  # the utterance is gone
    script.flush()
    assert script.owes_end
    assert count_ends(frames) == 0
    assert [script.take_owed_end() for _ in range(2)] == [True, False]


def test_an_end_that_is_owed_is_not_forgotten_by_a_second_flush(script: Script) -> None:
    starve(script, speak(10))
    script.flush()
    script.flush()
    assert script.take_owed_end()


def test_sound_that_comes_after_all_belongs_to_the_same_utterance(script: Script) -> None:
    first = speak(10)
    frames = starve(script, first)
    frames += starve(script, first)
    assert count_ends(frames) == 0
    script.hear(first, 16_000)
    script.flush()
    frames += [*take_all(script), *ease_all(script)]
    assert count_ends(frames) == 1
    assert np.array_equal(join_samples(frames), np.tile(first, 3) / np.float32(32768))
    script.flush()
    assert not script.owes_end


def test_a_byte_cut_off_is_joined_to_its_sample_over_a_pause(script: Script) -> None:
    sound = speak(20)
    pcm = sound.astype("<i2").tobytes()
    half = 10 * FRAME * 2 + 1
    script.hear(pcm[:half], 16_000)
    frames = [*take_all(script), *ease_all(script)]
    script.hear(pcm[half:], 16_000)
    script.flush()
    frames += [*take_all(script), *ease_all(script)]
    assert np.array_equal(join_samples(frames), sound / np.float32(32768))


def test_an_utterance_that_waits_for_its_second_chunk_is_not_cut_short(script: Script) -> None:
    sound = speak(10)
    script.hear(sound, 16_000)
    script.flush()
    frames = take_all(script)
    script.hear(sound[:300], 16_000)
    assert script.next(BLOCK) is None
    eased = script.ease(BLOCK)
    assert eased is not None
    assert not join_samples(eased.frames).size
    script.hear(sound[300:], 16_000)
    script.flush()
    after = [*take_all(script), *ease_all(script)]
    assert np.array_equal(join_samples(after), sound / np.float32(32768))
    assert count_ends(frames) == count_ends(after) == 1


def test_the_next_utterance_is_heard_at_rest_too(script: Script) -> None:
    sound = speak(10)
    script.hear(sound, 16_000)
    script.flush()
    take_all(script)
    script.hear(sound[:300], 16_000)
    ease_all(script)
    assert not script.speaking
    assert take_all(script) == []
    script.hear(sound[300:], 16_000)
    script.flush()
    frames = [*take_all(script), *ease_all(script)]
    assert np.array_equal(join_samples(frames), sound / np.float32(32768))
    assert count_ends(frames) == 1


def test_a_face_at_rest_has_nothing_to_ease(script: Script) -> None:
    assert script.ease(BLOCK) is None
    script.hear(speak(0.5), 16_000)
    assert script.ease(BLOCK) is None


def test_what_is_forgotten_has_no_end_and_the_face_eases_in_silence(script: Script) -> None:
    script.hear(speak(10), 16_000)
    take_all(script)
    script.hear(b"\x01", 16_000)
    script.forget()
    assert script.speaking
    assert script.pending == 0.0
    script.flush()
    frames = ease_all(script)
    assert len(frames) == -(-SHUT // BLOCK) * BLOCK
    assert count_ends(frames) == 0
    assert {frame.state for frame in frames} == {EASING}
    columns = [frame.columns for frame in frames]
    assert all(given is not None and len(np.unique(given)) == 1 for given in columns)
    script.hear(b"\x02\x00", 16_000)
    script.flush()
    (frame,) = take_all(script)
    assert (frame.state, frame.samples[0]) == (IDLE, np.float32(2 / 32768))


def test_pending_is_the_sound_that_no_cue_has_taken(script: Script) -> None:
    script.hear(speak(10), 16_000)
    assert script.pending == pytest.approx(0.4)
    taken = len(take_all(script))
    assert script.pending == pytest.approx(0.4 - taken / 25)
    script.flush()
    take_all(script)
    assert script.pending == 0.0
    script.hear(speak(5), 16_000)
    assert script.pending == pytest.approx(0.2)


def test_sound_is_paced_until_more_than_a_second_of_it_waits(script: Script) -> None:
    for _ in range(20):
        script.hear(speak(5), 16_000)
        take_all(script)
    assert script.paced
    script.hear(speak(30), 16_000)
    take_all(script)
    assert not script.paced
    script.flush()
    script.hear(speak(1), 16_000)
    assert script.paced
