"""The audio encoder for live: rows of the plain one, its padding made constant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from echoexport.export.architecture import AudioArchitecture
from echoexport.export.subnets.audio_encoder import AudioEncoder
from echoexport.export.subnets.live_audio import LiveAudioEncoder, average_padding
from echoexport.export.subnets.networks import load_weights
from echoexport.runtime.conditioning.audio_tokens import ROWS_PER_FRAME
from echoexport.runtime.contract.families.echomimic_v1 import LIVE_ROWS

PADDED = AudioArchitecture(mels=5, context=LIVE_ROWS + 70, width=12, heads=3, layers=3)
COLUMNS = 2 * LIVE_ROWS + 1
LAST = range(LIVE_ROWS - ROWS_PER_FRAME, LIVE_ROWS)


@pytest.fixture
def plain(fill: Any) -> AudioEncoder:
    encoder: AudioEncoder = fill(AudioEncoder(PADDED), 3)
    return encoder


def make_piece(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((PADDED.mels, COLUMNS)).astype(np.float32)


def make_live(plain: AudioEncoder, *pieces: np.ndarray) -> LiveAudioEncoder:
    values = {key: value.numpy() for key, value in plain.state_dict().items()}
    values |= average_padding(plain, pieces)
    live = load_weights(LiveAudioEncoder(PADDED), values)
    assert isinstance(live, LiveAudioEncoder)
    return live


def encode_padded(
    plain: AudioEncoder, piece: np.ndarray, *, rows: Sequence[int] = LAST
) -> torch.Tensor:
    """Rows as a live encoder gives them, from the whole context with zeros after the sound."""
    mel = torch.zeros(1, PADDED.mels, 2 * PADDED.context)
    mel[0, :, : piece.shape[1]] = torch.from_numpy(piece)
    with torch.no_grad():
        states: torch.Tensor = plain(mel)
    return states[:, :, list(rows)]


def choose(rows: Sequence[int], *, heard: int = LIVE_ROWS) -> torch.Tensor:
    return torch.eye(heard)[None, list(rows)]


def encode_live(
    live: LiveAudioEncoder, piece: np.ndarray, *, rows: Sequence[int] = LAST
) -> torch.Tensor:
    with torch.no_grad():
        states: torch.Tensor = live(torch.from_numpy(piece)[None], choose(rows))
    return states


def test_with_a_sounds_own_padding_every_state_is_the_plain_encoders(plain: AudioEncoder) -> None:
    piece = make_piece(1)
    found = encode_live(make_live(plain, piece), piece)
    assert found.shape == (1, PADDED.layers + 1, ROWS_PER_FRAME, PADDED.width)
    torch.testing.assert_close(found, encode_padded(plain, piece), rtol=0, atol=2e-6)


def test_short_sound_with_zeros_after_it_is_heard_as_a_short_clip(plain: AudioEncoder) -> None:
    piece = make_piece(1)
    piece[:, 41:] = 0
    rows = [0, 0, 0, *range(13, 20)]
    found = encode_live(make_live(plain, piece), piece, rows=rows)
    wanted = encode_padded(plain, piece, rows=rows)
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-6)


def test_with_another_sounds_padding_it_is_near_and_without_any_it_is_far(
    plain: AudioEncoder,
) -> None:
    piece = make_piece(1)
    wanted = encode_padded(plain, piece)[:, 1:]
    near = encode_live(make_live(plain, make_piece(2), make_piece(3)), piece)[:, 1:]
    short = AudioEncoder(replace(PADDED, context=LIVE_ROWS))
    values = {key: value.numpy() for key, value in plain.state_dict().items()}
    table = "encoder.positional_embedding"
    load_weights(short, {**values, table: values[table][:LIVE_ROWS]})
    with torch.no_grad():
        far = short(torch.from_numpy(piece)[None, :, :-1])[:, 1:, -ROWS_PER_FRAME:]
    assert (near - wanted).abs().mean() < 0.2 * (far - wanted).abs().mean()


def test_the_last_row_reads_the_odd_column_and_none_beyond(plain: AudioEncoder) -> None:
    piece = make_piece(1)
    live = make_live(plain, piece)
    changed = piece.copy()
    changed[:, -1] += 1
    difference = (encode_live(live, changed) - encode_live(live, piece))[0, 0].abs().amax(dim=1)
    assert difference[-1] > 0
    assert not difference[:-1].any()


def test_padding_is_the_mean_over_pieces_in_any_order(plain: AudioEncoder) -> None:
    alone = [average_padding(plain, [make_piece(seed)]) for seed in (1, 2)]
    both = average_padding(plain, [make_piece(2), make_piece(1)])
    assert both.keys() == {
        f"encoder.blocks.{layer}.attn.padding_{kind}"
        for layer in range(PADDED.layers)
        for kind in ("key", "value")
    }
    for name, values in both.items():
        assert values.shape == (1, PADDED.context - LIVE_ROWS, PADDED.width)
        np.testing.assert_allclose(values, (alone[0][name] + alone[1][name]) / 2, atol=1e-6)


def test_an_encoder_that_hears_less_is_taken_whole(fill: Any) -> None:
    short = replace(PADDED, context=9)
    plain: AudioEncoder = fill(AudioEncoder(short), 3)
    piece = make_piece(1)[:, :19]
    piece[:, -1] = 0  # what the plain one's convolution reads beyond its end
    values = {key: value.numpy() for key, value in plain.state_dict().items()}
    live = load_weights(LiveAudioEncoder(short), {**values, **average_padding(plain, [piece])})
    with torch.no_grad():
        found = live(torch.from_numpy(piece)[None], choose(range(9), heard=9))
        wanted = plain(torch.from_numpy(piece)[None, :, :18])
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-6)
