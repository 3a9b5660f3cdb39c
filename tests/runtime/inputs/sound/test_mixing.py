"""The mono that networks hear keeps what a viewer hears of any number of channels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime.inputs.voice import read_voice

Make = Callable[..., np.ndarray]
MakeWav = Callable[..., bytes]


def hear(path: Path, data: bytes) -> np.ndarray:
    """What networks hear of a file, in 16-bit steps."""
    path.write_bytes(data)
    return read_voice(path).samples * 32768


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_opposite_channels_are_heard_as_one_of_them(
    tmp_path: Path, make_wav: MakeWav, make_noise: Make, rate: int
) -> None:
    left = make_noise(0, count=rate)
    heard = hear(tmp_path / "a.wav", make_wav(np.stack([left, -left], axis=1), rate=rate))
    wanted = hear(tmp_path / "b.wav", make_wav(left, rate=rate))
    assert np.abs(heard - wanted)[200:].max() <= 1


def test_a_voice_that_turns_over_in_the_middle_is_heard_throughout(
    tmp_path: Path, make_wav: MakeWav, make_noise: Make
) -> None:
    left = make_noise(1)
    right = np.where(np.arange(left.size) < 8000, left, -left)
    heard = hear(tmp_path / "a.wav", make_wav(np.stack([left, right], axis=1)))
    away = np.abs(np.arange(left.size) - 8000) > 200
    assert np.abs(heard - left)[away].max() <= 1


@pytest.mark.parametrize("right", ["other", "silent", "same", "softer"])
def test_channels_that_do_not_cancel_are_averaged_as_ever(
    tmp_path: Path, make_wav: MakeWav, make_noise: Make, right: str
) -> None:
    left = make_noise(2)
    other = {
        "other": make_noise(3),
        "silent": np.zeros_like(left),
        "same": left,
        "softer": left // 3,
    }[right]
    heard = hear(tmp_path / "a.wav", make_wav(np.stack([left, other], axis=1)))
    assert np.abs(heard - (left.astype(int) + other) / 2).max() <= 1


@pytest.mark.parametrize("channels", [8, 24, 60, 200])
def test_any_number_of_channels_becomes_a_voice(
    tmp_path: Path, make_wav: MakeWav, make_noise: Make, channels: int
) -> None:
    voice = make_noise(4, count=3000)
    heard = hear(tmp_path / "a.wav", make_wav(np.repeat(voice[:, None], channels, axis=1)))
    assert np.corrcoef(heard, voice)[0, 1] > 0.999
    assert np.abs(heard).max() == pytest.approx(np.abs(voice).max(), rel=0.02)


def test_of_sixty_channels_the_one_with_a_voice_is_as_loud_as_it_is(
    tmp_path: Path, make_wav: MakeWav, make_noise: Make
) -> None:
    samples = np.zeros((5000, 60), np.int16)
    samples[:, 17] = make_noise(5, count=5000)
    heard = hear(tmp_path / "a.wav", make_wav(samples))
    assert np.abs(heard - samples[:, 17])[100:].max() <= 1


def test_a_rate_that_changes_on_the_way_is_followed(
    tmp_path: Path, make_wav: MakeWav, make_noise: Make
) -> None:
    first = make_noise(6)
    second = make_noise(7, count=48_000)
    stereo = np.stack([second, second], axis=1)
    heard = hear(tmp_path / "a.wav", make_wav(first) + make_wav(stereo, rate=48_000))
    assert np.array_equal(heard[:16_000], first)
    alone = hear(tmp_path / "b.wav", make_wav(second, rate=48_000))
    assert np.abs(heard[16_000:] - alone).max() <= 1
