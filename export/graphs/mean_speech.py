"""Mean speech, of which the live audio encoder's padding is made.

The voice that ships with the package, at three speeds, in pieces as long as the encoder hears.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from echoexport.export.architecture import AudioArchitecture
from echoexport.export.checkpoint.stored_tensor import StoredTensor
from echoexport.runtime.conditioning.mel import log_mel
from echoexport.runtime.contract.families.echomimic_v1 import LIVE_ROWS
from echoexport.runtime.errors import InputError
from echoexport.runtime.inputs.voice import SAMPLE_RATE, read_voice, voice_from_samples

__all__ = ["MeanSpeech", "find_mean_speech", "make_padding"]

_SPEEDS = (Fraction(1), Fraction(9, 10), Fraction(6, 5))
"""How fast it is played: a deeper and a higher voice too."""

_HOP = 50
"""Columns from piece to piece: half a second."""

_SILENT = -0.75
"""A silent column of a log-mel that is cut at 1e-7 of full power, as live ones are."""


@dataclass(frozen=True)
class MeanSpeech:
    """Pieces of sound as log-mels (mels, columns), and in words what they are."""

    pieces: tuple[NDArray[np.float32], ...]
    note: str

    def describe(self) -> str:
        """A line for a manifest."""
        return f"live: the audio encoder's padding is that of {self.note}"


def find_mean_speech(a: AudioArchitecture) -> MeanSpeech:
    """Pieces of the built-in voice; silence where this installation lacks it."""
    from echoexport.export.demo.assets import builtin_voice

    columns = 2 * min(LIVE_ROWS, a.context) + 1
    try:
        samples = read_voice(builtin_voice()).samples
    except InputError:
        silence = np.full((a.mels, columns), _SILENT, np.float32)
        return MeanSpeech((silence,), "silence, since the built-in voice is missing here")
    pieces = []
    for speed in _SPEEDS:
        sound = voice_from_samples(samples, sample_rate=int(SAMPLE_RATE * speed))
        mel = log_mel(sound.samples, n_mels=a.mels)
        starts = range(0, mel.shape[1] - columns + 1, _HOP)
        pieces += [mel[:, start : start + columns] for start in starts]
    return MeanSpeech(tuple(pieces), f"mean speech, {len(pieces)} pieces of the built-in voice")


def make_padding(
    a: AudioArchitecture, weights: Mapping[str, StoredTensor], *, speech: MeanSpeech
) -> dict[str, StoredTensor]:
    """The constants of the live audio encoder by name, from the audio encoder's weights."""
    from echoexport.export.subnets.audio_encoder import AudioEncoder
    from echoexport.export.subnets.live_audio import average_padding
    from echoexport.export.subnets.networks import load_weights

    encoder = AudioEncoder(a)
    load_weights(encoder, {key: stored.read() for key, stored in weights.items()})
    padding = average_padding(encoder, speech.pieces)
    file = next(iter(weights.values())).file
    return {
        name: StoredTensor(file, name, values.shape, "float32", 0, values)
        for name, values in padding.items()
    }
