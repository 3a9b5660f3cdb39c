"""The phrase before the idle loop ships with the runtime and ends in silence."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from echoexport.runtime.contract.live_networks import LiveAudio
from echoexport.runtime.live.listening.hearing import HearingSettings
from echoexport.runtime.live.listening.speech_tokens import SpeechTokens
from echoexport.runtime.live.phrase import encode_phrase, read_phrase


def test_the_phrase_is_loud_short_and_fades_at_both_ends() -> None:
    samples, rate = read_phrase()
    assert (rate, samples.size) == (16_000, 9_600)
    assert np.abs(samples).max() > 0.2
    assert abs(samples[0]) < 0.001
    assert abs(samples[-1]) < 0.01


def test_its_frames_are_encoded_with_the_moments_after_it() -> None:
    heard = list[np.ndarray]()

    def listen(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        heard.append(inputs["log_mel"][0])
        return {"audio_states": np.zeros((1, 5, 10, 4), np.float32)}

    settings = HearingSettings(Fraction(25), mels=80, sample_rate=16_000, quiet_below=-3.5)
    tokens = SpeechTokens(listen, LiveAudio(451, rows=10, chooses=True))
    encoded = encode_phrase(tokens, settings, after=10)
    assert len(encoded) == len(heard) == 15 + 10
    # the last frame ends 400 ms after the sound: its latest columns are silence
    last = heard[-1][:, : 4 * 24 + 13]
    assert (last[:, -40:] == -0.75).all()
    assert (last[:, -70:-60] > -0.75).any()
    assert not heard[-1][:, last.shape[1] :].any()
