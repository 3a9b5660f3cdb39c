"""A voice becomes features, fifty rows a second."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime import open_bundle
from echoexport.runtime.bundle.opened import Lease
from echoexport.runtime.conditioning import voice_features
from echoexport.runtime.conditioning.voice_features import (
    VoiceFeatures,
    count_columns,
    encode_voice,
    measure_hearing,
)
from echoexport.runtime.inputs.voice import Voice, voice_from_samples


@pytest.mark.parametrize("seconds", [0.5, 30.0, 30.5])
def test_a_voice_gives_fifty_rows_a_second_one_call_for_thirty_seconds(
    null_bundle: Path, seconds: float
) -> None:
    samples = np.random.default_rng(3).uniform(-0.5, 0.5, int(16000 * seconds)).astype(np.float32)
    with open_bundle(null_bundle) as bundle, bundle.lease() as networks:
        features = encode_voice(networks, voice_from_samples(samples))
        assert networks.calls()["audio_encoder"] == (2 if seconds > 30 else 1)
    assert features.shape == (int(50 * seconds), 5, 4)
    assert features.dtype == np.float32


@pytest.mark.parametrize(
    ("frames", "fps", "pieces"),
    [(1, 24, 1), (24, 24, 1), (717, 24, 1), (720, 24, 2), (1800, 24, 3), (2, Fraction(1, 30), 2)],
)
def test_so_many_frames_hear_so_many_pieces_of_thirty_seconds(
    frames: int, fps: Fraction, pieces: int
) -> None:
    columns = count_columns(frames, Fraction(fps), context=1500)
    assert columns == pieces * 3000
    assert 30 * pieces < measure_hearing(columns) < 30 * pieces + 1


@pytest.mark.parametrize("seconds", [0.5, 30.0, 70.0])
def test_a_few_columns_are_features_of_the_first_piece_alone(
    null_bundle: Path, seconds: float
) -> None:
    samples = np.random.default_rng(3).uniform(-0.5, 0.5, int(16000 * seconds)).astype(np.float32)
    with open_bundle(null_bundle) as bundle, bundle.lease() as networks:
        features = encode_voice(networks, voice_from_samples(samples), columns=3000)
        assert networks.calls()["audio_encoder"] == 1
    assert len(features) == min(1500, int(50 * seconds))


class HearingNetwork:
    """An encoder whose states say what it heard; it counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.calls += 1
        heard = inputs["log_mel"].mean(axis=1).reshape(1, 1, 1500, 2)
        return {"audio_states": np.concatenate([heard * layer for layer in range(1, 6)], axis=1)}


@pytest.fixture
def hearing(null_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Lease, HearingNetwork]:
    """A lease whose audio encoder is that network."""
    networks = open_bundle(null_bundle).lease()
    network = HearingNetwork()
    monkeypatch.setattr(networks, "network", lambda name: network)
    return networks, network


def draw_voice(seconds: float) -> Voice:
    rng = np.random.default_rng(3)
    samples = rng.uniform(-0.5, 0.5, int(16_000 * seconds)).astype(np.float32)
    return voice_from_samples(samples * np.linspace(0.01, 1, samples.size, dtype=np.float32))


@pytest.mark.parametrize("seconds", [0.5, 30.0, 95.3])
@pytest.mark.parametrize("columns", [None, 3000, 6000])
def test_rows_that_are_encoded_as_needed_are_those_of_the_whole_voice(
    hearing: tuple[Lease, HearingNetwork], seconds: float, columns: int | None
) -> None:
    networks, _ = hearing
    voice = draw_voice(seconds)
    whole = encode_voice(networks, voice, columns=columns)
    features = VoiceFeatures(networks, voice, columns=columns, keep=False)
    assert (len(features), features.shape) == (len(whole), whole.shape)
    rows = np.random.default_rng(5).integers(0, len(whole), (20, 10))
    np.testing.assert_array_equal(features[rows], whole[rows])


def test_a_piece_is_encoded_when_a_row_of_it_is_asked_for(
    hearing: tuple[Lease, HearingNetwork],
) -> None:
    networks, network = hearing
    features = VoiceFeatures(networks, draw_voice(95.0))
    assert (features.pieces, network.calls) == (4, 0)
    features[np.array([3, 1499])]
    assert network.calls == 1
    features[np.array([1499, 1500])]
    assert network.calls == 2
    features.encode_all()
    assert network.calls == 4


def test_no_more_pieces_are_held_than_are_used_together(
    hearing: tuple[Lease, HearingNetwork], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voice_features, "_KEPT_BYTES", 1)
    networks, network = hearing
    voice = draw_voice(125.0)
    whole = encode_voice(networks, voice)
    network.calls = 0
    features = VoiceFeatures(networks, voice, keep=False)
    for row in range(0, len(whole) - 10, 10):  # frames in their order
        rows = np.arange(row, row + 10)
        np.testing.assert_array_equal(features[rows], whole[rows])
    assert network.calls == features.pieces == 5
    assert len(features._pieces) == 2
    np.testing.assert_array_equal(features[np.array([0])], whole[:1])  # encoded again
    assert network.calls == 6
