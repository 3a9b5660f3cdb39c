"""Portraits and voices to calibrate the built-in character with.

Drawn people that no gate looks at, and its voice.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from echoexport.calibration.recording.recording_inputs import RecordingInput
from echoexport.export.demo.assets import builtin_voice
from echoexport.export.demo.gates.mouth import draw_person_frames
from echoexport.export.demo.world.geometry import face_box
from echoexport.export.demo.world.person import draw_person, stack_people
from echoexport.export.demo.world.state import FaceState
from echoexport.runtime.errors import SettingError
from echoexport.runtime.inputs.portrait import FaceCrop, crop_face
from echoexport.runtime.inputs.resize import Size
from echoexport.runtime.inputs.voice import SAMPLE_RATE, Voice, read_voice, voice_from_samples

__all__ = ["BUILTIN_COUNT", "FIRST_CALIBRATION_PERSON", "builtin_recording_inputs"]

BUILTIN_COUNT = 8
"""Renderings of a built-in set where nothing else is asked for."""

FIRST_CALIBRATION_PERSON = 500_000
"""The first portrait's seed: in no training data, as all from here on; the gates'
people begin at a million."""

_SIDE = 512
_SECONDS = 2
# How fast it is played: a deeper and a higher voice too.
_SPEEDS = (
    Fraction(1),
    Fraction(9, 10),
    Fraction(6, 5),
)
_SILENCE = 3  # the place of the silent voice among the others
_HISS = 4.0  # levels of 16 bits


def builtin_recording_inputs(count: int = BUILTIN_COUNT) -> list[RecordingInput]:
    """So many drawn people, each with one of ten voices in turn.

    Pieces of the built-in voice at three speeds, silence.

    Raises:
        SettingError: a count below 1, or more people than there are before the gates'
            ones. InputError: the installation lacks the voice.
    """
    if not 1 <= count < 1_000_000 - FIRST_CALIBRATION_PERSON:
        most = 1_000_000 - FIRST_CALIBRATION_PERSON - 1
        raise SettingError(f"{count} built-in portraits: 1 to {most} are wanted")
    voices = list(_make_voices().items())
    inputs = []
    for index in range(count):
        name, sound = voices[index % len(voices)]
        inputs.append(
            RecordingInput(
                f"drawn-{FIRST_CALIBRATION_PERSON + index}",
                name,
                _make_crop(FIRST_CALIBRATION_PERSON + index),
                sound,
            )
        )
    return inputs


def _make_voices() -> dict[str, Voice]:
    """By name, two seconds of each piece."""
    whole = read_voice(builtin_voice()).samples
    voices = {}
    for number, start in enumerate(range(0, len(whole) - SAMPLE_RATE, _SECONDS * SAMPLE_RATE)):
        piece = whole[start : start + _SECONDS * SAMPLE_RATE]
        for speed in _SPEEDS:
            voices[f"voice-{number}-at-{float(speed):g}"] = _play(piece, speed)
    ordered = list(voices.items())
    return dict([*ordered[:_SILENCE], ("silence", _make_silence()), *ordered[_SILENCE:]])


def _play(samples: NDArray[np.float32], speed: Fraction) -> Voice:
    return voice_from_samples(samples, sample_rate=int(SAMPLE_RATE * speed))


def _make_silence() -> Voice:
    """Nobody speaks; the microphone hisses a little."""
    hiss = np.random.default_rng(0).standard_normal(_SECONDS * SAMPLE_RATE) * _HISS
    return voice_from_samples(np.rint(hiss).astype(np.int16))


def _make_crop(seed: int) -> Callable[[Size], FaceCrop]:
    def crop(size: Size) -> FaceCrop:
        person = draw_person(seed)
        picture = draw_person_frames(person, FaceState.rest(1), size=_SIDE)[0]
        return crop_face(
            picture, face_box(stack_people([person]), size=_SIDE)[0].tolist(), size=size
        )

    return crop
