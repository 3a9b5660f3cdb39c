"""Frames of many channels are laid out so that they can be looked at."""

from __future__ import annotations

from collections.abc import Callable

import av
import numpy as np
import pytest

from echoexport.runtime.inputs.sound.plain import PlainFrames, to_rows


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1", "7.1"])
@pytest.mark.parametrize("kind", ["fltp", "s16p", "s32", "u8"])
def test_a_frame_of_any_layout_becomes_one_that_numpy_can_show(
    make_noise: Callable[..., np.ndarray], layout: str, kind: str
) -> None:
    channels = av.AudioLayout(layout).nb_channels
    samples = np.stack([make_noise(seed, count=900) for seed in range(channels)], axis=1)
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout=layout)
    frame.sample_rate = 16_000
    (decoded,) = av.AudioResampler(kind, layout, 16_000).resample(frame)
    decoded.pts = 320
    shown = PlainFrames().convert(decoded)
    assert shown.layout.name == layout
    assert (shown.pts, shown.samples, shown.sample_rate) == (320, 900, 16_000)
    assert not (shown.format.is_planar and channels > 7)
    step = 2 / 128 if kind == "u8" else 1e-6
    assert np.abs(to_rows(shown) - samples.T / 32768).max() <= step


def test_more_channels_than_speakers_become_the_mean_of_those_that_sound(
    make_noise: Callable[..., np.ndarray],
) -> None:
    samples = np.zeros((900, 40), np.int16)
    samples[:, 3] = make_noise(0, count=900)
    samples[:, 30] = make_noise(1, count=900)
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="40 channels")
    frame.sample_rate = 16_000
    shown = PlainFrames().convert(frame)
    assert shown.layout.name == "mono"
    wanted = (samples[:, 3].astype(float) + samples[:, 30]) / 2 / 32768
    assert np.abs(to_rows(shown)[0] - wanted).max() < 1e-6
