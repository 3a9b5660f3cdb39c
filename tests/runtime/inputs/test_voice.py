"""Voices are read from any file that holds sound, and refused by name where there is none."""

from __future__ import annotations

import hashlib
import struct
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoexport.runtime.errors import AudioError
from echoexport.runtime.inputs.voice import (
    SAMPLE_RATE,
    question_voice,
    read_voice,
    voice_from_samples,
)

A4 = 440.0


def make_sine(*, rate: int, seconds: float = 1.0, amplitude: float = 12_000.0) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * A4 * np.arange(int(rate * seconds)) / rate)


def write_wav(path: Path, samples: np.ndarray, *, rate: int) -> Path:
    """Write (n,) or (n, channels) samples as 16-bit PCM."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.rint(samples).astype("<i2").tobytes())
    return path


def write_float_wav(path: Path, samples: np.ndarray, *, rate: int = SAMPLE_RATE) -> Path:
    """Write (n,) samples as 32-bit float PCM, which the wave module cannot."""
    data = samples.astype("<f4").tobytes()
    layout = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, rate, rate * 4, 4, 32)
    body = b"WAVE" + layout + struct.pack("<4sI", b"data", len(data)) + data
    path.write_bytes(struct.pack("<4sI", b"RIFF", len(body)) + body)
    return path


def encode_sound(path: Path, samples: np.ndarray, *, codec: str, rate: int) -> Path:
    """Compress (n,) 16-bit samples with one of PyAV's encoders."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "mono"
        stream.bit_rate = 128_000
        packet = 1152 if codec == "libmp3lame" else 1024
        resampler = av.AudioResampler(
            format=stream.format, layout="mono", rate=rate, frame_size=packet
        )
        sound = av.AudioFrame.from_ndarray(
            np.rint(samples).astype("i2")[None], format="s16", layout="mono"
        )
        sound.sample_rate = rate
        sound.pts = 0
        sound.time_base = Fraction(1, rate)
        for frame in [*resampler.resample(sound), *resampler.resample(None)]:
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_a_16_khz_mono_wav_comes_through_bit_for_bit(
    reference_dir: Path, goldens_tiny: Any
) -> None:
    voice = read_voice(reference_dir / "voice.wav")
    golden = goldens_tiny["audio/waveform_int16"]
    assert np.array_equal(voice.samples, golden.astype(np.float32) / 32768)
    assert voice.samples.dtype == np.float32
    assert voice.duration == Fraction(golden.size, 16_000)
    assert voice.path == reference_dir / "voice.wav"


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
def test_a_sine_at_any_rate_becomes_the_same_sine_at_16_khz(tmp_path: Path, rate: int) -> None:
    voice = read_voice(write_wav(tmp_path / "sine.wav", make_sine(rate=rate), rate=rate))
    wanted = make_sine(rate=SAMPLE_RATE)
    assert voice.samples.size == wanted.size
    inside = slice(200, -200)  # the resampler's filter knows nothing beyond the ends
    assert np.abs(voice.samples * 32768 - wanted)[inside].max() < 2  # 16-bit steps


def test_two_channels_are_averaged(tmp_path: Path) -> None:
    left = make_sine(rate=SAMPLE_RATE)
    voice = read_voice(
        write_wav(tmp_path / "stereo.wav", np.stack([left, left / 2], axis=1), rate=SAMPLE_RATE)
    )
    assert np.abs(voice.samples * 32768 - left * 0.75).max() <= 1.5


def test_of_channels_that_cancel_each_other_out_one_is_heard(tmp_path: Path) -> None:
    left = make_sine(rate=SAMPLE_RATE)
    voice = read_voice(
        write_wav(tmp_path / "stereo.wav", np.stack([left, -left], axis=1), rate=SAMPLE_RATE)
    )
    heard = voice.samples[SAMPLE_RATE // 50 :] * 32768  # from silence within 10 ms
    assert np.abs(heard - left[SAMPLE_RATE // 50 :]).max() <= 1


def test_the_duration_is_the_sources_own_and_exact(tmp_path: Path) -> None:
    voice = read_voice(write_wav(tmp_path / "odd.wav", np.zeros(10_007), rate=44_100))
    assert voice.duration == Fraction(10_007, 44_100)


def test_silence_is_a_voice_too(tmp_path: Path) -> None:
    voice = read_voice(write_wav(tmp_path / "silence.wav", np.zeros(8000), rate=SAMPLE_RATE))
    assert not voice.samples.any()


def test_a_float_wav_is_read_as_16_bit_integers(tmp_path: Path) -> None:
    sine = make_sine(rate=SAMPLE_RATE) / 32768
    voice = read_voice(write_float_wav(tmp_path / "float.wav", sine))
    assert np.array_equal(voice.samples * 32768, np.rint(voice.samples * 32768))
    assert np.abs(voice.samples - sine).max() <= 1 / 32768


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp3", "libmp3lame"), ("a.m4a", "aac"), ("a.flac", "flac")]
)
def test_compressed_sound_is_read_whole(tmp_path: Path, name: str, codec: str) -> None:
    sine = make_sine(rate=44_100, seconds=1.5)
    voice = read_voice(encode_sound(tmp_path / name, sine, codec=codec, rate=44_100))
    assert abs(voice.duration - Fraction(3, 2)) < Fraction(1, 20)
    assert abs(voice.samples.size / SAMPLE_RATE - voice.duration) < Fraction(1, 1000)
    middle = voice.samples[8000:16_000]
    pitch = np.abs(np.fft.rfft(middle)).argmax() * SAMPLE_RATE / middle.size
    assert pitch == A4
    # LAME makes everything 5 % quieter
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(
        12_000 / 32768 / np.sqrt(2), rel=0.06
    )  # LAME takes 5 % off


def test_the_sound_of_a_video_is_read(tmp_path: Path, reference_dir: Path) -> None:
    from echoexport.runtime.sinks.open import open_sink

    video = tmp_path / "talk.mp4"
    with open_sink(video, size=(32, 32), fps=24, voice_path=reference_dir / "voice.wav") as sink:
        for _ in range(72):
            sink.write(np.zeros((32, 32, 3), np.uint8))
    voice = read_voice(video)
    original = read_voice(reference_dir / "voice.wav")
    # The last AAC packet's padding.
    assert 0 <= voice.duration - original.duration < Fraction(1024, 16_000)
    heard = voice.samples[: original.samples.size]
    assert np.corrcoef(heard, original.samples)[0, 1] > 0.99  # in step to the sample


def test_the_speech_beside_the_checkout_is_read(media_dir: Path) -> None:
    voice = read_voice(media_dir / "speech_en.wav")
    assert voice.duration == Fraction(125_696, 24_000)
    assert abs(voice.samples.size - voice.duration * SAMPLE_RATE) < 1


def test_ordinary_voices_give_the_samples_that_they_always_gave(media_dir: Path) -> None:
    from echoexport.export.demo.assets import builtin_voice

    hashes = {
        media_dir / "speech_en.wav": (
            "4ce3751b2d32ee1513c68cbd1620a92bb0f4db4957f726776f8f2442ad01e3a3"
        ),
        builtin_voice(): "861c2c306796c719842a0388ba78ba32bddc5c0600ae377aa81b4014f65e65d4",
    }
    for path, wanted in hashes.items():
        assert hashlib.sha256(read_voice(path).samples.tobytes()).hexdigest() == wanted


@pytest.mark.parametrize("level", [0, 20, 12_000])
def test_a_voice_that_is_silent_throughout_is_questioned(tmp_path: Path, level: int) -> None:
    sine = make_sine(rate=SAMPLE_RATE, amplitude=level)
    voice = read_voice(write_wav(tmp_path / "a.wav", sine, rate=SAMPLE_RATE))
    warnings = question_voice(voice)
    assert len(warnings) == (0 if level > 100 else 1)
    assert all("a.wav: silent throughout" in warning for warning in warnings)


def test_no_more_is_read_than_is_asked_for(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", make_sine(rate=44_100, seconds=9), rate=44_100)
    whole = read_voice(path)
    part = read_voice(path, most=Fraction(5, 2))
    assert Fraction(5, 2) <= part.duration < Fraction(27, 10)
    assert np.array_equal(part.samples[:39_000], whole.samples[:39_000])


def test_samples_cannot_be_overwritten(reference_dir: Path) -> None:
    voice = read_voice(reference_dir / "voice.wav")
    with pytest.raises(ValueError, match="read-only"):
        voice.samples[0] = 1.0


def test_tags_that_are_not_utf8_do_no_harm(tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "tagged.wav", make_sine(rate=SAMPLE_RATE), rate=SAMPLE_RATE)
    tag = b"LIST" + struct.pack("<I", 18) + b"INFOINAM" + struct.pack("<I", 6) + b"caf\xe9\xff\x00"
    data = wav.read_bytes() + tag
    wav.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    assert read_voice(wav).duration == 1


def test_a_wav_from_a_pipe_whose_header_knows_no_length_is_read(tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "piped.wav", make_sine(rate=SAMPLE_RATE), rate=SAMPLE_RATE)
    data = bytearray(wav.read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    wav.write_bytes(data)
    assert read_voice(wav).duration == 1


def test_a_missing_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"nobody\.wav: no such file"):
        read_voice(tmp_path / "nobody.wav")


def test_a_folder_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="is a folder"):
        read_voice(tmp_path)


def test_a_name_with_a_nul_byte_is_refused() -> None:
    with pytest.raises(AudioError, match="cannot be opened"):
        read_voice("voice\0.wav")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.wav", b"", "empty"),
        ("noise.mp3", np.random.default_rng(0).bytes(5000), "not a sound"),
        ("letter.txt", b"Dear reader,\n" * 50, "no sound"),
        ("stub.wav", b"RIFF", "not a sound"),
    ],
)
def test_a_file_that_is_no_sound_is_refused_with_its_name(
    tmp_path: Path, name: str, data: Any, reason: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(AudioError, match=reason) as caught:
        read_voice(path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_picture_without_sound_is_refused(reference_dir: Path) -> None:
    with pytest.raises(AudioError, match=r"portrait\.png: holds no sound"):
        read_voice(reference_dir / "portrait.png")


@pytest.mark.parametrize("count", [0, 1, 800])
def test_less_than_a_tenth_of_a_second_is_refused(tmp_path: Path, count: int) -> None:
    wav = write_wav(tmp_path / "blip.wav", np.zeros(count), rate=SAMPLE_RATE)
    with pytest.raises(AudioError, match=r"blip\.wav"):
        read_voice(wav)


def test_just_a_tenth_of_a_second_is_enough(tmp_path: Path) -> None:
    assert read_voice(
        write_wav(tmp_path / "short.wav", np.zeros(4410), rate=44_100)
    ).duration == Fraction(1, 10)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, bad: Any, rate: int) -> None:
    samples = np.zeros(rate)
    samples[rate // 2] = bad
    with pytest.raises(AudioError, match=r"bad\.wav: NaN or infinite"):
        read_voice(write_float_wav(tmp_path / "bad.wav", samples, rate=rate))


def test_a_wav_cut_short_is_refused(tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "cut.wav", make_sine(rate=44_100), rate=44_100)
    wav.write_bytes(wav.read_bytes()[:40_000])
    with pytest.raises(AudioError, match=r"cut\.wav: cut short, 40000 of 88244 bytes"):
        read_voice(wav)


def test_a_flac_cut_short_is_refused(tmp_path: Path) -> None:
    flac = encode_sound(tmp_path / "cut.flac", make_sine(rate=44_100), codec="flac", rate=44_100)
    flac.write_bytes(flac.read_bytes()[: flac.stat().st_size * 2 // 3])
    with pytest.raises(AudioError, match=r"cut\.flac: damaged"):
        read_voice(flac)


def test_an_mp3_damaged_in_the_middle_is_refused_and_says_where(tmp_path: Path) -> None:
    mp3 = encode_sound(
        tmp_path / "scratched.mp3", make_sine(rate=44_100), codec="libmp3lame", rate=44_100
    )
    data = bytearray(mp3.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1500] = np.random.default_rng(0).bytes(1500)
    mp3.write_bytes(data)
    with pytest.raises(AudioError, match=r"scratched\.mp3: damaged 0\.\d+ s in"):
        read_voice(mp3)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=50), st.integers(1600, 4000))
def test_16_bit_samples_come_through_exactly(pattern: Any, count: Any) -> None:
    samples = np.resize(np.array(pattern, dtype=np.int16), count)
    voice = voice_from_samples(samples)
    assert np.array_equal(voice.samples, samples.astype(np.float32) / 32768)
    assert voice.duration == Fraction(count, SAMPLE_RATE)


def test_a_voices_own_samples_make_the_same_voice(reference_dir: Path) -> None:
    voice = read_voice(reference_dir / "voice.wav")
    again = voice_from_samples(voice.samples)
    assert np.array_equal(again.samples, voice.samples)
    assert again.path is None


def test_an_array_is_resampled_as_a_file_is(tmp_path: Path) -> None:
    sine = np.rint(make_sine(rate=44_100, seconds=3)).astype(np.int16)  # more than one block
    read = read_voice(write_wav(tmp_path / "sine.wav", sine, rate=44_100))
    made = voice_from_samples(sine, sample_rate=44_100)
    assert np.array_equal(made.samples, read.samples)
    assert made.duration == read.duration


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros((2, 16_000), np.float32), "one channel"),
        (np.zeros(16_000, np.int32), "dtype int32"),
        (np.full(16_000, np.nan), "NaN"),
        (np.full(16_000, 12_000.0), "scale them"),
        (np.zeros(0, np.int16), "at least 0.1 s"),
        (np.zeros(100, np.float32), "at least 0.1 s"),
    ],
)
def test_an_array_that_is_no_voice_is_refused(samples: np.ndarray, reason: str) -> None:
    with pytest.raises(AudioError, match=reason):
        voice_from_samples(samples)


@pytest.mark.parametrize("rate", [0, -16_000, 44_100.5, 10**7])
def test_a_rate_that_is_no_rate_is_refused(rate: Any) -> None:
    with pytest.raises(AudioError, match="sample rate"):
        voice_from_samples(np.zeros(16_000, np.int16), sample_rate=rate)


def test_tags_that_are_not_utf_8_are_no_fault(tmp_path: Path) -> None:
    """Some releases of PyAV decode tags strictly unless told, newer ones cannot be told."""
    samples = np.zeros(SAMPLE_RATE // 2, np.int16).tobytes()
    tag = b"INFOINAM" + struct.pack("<I", 6) + b"Zo\xeb x\0"
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)
    body = b"WAVE" + form + b"LIST" + struct.pack("<I", len(tag)) + tag
    body += b"data" + struct.pack("<I", len(samples)) + samples
    (tmp_path / "tag.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    assert read_voice(tmp_path / "tag.wav").samples.shape == (SAMPLE_RATE // 2,)
