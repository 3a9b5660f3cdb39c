"""From a voice to the audio encoder's features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.bundle.opened import Lease
from echoexport.runtime.conditioning.audio_tokens import encode_features
from echoexport.runtime.conditioning.mel import log_mel
from echoexport.runtime.inputs.voice import Voice


def encode_voice(networks: Lease, voice: Voice) -> NDArray[np.float32]:
    """A voice's features, (rows, states, width) float32, 50 rows a second."""
    audio = networks.manifest.audio

    def encode(segment: NDArray[np.float32]) -> NDArray[np.float32]:
        states = networks.network("audio_encoder")({"log_mel": segment})["audio_states"]
        return states.astype(np.float32, copy=False)

    with networks.tracer.span("log-mel", "audio"):
        mel = log_mel(voice.samples, n_mels=audio.mels)
    with networks.tracer.span("voice features", "audio"):
        return encode_features(mel, encode, context=audio.context)
