"""Reads a voice from any file that holds sound, as the 16 kHz mono that the networks take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echoexport.runtime.errors import AudioError
from echoexport.runtime.inputs.sound.decoding import decode_sound
from echoexport.runtime.inputs.sound.mixing import SAMPLE_RATE, MonoMixer
from echoexport.runtime.inputs.sound.sample_store import SampleStore
from echoexport.runtime.inputs.sound.stored import StoredSound, store_sound

if TYPE_CHECKING:
    from av import AudioFrame

__all__ = [
    "MIN_SECONDS",
    "SAMPLE_RATE",
    "Voice",
    "question_voice",
    "read_voice",
    "split_sound",
    "voice_from_samples",
]

MIN_SECONDS = 0.1
"""Shorter sounds are refused: they give fewer than five rows of features, too few to
move a mouth."""

# Float samples lie in [-1, 1]; a resampler may overshoot a little, integers in a float
# array overshoot a lot.
_LOUDEST_FLOAT = 2.0
_AUDIBLE = 1e-3  # 60 dB below full scale
_HIGHEST_RATE = 768_000  # no sound is recorded faster
_BLOCK_SAMPLES = 1 << 16


@dataclass(frozen=True, eq=False)
class Voice:
    """A sound, ready for ``log_mel``."""

    kept: NDArray[np.float32] | SampleStore = field(repr=False)
    """Its samples: an array as ``samples`` gives it, or a long voice's store."""
    duration: Fraction
    """In seconds, exact: the source's own sample count over its own rate."""
    path: Path | None = None
    """The file that it came from, None where it came from memory."""

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.kept)

    @property
    def samples(self) -> NDArray[np.float32]:
        """All of them: (n,) float32, mono, 16 kHz, in [-1, 1]; read-only.

        Each value is a 16-bit integer / 32768. Of a voice of more than nine minutes an
        array is made each time, 230 MB an hour; ``cut`` gives parts.
        """
        return self.cut(0, len(self))

    def cut(self, start: int, stop: int) -> NDArray[np.float32]:
        """Samples ``start`` to ``stop``, fewer where they end before; read-only."""
        if isinstance(self.kept, np.ndarray):
            return self.kept[start:stop]
        samples = self.kept.read(start, stop)
        samples.setflags(write=False)
        return samples


def read_voice(source: str | Path | StoredSound, *, most: Fraction | None = None) -> Voice:
    """Read the default sound track of a file, else its first that can be decoded.

    The file may be WAV, MP3, M4A, FLAC, a video ..., at any rate, with any channels, and
    a pipe. As the original does, the track is converted by libswresample to mono 16-bit
    integers at 16 kHz; a file that is so already comes through bit for bit. Where its
    time stamps have a gap there is silence, and where its channels cancel each other
    out, the louder one is taken. ``most`` is how many seconds are read; None reads all.

    Raises ``AudioError``, naming the file: missing, a folder, not media, without sound,
    cut short, undecodable, with NaN or infinite samples, or shorter than
    ``MIN_SECONDS``.
    """
    with store_sound(source) as sound, closing(decode_sound(sound)) as frames:
        return _collect_voice(frames, name=sound.name, path=sound.path, most=most)


def voice_from_samples(samples: ArrayLike, *, sample_rate: int = SAMPLE_RATE) -> Voice:
    """Make a voice of an array: (n,) int16, or float in [-1, 1].

    Any rate will do; it is resampled as files are.

    Raises ``AudioError``: not mono, another dtype, NaN or infinite values, too short, a
    rate that is no rate.
    """
    frames = split_sound(samples, sample_rate=sample_rate)
    return _collect_voice(frames, name="the given samples", path=None)


def question_voice(voice: Voice) -> tuple[str, ...]:
    """A warning where nothing is said."""
    for start in range(0, len(voice), _BLOCK_SAMPLES):
        if np.abs(voice.cut(start, start + _BLOCK_SAMPLES)).max() > _AUDIBLE:
            return ()
    name = "the voice" if voice.path is None else f"voice {voice.path}"
    return (f"{name}: silent throughout, so the mouth stays as it is; is it the right file?",)


def split_sound(samples: ArrayLike, *, sample_rate: int = SAMPLE_RATE) -> Iterator[AudioFrame]:
    """Cut an array into frames, as ``decode_sound`` gives for a file.

    Raises as ``voice_from_samples``.
    """
    mono = _check_samples(np.asarray(samples))
    if sample_rate != int(sample_rate) or not 1 <= sample_rate <= _HIGHEST_RATE:
        raise AudioError(
            f"sample rate {sample_rate}: samples per second are wanted, 1 to {_HIGHEST_RATE}"
        )
    return _make_frames(mono, rate=int(sample_rate))


def _collect_voice(
    frames: Iterable[AudioFrame], *, name: str, path: Path | None, most: Fraction | None = None
) -> Voice:
    """Convert decoded frames to one ``Voice``; ``name`` is how errors call it."""
    store = SampleStore()
    mixer = MonoMixer(name=name)
    for part in mixer.mix(frames if most is None else _take_seconds(frames, most)):
        store.add(part)
    _check_duration(mixer.duration, name=name)
    voice = Voice(store, mixer.duration, path)
    # of a short one the array is at hand
    return Voice(voice.samples, mixer.duration, path) if store.in_memory else voice


def _take_seconds(frames: Iterable[AudioFrame], most: Fraction) -> Iterator[AudioFrame]:
    """The first frames, as many as cover so many seconds."""
    seconds = Fraction(0)
    for frame in frames:
        yield frame
        seconds += Fraction(frame.samples, frame.sample_rate)
        if seconds >= most:
            return


def _check_duration(duration: Fraction, *, name: str) -> None:
    if duration < Fraction(str(MIN_SECONDS)):
        raise AudioError(
            f"{name}: {float(duration):.3f} s of sound; at least {MIN_SECONDS} s are needed"
        )


def _check_samples(samples: NDArray[Any]) -> NDArray[Any]:
    if samples.ndim != 1:
        raise AudioError(
            f"samples of shape {samples.shape}: one channel is wanted, shape (n,); average the "
            "channels"
        )
    if samples.dtype == np.int16:
        return samples
    if samples.dtype.kind != "f":
        raise AudioError(f"samples of dtype {samples.dtype}: int16, or float in [-1, 1], is wanted")
    if not np.isfinite(samples).all():
        raise AudioError("the given samples hold NaN or infinite values")
    if samples.size and np.abs(samples).max() > _LOUDEST_FLOAT:
        raise AudioError(f"float samples reach {np.abs(samples).max():g}: scale them to [-1, 1]")
    return samples.astype(np.float32, copy=False)


def _make_frames(mono: NDArray[Any], *, rate: int) -> Iterator[AudioFrame]:
    import av

    name = "s16" if mono.dtype == np.int16 else "flt"
    for start in range(0, mono.size, _BLOCK_SAMPLES):
        block = np.ascontiguousarray(mono[None, start : start + _BLOCK_SAMPLES])
        frame = av.AudioFrame.from_ndarray(block, format=name, layout="mono")
        frame.sample_rate = rate
        yield frame
