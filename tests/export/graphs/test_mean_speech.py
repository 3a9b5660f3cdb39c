"""Mean speech: pieces of the built-in voice, or silence, and the padding made of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from echoexport.export.architecture import Architecture, AudioArchitecture
from echoexport.export.demo import assets
from echoexport.export.graphs.mean_speech import MeanSpeech, find_mean_speech, make_padding
from echoexport.export.subnets.audio_encoder import AudioEncoder
from echoexport.export.subnets.live_audio import average_padding
from echoexport.runtime.errors import InputError

WHISPER = AudioArchitecture(mels=80, context=1500, width=384, heads=6, layers=4)


def test_the_built_in_voice_is_heard_in_pieces_as_long_as_live_ones() -> None:
    speech = find_mean_speech(WHISPER)
    assert {piece.shape for piece in speech.pieces} == {(80, 451)}
    assert speech.note == f"mean speech, {len(speech.pieces)} pieces of the built-in voice"
    assert len(speech.pieces) >= 9
    assert all(piece.max() > 0.5 for piece in speech.pieces), "somebody speaks in every piece"


def test_it_is_the_same_each_time() -> None:
    first = find_mean_speech(WHISPER)
    again = find_mean_speech(WHISPER)
    assert all(map(np.array_equal, first.pieces, again.pieces))


def test_pieces_are_as_long_as_a_short_encoder_hears(micro: Architecture) -> None:
    speech = find_mean_speech(micro.audio)
    assert {piece.shape for piece in speech.pieces} == {(micro.audio.mels, 19)}


def test_without_the_voice_it_is_silence_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def lack() -> None:
        raise InputError("voice.wav: missing")

    monkeypatch.setattr(assets, "builtin_voice", lack)
    speech = find_mean_speech(WHISPER)
    assert speech.note.startswith("silence, since the built-in voice is missing")
    assert len(speech.pieces) == 1
    assert set(np.unique(speech.pieces[0])) == {np.float32(-0.75)}


def test_the_padding_is_the_encoders_of_the_pieces(
    micro: Architecture, fill: Any, stored: Any
) -> None:
    audio = replace(micro.audio, context=240)
    encoder = fill(AudioEncoder(audio), 2)
    piece = np.ones((audio.mels, 451), np.float32)
    made = make_padding(audio, stored(encoder), speech=MeanSpeech((piece,), "ones"))
    wanted = average_padding(encoder, [piece])
    assert made.keys() == wanted.keys()
    for name, tensor in made.items():
        assert tensor.shape == (1, 15, audio.width)
        np.testing.assert_array_equal(tensor.read(), wanted[name])
