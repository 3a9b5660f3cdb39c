"""A short phrase that a face hears before it rests: what follows a word's end is a blink."""

from __future__ import annotations

import wave
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.live.listening.hearing import Hearing, HearingSettings
from echoexport.runtime.live.listening.sound_stream import to_float
from echoexport.runtime.live.listening.speech_tokens import SpeechTokens


def read_phrase() -> tuple[NDArray[np.float32], int]:
    """The phrase that ships with the runtime, (n,) in [-1, 1], and its rate.

    It is six tenths of a second of the built-in character's synthetic voice, to the end
    of a sentence.
    """
    place = files("echoexport.runtime.live") / "data" / "phrase.wav"
    with place.open("rb") as file, wave.open(file) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
        return to_float(samples.astype(np.int16)), sound.getframerate()


def encode_phrase(
    tokens: SpeechTokens, settings: HearingSettings, *, after: int
) -> list[NDArray[np.float32]]:
    """Tokens of the phrase's frames and of so many ``after`` it, (tokens, width) each."""
    hearing = Hearing(settings)
    samples, rate = read_phrase()
    hearing.hear(samples, rate)
    hearing.end(flushed=True)
    count = (hearing.count_frames() or 0) + after
    return [tokens.encode(hearing.cut_columns(frame)) for frame in range(count)]
