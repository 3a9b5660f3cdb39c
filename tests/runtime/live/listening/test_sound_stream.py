"""Chunks of PCM become samples: read whatever they are, mixed, resampled, all the same."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoexport.runtime.errors import AudioError, SettingError
from echoexport.runtime.live.listening.sound_stream import (
    HIGHEST_RATE,
    LOUDEST,
    LOWEST_RATE,
    MOST_CHANNELS,
    PcmReader,
    StreamResampler,
    check_rate,
    mix_channels,
)

RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


def draw_sound(count: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(count) * 0.2
    return noise.astype(np.float32)


def cut(whole: Any, cuts: list[int]) -> Iterator[Any]:
    """Pieces of what can be sliced, cut at places that wrap round its length."""
    places = sorted({place % (len(whole) + 1) for place in cuts} | {0, len(whole)})
    for start, stop in pairwise(places):
        yield whole[start:stop]


def resample(pieces: Iterator[np.ndarray], rate: int, *, to: int) -> np.ndarray:
    stream = StreamResampler(to)
    return np.concatenate([*(stream.convert(piece, rate) for piece in pieces), stream.end()])


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=12))
def test_bytes_may_be_cut_anywhere(pcm: bytes, cuts: list[int]) -> None:
    reader = PcmReader()
    read = [reader.read(piece) for piece in cut(pcm, cuts)]
    wanted = np.frombuffer(pcm[: len(pcm) & ~1], "<i2").astype(np.float32) / 32768
    assert np.array_equal(np.concatenate([*read, np.zeros(0)]), wanted)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_every_kind_are_the_integers_they_hold(kind: Any) -> None:
    samples = np.array([0, 1, -32768, 32767], np.int16)
    read = PcmReader().read(kind(samples.astype("<i2").tobytes()))
    assert np.array_equal(read, PcmReader().read(samples))
    assert read.tolist() == [0.0, 1 / 32768, -1.0, 32767 / 32768]


def test_half_a_sample_ends_with_its_utterance() -> None:
    reader = PcmReader()
    reader.read(b"\x01\x00\x7f")
    reader.end()
    assert reader.read(b"\x02\x00").tolist() == [2 / 32768]


def test_an_array_amid_a_sample_is_refused_and_the_half_kept() -> None:
    reader = PcmReader()
    reader.read(b"\x01")
    with pytest.raises(AudioError, match="middle of a 16-bit sample"):
        reader.read(np.zeros(3, np.float32))
    assert reader.read(b"\x01").tolist() == [257 / 32768]


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8"])
def test_floats_of_any_width_are_samples(dtype: str) -> None:
    samples = np.array([0.0, 0.5, -1.0], dtype)
    read = PcmReader().read(samples)
    assert read.dtype == np.float32
    assert read.tolist() == [0.0, 0.5, -1.0]


def test_what_is_read_is_not_the_callers_array() -> None:
    samples = np.zeros(4, np.float32)
    read = PcmReader().read(samples)
    samples[:] = 1.0
    assert not read.any()


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (np.zeros(3, np.int32), "dtype int32"),
        (np.zeros(3, np.uint8), "dtype uint8"),
        (np.zeros(3, bool), "dtype bool"),
        (np.zeros(3, np.complex64), "dtype complex64"),
        (np.array(["a"]), "dtype <U1"),
        (np.array([None]), "dtype object"),
        ("sound", "dtype <U5"),
        (None, "dtype object"),
        ([[0.1], [0.2, 0.3]], "no array"),
        (np.array([0.0, np.nan], np.float32), "NaN or infinite"),
        (np.array([0.0, -np.inf]), "NaN or infinite"),
        (np.array([1e300]), "NaN or infinite"),
        (np.array([0.0, -12_000.0]), r"reach 12000: scale them to \[-1, 1\]"),
        (np.float32(0.5), r"shape \(\)"),
        (np.zeros((2, 3, 1), np.float32), r"shape \(2, 3, 1\)"),
        (np.zeros((2, 0), np.float32), r"shape \(2, 0\)"),
        (np.zeros((2, MOST_CHANNELS + 1), np.float32), "up to 8 channels"),
    ],
)
def test_what_is_no_sound_is_refused_in_one_line(chunk: Any, message: str) -> None:
    with pytest.raises(AudioError, match=message) as caught:
        PcmReader().read(chunk)
    assert "\n" not in str(caught.value)


def test_a_little_beyond_full_scale_is_taken_as_a_resampler_gives_it() -> None:
    assert PcmReader().read(np.array([LOUDEST, -1.3])).tolist() == [LOUDEST, np.float32(-1.3)]


@given(
    st.integers(1, MOST_CHANNELS),
    st.integers(0, 50),
    st.lists(st.integers(0, 50), max_size=6),
    st.sampled_from("CF"),
)
def test_channels_are_averaged_the_same_in_any_cut_and_layout(
    channels: int, count: int, cuts: list[int], order: Any
) -> None:
    sound = draw_sound(count * channels).reshape(count, channels)
    mixed = mix_channels(sound)
    laid_out = np.asarray(sound, order=order)
    pieces = [mix_channels(piece) for piece in cut(laid_out, cuts)]
    assert np.array_equal(np.concatenate([*pieces, np.zeros(0, np.float32)]), mixed)
    assert np.allclose(mixed, sound.astype(np.float64).mean(axis=1), atol=1e-7)


def test_integers_in_stereo_are_averaged_without_overflow() -> None:
    loud = np.full((2, 2), 32767, np.int16)
    assert PcmReader().read(loud).tolist() == [32767 / 32768] * 2


@pytest.mark.parametrize("rate", [LOWEST_RATE, np.int64(44_100), HIGHEST_RATE])
def test_rates_that_sound_has_are_taken(rate: Any) -> None:
    assert check_rate(rate) == rate


@pytest.mark.parametrize(
    "rate", [0, -16_000, LOWEST_RATE - 1, HIGHEST_RATE + 1, 16_000.0, "16000", None, True]
)
def test_rates_that_no_sound_has_are_refused(rate: Any) -> None:
    with pytest.raises(SettingError, match=r"sample rate .* a whole number from 4000 to 384000"):
        check_rate(rate)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(RATES),
    st.sampled_from((16_000, 24_000, 44_100)),
    st.integers(0, 4_000),
    st.lists(st.integers(0, 4_000), max_size=20),
)
def test_chunks_never_change_what_is_resampled(
    rate: int, to: int, count: int, cuts: list[int]
) -> None:
    sound = draw_sound(count)
    whole = resample(iter([sound]), rate, to=to)
    assert np.array_equal(resample(cut(sound, cuts), rate, to=to), whole)
    assert whole.dtype == np.float32
    assert whole.size == math.ceil(count * to / rate)


@settings(max_examples=40)
@given(
    st.integers(LOWEST_RATE, 48_000),
    st.integers(0, 4_000),
    st.lists(st.integers(0, 4_000), max_size=20),
)
def test_nor_do_they_at_rates_that_nobody_uses(rate: int, count: int, cuts: list[int]) -> None:
    sound = draw_sound(count)
    whole = resample(iter([sound]), rate, to=16_000)
    assert np.array_equal(resample(cut(sound, cuts), rate, to=16_000), whole)
    assert whole.size == math.ceil(count * 16_000 / rate)


@pytest.mark.parametrize("rate", [19_662, 21_694, 32_883, 33_094])  # no ratio of few phases
def test_single_samples_never_change_what_is_resampled(rate: int) -> None:
    sound = draw_sound(6_000)
    whole = resample(iter([sound]), rate, to=16_000)
    assert np.array_equal(resample(iter(sound[:, None]), rate, to=16_000), whole)


@pytest.mark.parametrize("rate", RATES)
def test_chunks_of_a_millisecond_never_change_what_is_resampled(rate: int) -> None:
    sound = draw_sound(rate // 2)
    step = rate // 1000
    pieces = (sound[start : start + step] for start in range(0, sound.size, step))
    assert np.array_equal(
        resample(pieces, rate, to=16_000), resample(iter([sound]), rate, to=16_000)
    )


def test_the_wanted_rate_goes_through_at_once_and_bit_for_bit() -> None:
    sound = draw_sound(1_000)
    stream = StreamResampler(24_000)
    assert np.array_equal(stream.convert(sound, 24_000), sound)
    assert stream.end().size == 0


@pytest.mark.parametrize(("rate", "most"), [(8_000, 2), (24_000, 2), (48_000, 2), (19_662, 4)])
def test_no_more_than_a_few_milliseconds_are_held_back(rate: int, most: int) -> None:
    stream = StreamResampler(16_000)
    given_back = stream.convert(draw_sound(rate), rate).size
    assert 16_000 - 16 * most <= given_back <= 16_000


@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
def test_a_tone_stays_where_it_was(rate: int) -> None:
    times = np.arange(rate) / rate
    tone = np.sin(2 * np.pi * 440 * times).astype(np.float32)
    wanted = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    made = resample(iter([tone]), rate, to=16_000)
    assert np.abs(made - wanted)[200:-200].max() < 0.01


def test_a_change_of_rate_ends_what_came_before_it() -> None:
    first = draw_sound(480, seed=1)
    second = draw_sound(441, seed=2)
    stream = StreamResampler(16_000)
    made = [stream.convert(first, 48_000), stream.convert(second, 44_100), stream.end()]
    alone = [
        resample(iter([first]), 48_000, to=16_000),
        resample(iter([second]), 44_100, to=16_000),
    ]
    assert np.array_equal(np.concatenate(made), np.concatenate(alone))


def test_an_empty_chunk_of_another_rate_does_nothing() -> None:
    sound = draw_sound(960)
    stream = StreamResampler(16_000)
    nothing = np.zeros(0, np.float32)
    made = [
        stream.convert(sound[:500], 48_000),
        stream.convert(nothing, 8_000),
        stream.convert(sound[500:], 48_000),
        stream.end(),
    ]
    assert np.array_equal(np.concatenate(made), resample(iter([sound]), 48_000, to=16_000))


def test_after_its_end_a_stream_begins_anew() -> None:
    sound = draw_sound(441)
    stream = StreamResampler(16_000)
    twice = [np.concatenate([stream.convert(sound, 44_100), stream.end()]) for _ in range(2)]
    assert np.array_equal(*twice)
    assert stream.end().size == 0
