"""A clip made from its plan.

Samples, and the face that belongs to them, a hundred times a second.
"""

from __future__ import annotations

import wave
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoexport.export.demo.speech.espeak import speak
from echoexport.export.demo.speech.motion import Phone, Timeline, animate
from echoexport.export.demo.speech.plans import ClipPlan
from echoexport.runtime.errors import OutputError
from echoexport.runtime.files.aside import replaced_file
from echoexport.runtime.inputs.voice import SAMPLE_RATE

__all__ = ["STATE_RATE", "SpeechClip", "speak_clip", "write_wave"]

STATE_RATE = 100
"""Rows of a clip's states a second; row k is the face at k / 100 s."""

_FULL_SCALE = 32767.0
_PEAK = 0.95  # of full scale; louder speech is turned down to it


@dataclass(frozen=True, eq=False)
class SpeechClip:
    """What is said in a clip, and the face that says it."""

    samples: NDArray[np.int16] = field(repr=False)
    """(n,) at 16 kHz."""
    states: NDArray[np.float32] = field(repr=False)
    """(n // 160 + 1, 8), columns as in ``motion.COLUMNS``."""
    plan: ClipPlan


def speak_clip(plan: ClipPlan) -> SpeechClip:
    """Say a plan's sentences. The plan and the installed espeak-ng decide every sample.

    Raises what ``speak`` raises.
    """
    sound, timeline = _say(plan)
    mixed = _add_noise(_set_level(sound, plan), timeline, plan)
    samples = np.round(np.clip(mixed, -_FULL_SCALE, _FULL_SCALE)).astype(np.int16)
    times = np.arange(samples.size * STATE_RATE // SAMPLE_RATE + 1) / STATE_RATE
    return SpeechClip(samples, animate(timeline, times), plan)


def write_wave(path: Path, samples: NDArray[np.int16]) -> None:
    """Write (n,) int16 samples at 16 kHz as a WAV file, whole or not at all.

    Raises ``OutputError``.
    """
    try:
        with (
            replaced_file(path) as aside,
            aside.open("wb") as raw,
            wave.open(raw, "wb") as file,
        ):
            file.setparams((1, 2, SAMPLE_RATE, samples.size, "NONE", ""))
            file.writeframes(samples.astype("<i2").tobytes())
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


def _say(plan: ClipPlan) -> tuple[NDArray[np.float64], Timeline]:
    """The sentences with their silences, (n,), and the timeline of the whole.

    Samples are espeak-ng's 16-bit values.
    """
    parts = [np.zeros(round(plan.lead * SAMPLE_RATE))]
    phones: list[Phone] = []
    spoken = speak(plan.sentences, plan.speaker) if plan.sentences else []
    for speech, pause in zip(spoken, (*plan.pauses, plan.trail), strict=bool(spoken)):
        offset = sum(part.size for part in parts) / SAMPLE_RATE
        phones += [Phone(one.name, one.start + offset, one.end + offset) for one in speech.timeline]
        parts += [speech.samples.astype(np.float64), np.zeros(round(pause * SAMPLE_RATE))]
    if not plan.sentences:
        parts.append(np.zeros(round(plan.trail * SAMPLE_RATE)))
    return np.concatenate(parts), tuple(phones)


def _set_level(sound: NDArray[np.float64], plan: ClipPlan) -> NDArray[np.float64]:
    """Scale to the plan's root mean square over what is not silent.

    Speech whose peak would be too high is scaled to less.
    """
    heard = sound[sound != 0]
    if not heard.size:
        return sound
    gain = plan.level / np.sqrt(np.mean(heard**2))
    scaled: NDArray[np.float64] = sound * min(gain, _PEAK * _FULL_SCALE / np.abs(heard).max())
    return scaled


def _add_noise(
    sound: NDArray[np.float64], timeline: Timeline, plan: ClipPlan
) -> NDArray[np.float64]:
    """Noise over everything, and ``hush`` where nobody speaks."""
    generator = np.random.default_rng(plan.seed)
    hiss = generator.standard_normal(sound.size)
    level = np.full(sound.size, plan.hush)
    for phone in timeline:
        level[round(phone.start * SAMPLE_RATE) : round(phone.end * SAMPLE_RATE)] = 0.0
    noisy: NDArray[np.float64] = sound + hiss * np.hypot(level, plan.noise)
    return noisy
