"""Fixtures of the sinks' tests: frames, a voice, and the writing of all of them."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime.sinks.sink import FrameSink

SIZE = (64, 48)


@pytest.fixture(scope="session")
def make_frames() -> Callable[..., list[np.ndarray]]:
    """A function that draws so many frames of 64x48 pixels from a seed."""

    def make(count: int, *, seed: int = 0) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8) for _ in range(count)]

    return make


@pytest.fixture(scope="session")
def write_voice() -> Callable[..., Path]:
    """A function that writes a rough sound as a WAV file; a second of it, unless told otherwise."""

    def write(path: Path, *, seconds: float = 1.0, rate: int = 24_000, channels: int = 1) -> Path:
        rng = np.random.default_rng(0)
        count = int(seconds * rate)
        slow = np.repeat(rng.integers(-9000, 9000, count // 20 + 1), 20)[:count]
        with wave.open(str(path), "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(np.repeat(slow, channels).astype("<i2").tobytes())
        return path

    return write


@pytest.fixture(scope="session")
def write_all() -> Callable[..., None]:
    """A function that enters a sink and writes all the frames."""

    def write(sink: FrameSink, frames: Iterable[np.ndarray]) -> None:
        with sink:
            for frame in frames:
                sink.write(frame)

    return write
