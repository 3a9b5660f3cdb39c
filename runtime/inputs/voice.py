"""Reads a voice from any file that holds sound, as the 16 kHz mono that the networks take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echoexport.runtime.errors import AudioError

if TYPE_CHECKING:
    from av import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

__all__ = [
    "MIN_SECONDS",
    "SAMPLE_RATE",
    "Voice",
    "decode_sound",
    "read_voice",
    "split_sound",
    "voice_from_samples",
]

SAMPLE_RATE = 16_000
"""Samples per second of a ``Voice``: what Whisper's encoder takes."""

MIN_SECONDS = 0.1
"""Shorter sounds are refused: they give fewer than five rows of features, too few to
move a mouth."""

# Written to a pipe, a header cannot know the length and says "as large as can be": it
# promises nothing.
_UNKNOWN_RIFF_SIZE = 0x7FFF_0000
# A RIFF header may overstate the file by a padding byte or a trailing chunk; more than
# this is a cut file.
_RIFF_SLACK_BYTES = 4096
# Containers whose header counts the samples, so that a shorter decode means damage, and
# the seconds to allow for: AAC's delay and padding, up to two packets. An MP3's length
# is a guess: a cut one is read as it is.
_COUNTED_CONTAINERS = {"flac": Fraction(0), "mov,mp4,m4a,3gp,3g2,mj2": Fraction(1, 4)}
# Float samples lie in [-1, 1]; a resampler may overshoot a little, integers in a float
# array overshoot a lot.
_LOUDEST_FLOAT = 2.0
_HIGHEST_RATE = 768_000  # no sound is recorded faster
_BLOCK_SAMPLES = 1 << 16


@dataclass(frozen=True, eq=False)
class Voice:
    """A sound, ready for ``log_mel``."""

    samples: NDArray[np.float32] = field(repr=False)
    """(n,) float32, mono, 16 kHz, in [-1, 1], each value a 16-bit integer / 32768;
    read-only."""
    duration: Fraction
    """In seconds, exact: the source's own sample count over its own rate."""
    path: Path | None = None
    """The file that it came from, None where it came from memory."""


def read_voice(path: str | Path) -> Voice:
    """Read the first sound track of a file.

    The file may be WAV, MP3, M4A, FLAC, a video ..., at any rate, with any channels. As
    the original does, the track is converted by libswresample to mono 16-bit
    integers at 16 kHz; a file that is so already comes through bit for bit.

    Raises ``AudioError``, naming the file: missing, a folder, not media, without sound,
    cut short, undecodable, with NaN or infinite samples, or shorter than
    ``MIN_SECONDS``.
    """
    path = Path(path)
    return _collect_voice(decode_sound(path), name=str(path), path=path)


def voice_from_samples(samples: ArrayLike, *, sample_rate: int = SAMPLE_RATE) -> Voice:
    """Make a voice of an array: (n,) int16, or float in [-1, 1].

    Any rate will do; it is resampled as files are.

    Raises ``AudioError``: not mono, another dtype, NaN or infinite values, too short, a
    rate that is no rate.
    """
    frames = split_sound(samples, sample_rate=sample_rate)
    return _collect_voice(frames, name="the given samples", path=None)


def decode_sound(path: Path) -> Iterator[AudioFrame]:
    """Decode the first sound track of a file, frame by frame, in the source's own format.

    Raises ``AudioError`` as ``read_voice`` does, all but the check of the length.
    """
    import av

    _check_file(path)
    try:
        container = _open_container(path)
    except av.FFmpegError as error:
        raise AudioError(
            f"{path}: not a sound or video file that can be read ({error.strerror})"
        ) from error
    with container:
        if not container.streams.audio:
            raise AudioError(
                f"{path}: holds no sound (no audio stream); give a WAV, MP3, M4A or FLAC file"
            )
        yield from _decode_stream(container, container.streams.audio[0], path=path)


def _open_container(path: Path) -> InputContainer:
    """A local file alone: a playlist could otherwise send the reader to the network."""
    import av

    options = {"protocol_whitelist": "file"}
    # Tags need not be UTF-8. PyAV 19 takes them as they come, and no such argument.
    strict = int(av.__version__.split(".")[0]) < 19
    lenient = {"metadata_errors": "replace"} if strict else {}
    container: InputContainer = av.open(str(path.absolute()), "r", options=options, **lenient)
    return container


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


def _decode_stream(
    container: InputContainer, stream: AudioStream, *, path: Path
) -> Iterator[AudioFrame]:
    import av

    seconds = Fraction(0)
    try:
        for frame in container.decode(stream):
            if not _is_finite(frame):
                raise AudioError(
                    f"{path}: NaN or infinite samples {float(seconds):.2f} s in; export the "
                    "sound again"
                )
            seconds += Fraction(frame.samples, frame.sample_rate)
            yield frame
    except av.FFmpegError as error:
        raise AudioError(
            f"{path}: damaged {float(seconds):.2f} s in ({error.strerror}); mend it: "
            "ffmpeg -i IN OUT.wav"
        ) from error
    least = _least_seconds(container, stream)
    if seconds < least:
        missing = float(least - seconds)
        raise AudioError(
            f"{path}: damaged or cut short, {missing:.2f} s are missing; copy it again"
        )


def _least_seconds(container: InputContainer, stream: AudioStream) -> Fraction:
    """The fewest seconds a whole file gives, by its container's header.

    0 where that only estimates them.
    """
    slack = _COUNTED_CONTAINERS.get(container.format.name)
    if slack is None or not stream.duration or not stream.time_base:
        return Fraction(0)
    return stream.duration * stream.time_base - slack


def _check_file(path: Path) -> None:
    """Refuse what is no readable file, and a RIFF file cut short.

    libavformat would read the latter as whole.
    """
    if path.is_dir():
        raise AudioError(f"{path}: is a folder; give a sound file")
    try:
        with path.open("rb") as file:
            head = file.read(8)
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise AudioError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise AudioError(
            f"{path}: cannot be opened ({getattr(error, 'strerror', None) or error})"
        ) from error
    if size == 0:
        raise AudioError(f"{path}: the file is empty")
    promised = int.from_bytes(head[4:8], "little") + 8
    if head[:4] == b"RIFF" and size + _RIFF_SLACK_BYTES < promised < _UNKNOWN_RIFF_SIZE:
        raise AudioError(f"{path}: cut short, {size} of {promised} bytes; copy it again")


def _collect_voice(frames: Iterable[AudioFrame], *, name: str, path: Path | None) -> Voice:
    """Convert decoded frames to one ``Voice``; ``name`` is how errors call it."""
    # 16-bit samples: 115 MB an hour, in one growing buffer rather than thousands of arrays
    pcm = bytearray()
    duration = _append_pcm(pcm, frames, name=name)
    _check_duration(duration, name=name)
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32)
    samples *= np.float32(1 / 32768)  # a power of two: exact
    samples.setflags(write=False)
    return Voice(samples, duration, path)


def _append_pcm(pcm: bytearray, frames: Iterable[AudioFrame], *, name: str) -> Fraction:
    """Append the frames' sound as mono 16-bit samples at 16 kHz; returns its seconds."""
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    count = 0
    rate = SAMPLE_RATE
    try:
        for frame in frames:
            count = count + frame.samples
            rate = frame.sample_rate
            for part in resampler.resample(frame):
                pcm += part.to_ndarray().astype("<i2", copy=False).tobytes()
        for part in resampler.resample(None) if count else []:
            if part is not None:  # PyAV passes the None through when there was nothing to convert
                pcm += part.to_ndarray().astype("<i2", copy=False).tobytes()
    except (av.FFmpegError, ValueError) as error:  # ValueError: rate or channels change on the way
        raise AudioError(f"{name}: cannot be converted to 16 kHz mono ({error})") from error
    return Fraction(count, rate)


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


def _is_finite(frame: AudioFrame) -> bool:
    return not frame.format.name.startswith(("flt", "dbl")) or bool(
        np.isfinite(frame.to_ndarray()).all()
    )
