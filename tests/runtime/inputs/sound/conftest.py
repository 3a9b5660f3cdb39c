"""Fixtures of the sound wing's tests: samples that are told apart, WAV files of any header."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def make_noise() -> Callable[..., np.ndarray]:
    """A function that makes (n,) int16 of noise that is loud and rises and falls, by its seed."""

    def make(seed: int, *, count: int = 16_000) -> np.ndarray:
        rng = np.random.default_rng(seed)
        loudness = 6000 * (1.2 + np.sin(np.arange(count) / 700))
        smooth = np.convolve(rng.standard_normal(count + 7), np.ones(8) / 8, mode="valid")
        return np.clip(np.rint(loudness * smooth), -32768, 32767).astype(np.int16)

    return make


@pytest.fixture(scope="session")
def make_wav() -> Callable[..., bytes]:
    """A function that makes a 16-bit WAV file of (n,) or (n, channels) samples.

    ``counted`` and ``riff`` are what its header says of sizes, the truth if None;
    ``before`` and ``behind`` are chunks round its samples.
    """

    def make(
        samples: np.ndarray,
        *,
        rate: int = 16_000,
        counted: int | None = None,
        riff: int | None = None,
        before: bytes = b"",
        behind: bytes = b"",
    ) -> bytes:
        channels = 1 if samples.ndim == 1 else samples.shape[1]
        data = samples.astype("<i2").tobytes()
        form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
        body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + before
        body += b"data" + struct.pack("<I", len(data) if counted is None else counted)
        body += data + behind
        return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body

    return make


@pytest.fixture(scope="session")
def encode_tracks() -> Callable[..., Path]:
    """A function that encodes (n,) int16 at 16 kHz, a track each, in a file by its suffix.

    ``starts`` says at which second each piece of 1024 samples begins, None where it
    follows the one before; ``default`` is the number of the default track.
    """

    def encode(
        path: Path,
        *tracks: np.ndarray,
        codec: str = "aac",
        starts: Callable[[int], Fraction | None] = lambda piece: None,
        default: int | None = None,
    ) -> Path:
        import av

        with av.open(str(path), "w") as container:
            streams = [container.add_stream(codec, rate=16_000) for _ in tracks]
            for number, stream in enumerate(streams):
                stream.layout = "mono"
                stream.bit_rate = 96_000
                if default is not None:
                    stream.disposition = int(number == default)
            for samples, stream in zip(tracks, streams, strict=True):
                clock = Fraction(0)
                for piece, start in enumerate(range(0, samples.size - 1023, 1024)):
                    kind = "s16" if codec == "pcm_s16le" else "fltp"
                    part = samples[None, start : start + 1024]
                    part = part if kind == "s16" else part.astype(np.float32) / 32768
                    frame = av.AudioFrame.from_ndarray(
                        np.ascontiguousarray(part), format=kind, layout="mono"
                    )
                    frame.sample_rate = 16_000
                    given = starts(piece)
                    clock = clock if given is None else given
                    frame.pts = round(clock * 16_000)
                    frame.time_base = Fraction(1, 16_000)
                    clock += Fraction(1024, 16_000)
                    container.mux(stream.encode(frame))
                container.mux(stream.encode(None))
        return path

    return encode
