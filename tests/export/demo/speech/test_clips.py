"""A clip from its plan: samples in time with the face that says them."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from echoexport.export.demo.speech.clips import STATE_RATE, SpeechClip, speak_clip, write_wave
from echoexport.export.demo.speech.espeak import Speaker, is_available
from echoexport.export.demo.speech.plans import ClipPlan, demo_voice_plan
from echoexport.runtime.errors import OutputError


def plan_silence(seed: int, *, hush: float = 5.0) -> ClipPlan:
    seconds = 0.3 + 0.01 * seed
    return ClipPlan(
        seed, Speaker("en-us"), (), lead=seconds, pauses=(), trail=0.1, level=0.0, hush=hush
    )


def test_a_silent_clip_is_a_face_at_rest_over_its_noise() -> None:
    clip = speak_clip(plan_silence(2))
    assert clip.samples.shape == (round(0.42 * 16000),)
    assert clip.states.shape == (43, 8)
    assert not clip.states.any()
    assert 3 < clip.samples.std() < 7


def test_digital_silence_is_zero() -> None:
    assert not speak_clip(plan_silence(0, hush=0.0)).samples.any()


def test_a_wave_file_holds_the_samples(tmp_path: Path) -> None:
    samples = np.arange(-400, 400, dtype=np.int16)
    write_wave(tmp_path / "voice.wav", samples)
    with wave.open(str(tmp_path / "voice.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        np.testing.assert_array_equal(np.frombuffer(file.readframes(800), "<i2"), samples)
    assert [path.name for path in tmp_path.iterdir()] == ["voice.wav"]


def test_a_wave_file_in_no_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"voice\.wav"):
        write_wave(tmp_path / "missing" / "voice.wav", np.zeros(10, np.int16))


needs_espeak = pytest.mark.skipif(
    not is_available(), reason="libespeak-ng is not installed (package espeak-ng)"
)


@pytest.fixture(scope="module")
def demo_clip() -> SpeechClip:
    return speak_clip(demo_voice_plan())


def measure_energy(samples: NDArray[np.int16], *, rows: int) -> NDArray[np.float64]:
    """Log of the root mean square of the 25 ms around each 10 ms, (rows,)."""
    padded = np.pad(samples.astype(np.float64), 200)
    power = [np.mean(padded[row * 160 : row * 160 + 400] ** 2) for row in range(rows)]
    return np.log(np.sqrt(power) + 30)


@needs_espeak
def test_the_demo_voice_lasts_six_seconds_with_silent_ends_and_one_pause(
    demo_clip: SpeechClip,
) -> None:
    assert 5.8 <= demo_clip.samples.size / 16000 <= 6.2
    assert not demo_clip.samples[:4000].any()
    assert not demo_clip.samples[-4000:].any()
    assert (demo_clip.states[:, 3] > 0.9).sum() > 0


@needs_espeak
def test_the_mouth_opens_in_time_with_the_sound(demo_clip: SpeechClip) -> None:
    openness = demo_clip.states[:, 0]
    energy = measure_energy(demo_clip.samples, rows=openness.size)
    fits = {lag: np.corrcoef(np.roll(energy, -lag), openness)[0, 1] for lag in range(-15, 16)}
    assert fits[0] > 0.6
    assert abs(max(fits, key=lambda lag: fits[lag])) <= 3


@needs_espeak
def test_the_mouth_is_shut_while_it_is_quiet(demo_clip: SpeechClip) -> None:
    quiet = measure_energy(demo_clip.samples, rows=len(demo_clip.states)) < np.log(31)
    reach = STATE_RATE * 12 // 100
    long = np.array([quiet[max(0, k - reach) : k + reach + 1].all() for k in range(quiet.size)])
    assert long.sum() > 20
    assert (demo_clip.states[long, 0] <= 0.05).mean() >= 0.95
