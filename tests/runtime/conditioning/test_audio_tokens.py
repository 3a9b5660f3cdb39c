"""Features are cut into pieces and gathered into tokens exactly as the original does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.runtime.conditioning.audio_tokens import (
    AudioTokens,
    encode_features,
    original_frame_count,
    token_rows,
)
from echoexport.runtime.errors import AudioError, BackendError, SettingError

LAYERS = 5
WIDTH = 4
CONTEXT = 30


class CountingEncoder:
    """Gives every output row the mean of its two input columns, in every layer and channel."""

    def __init__(self) -> None:
        self.inputs: list[np.ndarray] = []

    def __call__(self, mel: np.ndarray) -> np.ndarray:
        self.inputs.append(mel.copy())
        rows = mel[0].mean(axis=0).reshape(-1, 2).mean(axis=1)
        layers = np.arange(LAYERS)[None, :, None, None] * 1000
        wide = np.broadcast_to(rows[None, None, :, None], (1, LAYERS, rows.size, WIDTH))
        return (layers + wide).astype(np.float32)


def numbered_mel(columns: int) -> np.ndarray:
    return np.broadcast_to(np.arange(columns, dtype=np.float32) + 1, (8, columns))


@pytest.mark.parametrize("fps", [24, 25])
def test_counts_and_rows_of_every_frame_match_the_golden_ones(goldens_tiny: Any, fps: int) -> None:
    golden = goldens_tiny[f"audio/chunks_fps{fps}/indices"]
    rows = len(goldens_tiny["audio/features"])
    assert (
        original_frame_count(rows, fps)
        == goldens_tiny[f"audio/chunks_fps{fps}/count"]
        == len(golden)
    )
    assert np.array_equal([token_rows(frame, fps, rows) for frame in range(len(golden))], golden)


@pytest.mark.parametrize("fps", [24, 25])
def test_the_first_ten_frames_tokens_match_the_golden_ones(goldens_tiny: Any, fps: int) -> None:
    tokens = AudioTokens(goldens_tiny["audio/features"], fps, frames=74)
    assert np.array_equal(
        tokens.window(range(10))[0], goldens_tiny[f"audio/chunks_fps{fps}/first10"]
    )


@pytest.mark.parametrize("fps", [24, 25])
def test_counts_over_30_s_match_the_golden_ones(goldens_tiny: Any, fps: int) -> None:
    rows = int(goldens_tiny["audio/long/feature_shape"][0])
    assert original_frame_count(rows, fps) == goldens_tiny[f"audio/long/count_fps{fps}"]


@given(
    st.integers(1, 4000), st.one_of(st.integers(1, 120), st.floats(1, 120), st.fractions(1, 120))
)
def test_the_originals_count_ends_with_the_first_frame_past_the_features(
    rows: Any, fps: Any
) -> None:
    count = original_frame_count(rows, fps)
    assert int((count - 1) * (50 / fps)) > rows
    assert count == 1 or int((count - 2) * (50 / fps)) <= rows


@given(
    st.integers(0, 10_000), st.one_of(st.integers(1, 120), st.floats(1, 120)), st.integers(1, 500)
)
def test_rows_are_ten_in_order_and_within_the_clip(frame: Any, fps: Any, rows: Any) -> None:
    found = token_rows(frame, fps, rows)
    assert len(found) == 10
    assert found == sorted(found)
    assert 0 <= found[0] <= found[-1] < rows


def test_pieces_are_padded_with_zero_and_encoded_on_their_own() -> None:
    encoder = CountingEncoder()
    encode_features(numbered_mel(2 * CONTEXT + 7), encoder, context=CONTEXT)
    assert [piece.shape for piece in encoder.inputs] == [(1, 8, 2 * CONTEXT)] * 2
    assert np.array_equal(encoder.inputs[1][0, 0, :7], np.arange(61, 68))
    assert not encoder.inputs[1][0, :, 7:].any()


@given(st.integers(2, 200))
def test_a_piece_of_n_columns_gives_its_first_half_n_rows(columns: Any) -> None:
    features = encode_features(numbered_mel(columns), CountingEncoder(), context=CONTEXT)
    pieces = [min(2 * CONTEXT, columns - start) for start in range(0, columns, 2 * CONTEXT)]
    assert features.shape == (sum(n // 2 for n in pieces), LAYERS, WIDTH)
    assert features.dtype == np.float32
    # The cut falls on even columns, so row r is the mean of columns 2r and 2r+1
    # whatever the piece.
    wanted = 2 * np.arange(len(features)) + 1.5
    assert np.array_equal(features[:, 0, 0], wanted.astype(np.float32))
    assert np.array_equal(features[:, 4, 3], (wanted + 4000).astype(np.float32))


def test_a_last_piece_of_one_column_is_dropped() -> None:
    encoder = CountingEncoder()
    assert len(encode_features(numbered_mel(2 * CONTEXT + 1), encoder, context=CONTEXT)) == CONTEXT
    assert len(encoder.inputs) == 1


@pytest.mark.parametrize("columns", [0, 1])
def test_a_clip_without_one_row_is_refused(columns: int) -> None:
    with pytest.raises(AudioError, match=f"{columns} mel columns"):
        encode_features(numbered_mel(columns), CountingEncoder(), context=CONTEXT)


def test_an_encoder_with_another_context_is_refused() -> None:
    with pytest.raises(BackendError, match="audio_encoder gave shape"):
        encode_features(
            numbered_mel(10), lambda mel: np.zeros((1, 5, 7, 4), np.float32), context=CONTEXT
        )


def numbered_features(rows: int) -> np.ndarray:
    numbers = np.arange(rows * LAYERS * WIDTH, dtype=np.float32)
    return numbers.reshape(rows, LAYERS, WIDTH)


def test_tokens_count_layers_within_rows() -> None:
    features = numbered_features(100)
    window = AudioTokens(features, 25, frames=50).window([10])
    assert window.shape == (1, 1, 50, WIDTH)
    first = 10 * 50 // 25 - 4
    for token, found in enumerate(window[0, 0]):
        assert np.array_equal(found, features[first + token // LAYERS, token % LAYERS])


def test_a_window_takes_frames_in_any_order() -> None:
    tokens = AudioTokens(numbered_features(100), 24, frames=48)
    assert np.array_equal(tokens.window([5, 0, 5])[0, 0], tokens.window([5])[0, 0])
    assert np.array_equal(tokens.window([5, 0])[0, 1], tokens.window([0])[0, 0])


def test_frames_beyond_the_clip_hold_its_last_tokens() -> None:
    tokens = AudioTokens(numbered_features(100), 24, frames=5)
    held = tokens.window(range(12))[0]
    assert np.array_equal(held[:5], tokens.window(range(5))[0])
    assert all(np.array_equal(frame, held[4]) for frame in held[5:])


def test_frames_beyond_the_features_hold_the_last_rows() -> None:
    tokens = AudioTokens(numbered_features(10), 25, frames=40)
    assert np.array_equal(tokens.window([39])[0, 0], np.tile(numbered_features(10)[9], (10, 1)))


def test_a_negative_frame_is_refused() -> None:
    with pytest.raises(SettingError, match="frame -1"):
        AudioTokens(numbered_features(10), 24, frames=5).window([3, -1])


def test_features_of_another_rank_are_refused() -> None:
    with pytest.raises(AudioError, match=r"shape \(10, 4\)"):
        AudioTokens(np.zeros((10, 4), np.float32), 24, frames=5)


def test_a_clip_without_frames_is_refused() -> None:
    with pytest.raises(SettingError, match="0 frames"):
        AudioTokens(numbered_features(10), 24, frames=0)
