"""One frame's tokens are the encoder's rows about it, from whichever encoder there is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from echoexport.runtime.conditioning.audio_tokens import AudioTokens
from echoexport.runtime.errors import BackendError
from echoexport.runtime.live.listening.hearing import HEARD_COLUMNS
from echoexport.runtime.live.listening.mel_columns import QUIET
from echoexport.runtime.live.listening.speech_tokens import SpeechTokens

STATES = 3
WIDTH = 4


class Encoder:
    """State s of row r is the even column's first channel, plus s; every fourth number s."""

    def __init__(self, columns: int, *, kept: int | None = None, dtype: str = "float32") -> None:
        self.columns = columns
        self.kept = kept
        self.dtype = dtype
        self.heard: list[NDArray[np.float32]] = []

    def __call__(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, np.ndarray]:
        log_mel = inputs["log_mel"]
        assert log_mel.shape[2] == self.columns
        self.heard.append(log_mel.copy())
        rows = log_mel[0, 0, : self.columns // 2 * 2 : 2]
        states = np.arange(STATES)[:, None, None] + rows[None, :, None] + np.zeros(WIDTH)
        states[..., 3] = np.arange(STATES)[:, None]
        return {"audio_states": states[None, :, -(self.kept or 0) :].astype(self.dtype)}


def number_columns(mels: int = 2) -> NDArray[np.float32]:
    return np.tile(np.arange(HEARD_COLUMNS, dtype=np.float32), (mels, 1))


@pytest.mark.parametrize(
    "encoder",
    [
        Encoder(301, kept=32),
        Encoder(301, kept=10),
        Encoder(301),
        Encoder(3000),
        Encoder(301, kept=32, dtype="float16"),
    ],
    ids=["live", "live, one frame's rows", "live, all rows", "clips", "half precision"],
)
def test_tokens_are_the_last_ten_rows_state_by_state(encoder: Encoder) -> None:
    tokens = SpeechTokens(encoder, columns=encoder.columns).encode(number_columns())
    rows = np.arange(140, 150) * 2.0
    features = rows[:, None, None] + np.arange(STATES)[None, :, None] + np.zeros(WIDTH)
    features[..., 3] = np.arange(STATES)[None, :]
    assert tokens.dtype == np.float32
    assert tokens.flags.c_contiguous
    clip = AudioTokens(features.astype(np.float32), 50, frames=10)
    assert np.array_equal(tokens, clip.window([4])[0, 0])


@pytest.mark.parametrize("columns", [201, 200, 64])
def test_an_encoder_that_hears_less_hears_the_latest(columns: int) -> None:
    encoder = Encoder(columns)
    tokens = SpeechTokens(encoder, columns=columns).encode(number_columns())
    assert tokens.reshape(10, STATES, WIDTH)[:, 0, 0].tolist() == list(range(280, 300, 2))


def test_the_clips_encoder_is_padded_as_a_clip_is() -> None:
    encoder = Encoder(3000)
    SpeechTokens(encoder, columns=3000).encode(number_columns() + 1)
    assert not encoder.heard[0][:, :, HEARD_COLUMNS:].any()
    assert encoder.heard[0][:, :, :HEARD_COLUMNS].all()


def test_silence_is_encoded_once() -> None:
    encoder = Encoder(301)
    tokens = SpeechTokens(encoder, columns=301)
    assert tokens.silence(80) is tokens.silence(80)
    assert len(encoder.heard) == 1
    assert np.array_equal(encoder.heard[0], np.full((1, 80, 301), QUIET))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_states_that_are_no_numbers_are_refused(bad: float) -> None:
    def spoil(inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, np.ndarray]:
        states = np.zeros((1, STATES, 32, WIDTH), np.float32)
        states[0, 1, 30, 2] = bad
        return {"audio_states": states}

    with pytest.raises(BackendError, match="the audio encoder gave NaN or infinite states"):
        SpeechTokens(spoil, columns=301).encode(number_columns())
