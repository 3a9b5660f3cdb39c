"""WAVs as programs write them: lengths unknown or too long, cut anywhere, channels mixed."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np
import pytest

from echoexport.runtime.errors import AudioError
from echoexport.runtime.serve.voice.wave_stream import WaveReader

SAMPLES = np.arange(-50, 50, dtype="<i2")


def write_wave(samples: np.ndarray, *, channels: int = 1, rate: int = 22_050) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as opened:
        opened.setparams((channels, 2, rate, 0, "NONE", ""))
        opened.writeframes(samples.tobytes())
    return file.getvalue()


def read_all(data: bytes, *, piece: int = 1 << 20) -> tuple[np.ndarray, int]:
    reader = WaveReader()
    sound = b"".join(reader.read(data[at : at + piece]) for at in range(0, len(data), piece))
    reader.end()
    return np.frombuffer(sound, "<i2"), reader.rate


@pytest.mark.parametrize("piece", [1, 7, 45, 1000])
def test_a_wav_is_read_the_same_however_it_is_cut(piece: int) -> None:
    samples, rate = read_all(write_wave(SAMPLES), piece=piece)
    assert rate == 22_050
    np.testing.assert_array_equal(samples, SAMPLES)


@pytest.mark.parametrize("size", [0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF])
def test_a_length_that_the_writer_did_not_know_lasts_to_the_end(size: int) -> None:
    data = bytearray(write_wave(SAMPLES))
    struct.pack_into("<I", data, 40, size)
    np.testing.assert_array_equal(read_all(bytes(data))[0], SAMPLES)


def test_what_follows_the_sound_is_no_sound() -> None:
    tail = b"LIST" + struct.pack("<I", 400) + b"x" * 400
    np.testing.assert_array_equal(read_all(write_wave(SAMPLES) + tail, piece=9)[0], SAMPLES)


def test_chunks_before_the_sound_are_passed_over() -> None:
    data = write_wave(SAMPLES)
    odd = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    np.testing.assert_array_equal(read_all(data[:12] + odd + data[12:], piece=5)[0], SAMPLES)


def test_channels_are_averaged() -> None:
    both = np.stack([SAMPLES, SAMPLES + 10], axis=1)
    samples, _ = read_all(write_wave(both, channels=2), piece=11)
    np.testing.assert_array_equal(samples, SAMPLES + 5)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (0, b"OggS", "OggS"),
        (8, b"AVI ", "no WAV"),
        (20, struct.pack("<H", 3), "format 3"),
        (34, struct.pack("<H", 24), "24 bits"),
        (22, struct.pack("<H", 9), "9 channels"),
        (24, struct.pack("<I", 100), "100 Hz"),
        (16, struct.pack("<I", 70_000), "without a beginning"),
        (12, b"what", "does not say"),
    ],
)
def test_another_kind_of_file_is_named(place: int, value: bytes, words: str) -> None:
    data = bytearray(write_wave(SAMPLES) + bytes(70_000))
    data[place : place + len(value)] = value
    with pytest.raises(AudioError, match=words):
        read_all(bytes(data))


@pytest.mark.parametrize(("data", "words"), [(b"", "nothing"), (b"RIFF", "no WAV")])
def test_one_that_never_begins_is_told_at_its_end(data: bytes, words: str) -> None:
    with pytest.raises(AudioError, match=words):
        read_all(data)
