"""A voice becomes features, fifty rows a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime import open_bundle
from echoexport.runtime.conditioning.voice_features import encode_voice
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
