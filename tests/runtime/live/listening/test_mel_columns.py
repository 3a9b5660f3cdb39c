"""Mel columns of a stream are the clip's, whatever the chunks."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoexport.runtime.conditioning.mel import HOP, N_FFT, log_mel
from echoexport.runtime.live.listening.mel_columns import FLOOR, QUIET, MelColumns


def hear(*pieces: np.ndarray, mels: int = 80) -> MelColumns:
    columns = MelColumns(mels)
    for piece in pieces:
        columns.hear(piece)
    return columns


def hold(columns: MelColumns) -> np.ndarray:
    return columns.columns.cut(columns.columns.start, columns.columns.stop)


def draw_sound(count: int, *, level: float = 0.2) -> np.ndarray:
    noise = np.random.default_rng(count).standard_normal(count)
    return (noise * level).astype(np.float32)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 5_000), st.lists(st.integers(0, 5_000), max_size=30))
def test_chunks_never_change_a_bit(count: int, cuts: list[int]) -> None:
    sound = draw_sound(count)
    whole = hear(sound)
    places = sorted({min(place, count) for place in cuts})
    parts = hear(*np.split(sound, places))
    assert len(parts) == len(whole)
    assert np.array_equal(hold(parts), hold(whole))
    assert np.array_equal(parts.loudness.cut(0, len(whole)), whole.loudness.cut(0, len(whole)))


def test_single_samples_never_change_a_bit() -> None:
    sound = draw_sound(2_000)
    assert np.array_equal(hold(hear(*sound[:, None])), hold(hear(sound)))


def test_a_long_sound_at_once_never_changes_a_bit() -> None:
    sound = draw_sound(16_000 * 25)
    pieces = np.split(sound, range(16_000, sound.size, 16_000))
    assert np.array_equal(hold(hear(sound)), hold(hear(*pieces)))


def test_a_column_is_there_once_its_last_sample_is() -> None:
    columns = MelColumns(80)
    columns.hear(np.zeros(N_FFT // 2 - 1, np.float32))
    assert len(columns) == 0
    columns.hear(np.zeros(1, np.float32))
    assert len(columns) == 1
    columns.hear(np.zeros(HOP - 1, np.float32))
    assert len(columns) == 1
    columns.hear(np.zeros(1, np.float32))
    assert len(columns) == 2


@pytest.mark.parametrize("mels", [40, 80])
def test_inside_a_clip_they_are_the_clips_but_for_the_floor(mels: int) -> None:
    times = np.arange(32_000) / 16_000
    word = np.sin(2 * np.pi * 200 * times) * np.sin(np.pi * times) ** 2
    sound = (0.3 * word).astype(np.float32) + draw_sound(32_000, level=1e-4)
    clip = log_mel(sound, n_mels=mels).T
    stream = hold(hear(sound, mels=mels))
    highest_floor = max(clip.min(), QUIET)
    inside = slice(2, min(len(stream), len(clip)) - 2)
    assert np.allclose(
        np.maximum(stream[inside], highest_floor),
        np.maximum(clip[inside], highest_floor),
        rtol=0,
        atol=1e-5,
    )


def test_the_floor_depends_on_no_other_column() -> None:
    quiet = draw_sound(8_000, level=1e-6)
    loud = draw_sound(8_000, level=0.5)
    alone = hold(hear(quiet))
    followed = hold(hear(quiet, loud))
    assert np.array_equal(alone, followed[: len(alone)])


def test_silence_is_quiet_and_its_loudness_lies_below_the_floor() -> None:
    columns = hear(np.zeros(1_600, np.float32))
    assert np.array_equal(np.unique(hold(columns)), [QUIET])
    assert (columns.loudness.cut(0, len(columns)) < FLOOR).all()


def test_loudness_is_the_strongest_channels() -> None:
    columns = hear(draw_sound(4_000))
    logs = hold(columns) * 4 - 4
    assert np.allclose(columns.loudness.cut(0, len(columns)), logs.max(axis=1), atol=1e-5)


def test_only_a_windows_samples_are_kept() -> None:
    columns = MelColumns(80)
    for _ in range(300):
        columns.hear(np.zeros(1_600, np.float32))
        columns.columns.forget(len(columns) - 301)
        columns.loudness.forget(len(columns) - 301)
    held = columns._samples.stop - columns._samples.start
    assert held < N_FFT
    assert columns.columns.stop - columns.columns.start == 301


def test_work_space_does_not_grow_with_a_chunk() -> None:
    minutes = 3
    sound = np.zeros(16_000 * 60 * minutes, np.float32)
    columns = MelColumns(80)
    tracemalloc.start()
    columns.hear(sound)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    results = 2 * 100 * 60 * minutes * 81 * 4 * 4
    assert peak < 4 * sound.nbytes + results + 16e6
