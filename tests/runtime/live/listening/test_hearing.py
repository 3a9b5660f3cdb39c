"""What is heard of one utterance: when a frame can be drawn, its columns, its samples, silence."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoexport.runtime.conditioning.audio_tokens import token_rows
from echoexport.runtime.live.frames import count_frame_samples
from echoexport.runtime.live.listening.hearing import (
    HEARD_COLUMNS,
    LOOK_AHEAD,
    Hearing,
    HearingSettings,
)
from echoexport.runtime.live.listening.mel_columns import QUIET, MelColumns

RATES = (Fraction(24), Fraction(25), Fraction(30_000, 1001), Fraction(5), Fraction(60))


def open_ears(
    fps: Fraction = Fraction(25), *, sample_rate: int = 16_000, quiet_below: float = -3.5
) -> Hearing:
    return Hearing(HearingSettings(fps, 80, sample_rate, quiet_below))


def draw_sound(count: int, *, level: float = 0.2) -> np.ndarray:
    noise = np.random.default_rng(count).standard_normal(count)
    return (noise * level).astype(np.float32)


def test_a_frame_is_heard_after_132_5_milliseconds() -> None:
    assert float(LOOK_AHEAD) == 0.1325
    hearing = open_ears()
    for frame in range(8):
        wanted = int((Fraction(frame, 25) + LOOK_AHEAD) * 16_000)
        missing = wanted - hearing._samples.stop
        hearing.hear(draw_sound(missing - 1), 16_000)
        assert not hearing.is_heard(frame)
        hearing.hear(draw_sound(1), 16_000)
        assert hearing.is_heard(frame)
        assert not hearing.is_heard(frame + 1)


@pytest.mark.parametrize("fps", RATES)
def test_a_frames_columns_end_with_the_last_that_its_rows_read(fps: Fraction) -> None:
    hearing = open_ears(fps)
    sound = draw_sound(16_000 * 7)
    hearing.hear(sound, 16_000)
    whole = MelColumns(80)
    whole.hear(sound)
    for frame in (0, 1, int(fps), int(4 * fps), int(6 * fps)):
        centre = token_rows(frame, fps, 10**6)[-1] - 5
        last = 2 * centre + 12 if frame else 12
        columns = hearing.cut_columns(frame)
        assert columns.flags.c_contiguous
        start = max(0, last + 1 - HEARD_COLUMNS)
        assert start % 2 == 0
        assert np.array_equal(columns.T, whole.columns.cut(start, last + 1))


def test_what_lies_after_the_sounds_end_is_silence() -> None:
    hearing = open_ears()
    hearing.hear(draw_sound(3200), 16_000)
    hearing.end(flushed=True)
    columns = hearing.cut_columns(20)
    assert columns.shape == (80, 93)
    assert (columns[:, :20] > QUIET).any(axis=0).all()
    assert (columns[:, 22:] == QUIET).all()


def test_a_frame_that_is_heard_does_not_change_with_what_comes_after_it() -> None:
    hearing = open_ears()
    hearing.hear(draw_sound(5_000), 16_000)
    known = [frame for frame in range(20) if hearing.is_heard(frame)]
    before = [(hearing.cut_columns(f), hearing.cut_samples(f), hearing.is_quiet(f)) for f in known]
    hearing.hear(draw_sound(9_000), 16_000)
    hearing.end(flushed=True)
    assert len(known) == 5
    for frame, (columns, samples, quiet) in zip(known, before, strict=True):
        assert np.array_equal(hearing.cut_columns(frame), columns)
        assert np.array_equal(hearing.cut_samples(frame), samples)
        assert hearing.is_quiet(frame) == quiet


@pytest.mark.parametrize("fps", RATES)
def test_whoever_knows_a_frame_knows_whether_it_is_quiet(fps: Fraction) -> None:
    hearing = open_ears(fps)
    for _ in range(200):
        hearing.hear(draw_sound(160), 16_000)
        heard = [frame for frame in range(130) if hearing.is_heard(frame)]
        assert all(hearing.knows_quiet(frame) for frame in heard)
    assert hearing.is_heard(1)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(RATES),
    st.sampled_from((16_000, 24_000, 44_100)),
    st.sampled_from((8_000, 16_000, 22_050, 48_000)),
    st.integers(1, 9_000),
)
def test_as_many_frames_as_cover_the_sound_hold_all_its_samples(
    fps: Fraction, sample_rate: int, rate: int, count: int
) -> None:
    hearing = open_ears(fps, sample_rate=sample_rate)
    hearing.hear(draw_sound(count), rate)
    assert hearing.count_frames() is None
    hearing.end(flushed=True)
    frames = hearing.count_frames()
    assert frames is not None
    held = math.ceil(count * sample_rate / rate)
    assert hearing.seconds == Fraction(held, sample_rate)
    parts = [hearing.cut_samples(frame) for frame in range(frames)]
    for frame, part in enumerate(parts):
        assert part.size == count_frame_samples(frame, sample_rate, fps)
    samples = np.concatenate(parts)
    assert held <= samples.size < held + parts[-1].size
    assert not samples[held:].any()
    assert hearing.cut_samples(frames).size == 0
    if rate == sample_rate:
        assert np.array_equal(samples[:held], draw_sound(count))


def test_after_its_end_every_frame_is_heard_and_silence_follows() -> None:
    hearing = open_ears()
    hearing.hear(draw_sound(16_000), 16_000)
    hearing.end(flushed=False)
    assert hearing.is_heard(10_000)
    assert not hearing.is_quiet(24)
    assert all(hearing.is_quiet(frame) for frame in range(26, 60))
    assert (hearing.cut_columns(25 + 115) == QUIET).all()
    assert not (hearing.cut_columns(25 + 60) == QUIET).all()


def test_the_end_comes_once_and_says_whether_it_was_told() -> None:
    hearing = open_ears()
    hearing.hear(draw_sound(441), 44_100)
    hearing.end(flushed=False)
    assert (hearing.ended, hearing.flushed) == (True, False)
    seconds = hearing.seconds
    hearing.end(flushed=True)
    hearing.end(flushed=False)
    assert (hearing.ended, hearing.flushed) == (True, True)
    assert hearing.seconds == seconds


@pytest.mark.parametrize(("amplitude", "quiet"), [(0.1, False), (0.003, False), (0.0005, True)])
def test_the_loudness_of_silence_is_told_from_speech(amplitude: float, quiet: bool) -> None:
    times = np.arange(16_000) / 16_000
    hearing = open_ears()
    hearing.hear((amplitude * np.sin(2 * np.pi * 250 * times)).astype(np.float32), 16_000)
    assert hearing.is_quiet(10) is quiet


def test_a_click_is_heard_in_its_own_frame_and_no_later_one() -> None:
    hearing = open_ears()
    sound = np.zeros(16_000, np.float32)
    sound[640 * 5 + 320] = 0.9
    hearing.hear(sound, 16_000)
    assert [frame for frame in range(20) if not hearing.is_quiet(frame)] == [5]


def test_sound_that_is_done_with_is_forgotten() -> None:
    hearing = open_ears(sample_rate=24_000)
    second = draw_sound(24_000)
    frame = 0
    for _ in range(120):
        hearing.hear(second, 24_000)
        while hearing.is_heard(frame):
            frame += 1
        hearing.cut_columns(frame - 1)
        hearing.forget(frame)
    held = [hearing._samples, hearing._mel.columns, hearing._mel.loudness]
    rows = [array.stop - array.start for array in held]
    assert rows[0] <= 0.2 * 24_000
    assert max(rows[1:]) <= HEARD_COLUMNS + 10
    assert frame == 120 * 25 - 4 + 1
