"""A voice becomes features, fifty rows a second."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime import open_bundle
from echoexport.runtime.conditioning.voice_features import (
    count_columns,
    encode_voice,
    measure_hearing,
)
from echoexport.runtime.inputs.voice import voice_from_samples


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
