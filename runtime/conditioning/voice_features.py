"""From a voice to the audio encoder's features."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.bundle.opened import Lease
from echoexport.runtime.conditioning.audio_tokens import (
    ROWS_PER_SECOND,
    encode_features,
    token_rows,
)
from echoexport.runtime.conditioning.mel import HOP, N_FFT, log_mel
from echoexport.runtime.inputs.voice import SAMPLE_RATE, Voice

_MARGIN = Fraction(1, 2)  # seconds: a resampler knows nothing beyond what it is given


def encode_voice(
    networks: Lease, voice: Voice, *, columns: int | None = None
) -> NDArray[np.float32]:
    """A voice's features, (rows, states, width) float32, 50 rows a second.

    ``columns`` is how many mel columns are heard, from ``count_columns``; None hears all.
    """
    audio = networks.manifest.audio

    def encode(segment: NDArray[np.float32]) -> NDArray[np.float32]:
        states = networks.network("audio_encoder")({"log_mel": segment})["audio_states"]
        return states.astype(np.float32, copy=False)

    with networks.tracer.span("log-mel", "audio"):
        samples = voice.samples if columns is None else voice.samples[: _last_sample(columns)]
        mel = log_mel(samples, n_mels=audio.mels)[:, :columns]
    with networks.tracer.span("voice features", "audio"):
        return encode_features(mel, encode, context=audio.context)


def count_columns(frames: int, fps: Fraction, *, context: int) -> int:
    """Mel columns of all the whole pieces that the first frames hear anything of."""
    last_row = token_rows(frames - 1, fps, math.ceil(frames * ROWS_PER_SECOND / fps) + 10)[-1]
    return math.ceil((last_row + 1) / context) * 2 * context


def measure_hearing(columns: int) -> Fraction:
    """Seconds of a voice that so many mel columns need."""
    return Fraction(_last_sample(columns), SAMPLE_RATE) + _MARGIN


def _last_sample(columns: int) -> int:
    return columns * HOP + N_FFT // 2
