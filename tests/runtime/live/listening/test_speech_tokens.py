"""One frame's tokens are the encoder's rows about it, from whichever encoder there is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from echoexport.runtime.conditioning.audio_tokens import AudioTokens
from echoexport.runtime.contract.live_networks import LiveAudio
from echoexport.runtime.errors import BackendError
from echoexport.runtime.live.listening.hearing import HEARD_COLUMNS
from echoexport.runtime.live.listening.mel_columns import QUIET
from echoexport.runtime.live.listening.speech_tokens import SpeechTokens

STATES = 3
WIDTH = 4

LIVE = LiveAudio(HEARD_COLUMNS, rows=10, chooses=True)
OLDER = LiveAudio(301, rows=32, chooses=False)
CLIPS = LiveAudio(3000, rows=1500, chooses=False)


class Encoder:
    """State s of row r is the even column's first channel, plus s; every fourth number s."""

    def __init__(self, shape: LiveAudio, *, dtype: str = "float32") -> None:
        self.shape = shape
        self.dtype = dtype
        self.heard: list[NDArray[np.float32]] = []

    def __call__(self, inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, np.ndarray]:
        log_mel = inputs["log_mel"]
        assert log_mel.shape[2] == self.shape.columns
        self.heard.append(log_mel.copy())
        rows = log_mel[0, 0, : self.shape.columns // 2 * 2 : 2]
        if self.shape.chooses:
            chosen = inputs["chosen_rows"]
            assert chosen.shape == (1, self.shape.rows, self.shape.columns // 2)
            rows = chosen[0] @ rows
        states = np.arange(STATES)[:, None, None] + rows[None, :, None] + np.zeros(WIDTH)
        states[..., 3] = np.arange(STATES)[:, None]
        return {"audio_states": states[None, :, -self.shape.rows :].astype(self.dtype)}


def number_columns(count: int = HEARD_COLUMNS) -> NDArray[np.float32]:
    return np.tile(np.arange(count, dtype=np.float32), (2, 1))


def encode_rows(shape: LiveAudio, count: int) -> list[float]:
    """The even columns, out of so many numbered ones, that a frame's ten rows stand for."""
    tokens = SpeechTokens(Encoder(shape), shape).encode(number_columns(count))
    rows: list[float] = tokens.reshape(10, STATES, WIDTH)[:, 0, 0].tolist()
    return rows


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("shape", [LIVE, CLIPS, OLDER], ids=["live", "clips", "older"])
def test_tokens_are_the_last_ten_rows_state_by_state(shape: LiveAudio, dtype: str) -> None:
    tokens = SpeechTokens(Encoder(shape, dtype=dtype), shape).encode(number_columns())
    rows = np.arange(215, 225) * 2.0
    features = rows[:, None, None] + np.arange(STATES)[None, :, None] + np.zeros(WIDTH)
    features[..., 3] = np.arange(STATES)[None, :]
    assert tokens.dtype == np.float32
    assert tokens.flags.c_contiguous
    clip = AudioTokens(features.astype(np.float32), 50, frames=10)
    assert np.array_equal(tokens, clip.window([4])[0, 0])


@pytest.mark.parametrize("shape", [LIVE, CLIPS], ids=["live", "clips"])
@pytest.mark.parametrize("frame", [0, 1, 2, 7, 60])
def test_an_utterances_first_frames_lie_where_a_clips_do(shape: LiveAudio, frame: int) -> None:
    count = 4 * frame + 13
    rows = np.arange(count // 2, dtype=np.float32)[:, None, None] * np.ones((1, 1, 1), np.float32)
    clip = AudioTokens(rows, 25, frames=frame + 1).window([frame])[0, 0, :, 0]
    assert encode_rows(shape, count) == (2 * clip).tolist()


@pytest.mark.parametrize("shape", [LIVE, CLIPS], ids=["live", "clips"])
def test_sound_is_padded_as_a_clip_is(shape: LiveAudio) -> None:
    encoder = Encoder(shape)
    SpeechTokens(encoder, shape).encode(number_columns(41) + 1)
    assert encoder.heard[0][0, 0, :41].tolist() == list(range(1, 42))
    assert not encoder.heard[0][:, :, 41:].any()


def test_an_encoder_that_gives_the_last_rows_alone_hears_silence_before_the_sound() -> None:
    encoder = Encoder(OLDER)
    SpeechTokens(encoder, OLDER).encode(number_columns(41))
    assert (encoder.heard[0][:, :, :260] == QUIET).all()
    assert encoder.heard[0][0, 0, 260:].tolist() == list(range(41))


@pytest.mark.parametrize("columns", [201, 200, 64])
def test_an_encoder_that_hears_less_hears_the_latest(columns: int) -> None:
    whole = LiveAudio(columns, rows=columns // 2, chooses=False)
    last = HEARD_COLUMNS - 1
    assert encode_rows(whole, HEARD_COLUMNS) == list(range(last - 20, last, 2))


def test_silence_is_encoded_once() -> None:
    encoder = Encoder(LIVE)
    tokens = SpeechTokens(encoder, LIVE)
    assert tokens.silence(80) is tokens.silence(80)
    assert len(encoder.heard) == 1
    assert np.array_equal(encoder.heard[0], np.full((1, 80, HEARD_COLUMNS), QUIET))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_states_that_are_no_numbers_are_refused(bad: float) -> None:
    def spoil(inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, np.ndarray]:
        states = np.zeros((1, STATES, 10, WIDTH), np.float32)
        states[0, 1, 8, 2] = bad
        return {"audio_states": states}

    with pytest.raises(BackendError, match="the audio encoder gave NaN or infinite states"):
        SpeechTokens(spoil, LIVE).encode(number_columns())
