"""The demo's drawn portrait and synthesized voice."""

from __future__ import annotations

import errno
import wave
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from echoexport.export import demo_media
from echoexport.export.demo_media import draw_portrait, portrait_face_box, synthesize_voice, write_demo_media
from echoexport.runtime.errors import OutputError, SettingError

RATE = 16000


@pytest.fixture(scope="module")
def portrait() -> NDArray[np.uint8]:
    return draw_portrait()


@pytest.fixture(scope="module")
def voice() -> NDArray[np.float64]:
    return synthesize_voice() / 32768


def loudness(sound: NDArray[np.float64], *, size: int = 400) -> NDArray[np.float64]:
    """Effective value of each run of ``size`` samples."""
    return np.sqrt((sound[: len(sound) // size * size].reshape(-1, size) ** 2).mean(axis=1))


def pitch_at(sound: NDArray[np.float64], start: int) -> float:
    """Pitch in Hz of 64 ms by the highest peak of the autocorrelation, and 0 where none stands out."""
    piece = sound[start : start + 1024] - sound[start : start + 1024].mean()
    correlation = np.correlate(piece, piece, "full")[1023:]
    lags = slice(RATE // 400, RATE // 100)
    lag = int(np.argmax(correlation[lags])) + lags.start
    return RATE / lag if correlation[lag] > 0.5 * correlation[0] else 0.0


def test_the_portrait_is_a_square_rgb_picture(portrait: NDArray[np.uint8]) -> None:
    assert portrait.shape == (512, 512, 3)
    assert portrait.dtype == np.uint8


def test_the_portrait_is_the_same_each_time_it_is_drawn() -> None:
    np.testing.assert_array_equal(draw_portrait(96, seed=5), draw_portrait(96, seed=5))


def test_another_seed_draws_another_sitter() -> None:
    assert np.abs(draw_portrait(96, seed=0).astype(int) - draw_portrait(96, seed=1)).mean() > 5


def test_a_small_portrait_shows_what_a_large_one_does(portrait: NDArray[np.uint8]) -> None:
    halved = portrait.reshape(256, 2, 256, 2, 3).mean(axis=(1, 3))
    assert np.abs(halved - draw_portrait(256)).mean() < 2


def test_the_face_box_ends_where_the_face_does(portrait: NDArray[np.uint8]) -> None:
    left, top, right, bottom = portrait_face_box(512)
    red, _, blue = portrait.astype(int).transpose(2, 0, 1)
    skin = (red > 140) & (red - blue > 25)
    cheeks = np.flatnonzero(~skin[240])  # a row through both cheeks: hair ends the skin on both sides
    assert cheeks[cheeks < 256].max() == pytest.approx(left, abs=6)
    assert cheeks[cheeks > 256].min() == pytest.approx(right, abs=6)
    hairline = np.flatnonzero(~skin[:160, 288]).max()  # a column through the forehead, beside the brow
    assert hairline == pytest.approx(top, abs=6)
    chin = 320 + np.argmin(np.diff(red[320:360, 256]))  # the neck below it lies in shadow
    assert chin == pytest.approx(bottom, abs=4)


def test_the_face_box_grows_with_the_picture() -> None:
    small, large = np.array(portrait_face_box(256)), np.array(portrait_face_box(1024))
    assert np.abs(small * 4 - large).max() <= 4
    assert small.min() > 0
    assert small.max() < 256


@pytest.mark.parametrize("size", [0, -512, 63, 100_000])
def test_a_portrait_of_a_size_that_cannot_be_drawn_is_refused_with_that_size(size: int) -> None:
    with pytest.raises(SettingError, match=f"{size} px"):
        draw_portrait(size)


def test_the_voice_is_the_same_each_time_and_another_for_another_seed() -> None:
    first, again, other = (synthesize_voice(1.0, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@settings(max_examples=12, deadline=None)
@given(st.floats(0.25, 1.5), st.sampled_from([8000, 11025, 16000, 22050, 48000]), st.integers(0, 99))
def test_a_voice_has_the_length_asked_for_and_never_clips(seconds: float, rate: int, seed: int) -> None:
    samples = synthesize_voice(seconds, sample_rate=rate, seed=seed)
    assert samples.dtype == np.int16
    assert samples.shape == (round(seconds * rate),)
    assert np.abs(samples.astype(int)).max() == round(0.7 * 32767)


def test_the_voice_speaks_in_phrases_with_pauses(voice: NDArray[np.float64]) -> None:
    silent = loudness(voice) < 0.002
    assert 0.08 < silent.mean() < 0.4
    assert np.count_nonzero(np.diff(silent.astype(int)) == 1) >= 2


def test_the_voice_has_the_pitch_of_a_speaker_that_moves(voice: NDArray[np.float64]) -> None:
    pitches = np.array([pitch_at(voice, start) for start in range(0, len(voice) - 1024, 1024)])
    voiced = pitches[pitches > 0]
    assert len(voiced) > len(pitches) / 3
    assert 150 < np.median(voiced) < 270
    assert voiced.std() > 8


def test_the_voice_has_hiss_as_well_as_tone(voice: NDArray[np.float64]) -> None:
    frames = voice[: len(voice) // 512 * 512].reshape(-1, 512) * np.hanning(512)
    power = np.abs(np.fft.rfft(frames)) ** 2
    treble = power[:, 80:].sum(axis=1) / (power.sum(axis=1) + 1e-9)
    heard = loudness(voice, size=512) > 0.01
    assert (treble[heard] > 0.5).any(), "no consonant"
    assert np.median(treble[heard]) < 0.1, "no vowel"


def test_the_voice_begins_and_ends_without_a_click(voice: NDArray[np.float64]) -> None:
    assert voice[0] == voice[-1] == 0
    assert np.abs(np.diff(voice)[[0, -1]]).max() < 0.01


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.05, float("nan"), float("inf")])
def test_a_voice_of_an_impossible_length_is_refused(seconds: float) -> None:
    with pytest.raises(SettingError, match=f"{seconds} s"):
        synthesize_voice(seconds)


def test_a_voice_at_a_rate_too_low_for_speech_is_refused() -> None:
    with pytest.raises(SettingError, match="4000 Hz"):
        synthesize_voice(1.0, sample_rate=4000)


def test_both_files_are_written_and_read_back(tmp_path: Path, portrait: NDArray[np.uint8]) -> None:
    picture, recording = write_demo_media(tmp_path / "new" / "folder")
    np.testing.assert_array_equal(np.asarray(Image.open(picture)), portrait)
    with wave.open(str(recording)) as heard:
        assert heard.getparams()[:4] == (1, 2, RATE, 4 * RATE)
        np.testing.assert_array_equal(np.frombuffer(heard.readframes(4 * RATE), "<i2"), synthesize_voice())
    assert sorted(path.name for path in picture.parent.iterdir()) == ["portrait.png", "voice.wav"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(OutputError, match="taken"):
        write_demo_media(tmp_path / "taken")


def test_a_full_disk_leaves_the_former_file_and_no_half_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_disk(file: BinaryIO) -> None:
        file.write(b"RIFF")
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "voice.wav").write_bytes(b"the former one")
    monkeypatch.setattr(demo_media, "_write_png", lambda file: file.write(b"a picture"))
    monkeypatch.setattr(demo_media, "_write_wav", fill_disk)
    with pytest.raises(OutputError, match=r"voice\.wav.*No space left"):
        write_demo_media(tmp_path)
    assert (tmp_path / "voice.wav").read_bytes() == b"the former one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["portrait.png", "voice.wav"]
