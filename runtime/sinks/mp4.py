"""Writes frames and their sound as an mp4 (H.264 and AAC) that every player and page can show."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.errors import AudioError, OutputError, SettingError
from echoexport.runtime.files.aside import refuse_output
from echoexport.runtime.files.staging import staged_file
from echoexport.runtime.inputs.rates import exact_rate
from echoexport.runtime.inputs.sound.decoding import decode_sound
from echoexport.runtime.inputs.sound.stored import StoredSound
from echoexport.runtime.inputs.voice import split_sound
from echoexport.runtime.sinks.sink import check_frame

if TYPE_CHECKING:
    from av import AudioFrame, VideoFrame
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.video.stream import VideoStream

__all__ = ["Mp4Settings", "Mp4Sink"]

# Sampling rates AAC has (ISO/IEC 14496-3, table 1.18).
AAC_RATES = (
    7350,
    8000,
    11025,
    12000,
    16000,
    22050,
    24000,
    32000,
    44100,
    48000,
    64000,
    88200,
    96000,
)
_AAC_FALLBACK_RATE = 48_000
_AAC_PACKET = 1024  # samples
_LOUDEST = 4.0
"""Four times full scale, which a player cuts at 1: of far larger values the encoder's search for
a scale has no end."""
_BT709 = 1  # matrix, primaries and transfer of ITU-T H.273; also libavutil's numbers
_LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG


@dataclass(frozen=True)
class Mp4Settings:
    """How a video is compressed."""

    crf: int = 18
    """x264's rate factor."""
    preset: str = "medium"
    """x264's."""
    audio_bit_rate: int = 96_000
    """AAC's bits per second and channel."""


class Mp4Sink:
    """An mp4 or mov: H.264 in yuv420p (BT.709), AAC, index in front.

    It appears whole or not at all.

    The sound is decoded while frames come in and never runs ahead of the picture, so
    memory stays flat. A voice longer than the picture is cut at its end; a shorter one
    ends first, by less than one frame where ``covering_frame_count`` said how many to
    write.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        size: tuple[int, int],
        fps: int | float | Fraction,
        voice_path: str | Path | StoredSound | None = None,
        voice_samples: NDArray[np.float32] | None = None,
        settings: Mp4Settings | None = None,
    ) -> None:
        self.path = Path(path)
        self._size = size
        self._rate = exact_rate(fps)
        self._settings = settings or Mp4Settings()
        self._stack = ExitStack()
        self._voice = voice_path
        self._voice_samples = voice_samples
        self._count = 0
        require_even(size)

    def __enter__(self) -> Mp4Sink:
        """Open the sound and a hidden file beside the target.

        Raises ``OutputError`` or ``AudioError``.
        """
        sound = self._open_sound()
        self._claim_place()
        try:
            with self._refusing():
                self._container = self._open_container()
                self._video = add_h264(
                    self._container,
                    size=self._size,
                    fps=self._rate,
                    options={"crf": str(self._settings.crf), "preset": self._settings.preset},
                )
                self._sound = (
                    None
                    if sound is None
                    else _SoundTrack(self._container, sound, settings=self._settings)
                )
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish and rename the file after a clean run, else remove it. Raises ``OutputError``."""
        try:
            if kind is None:
                self._commit()
        finally:
            self._discard()

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append one frame, and the sound up to its end.

        Raises ``OutputError``, ``SettingError`` for another shape, ``AudioError`` for a
        damaged voice.
        """
        check_frame(frame, self._size)
        picture = convert_picture(frame, index=self._count, fps=self._rate)
        with self._refusing():
            self._container.mux(self._video.encode(picture))
            self._count += 1
            if self._sound is not None:
                self._sound.advance(self._count / self._rate)

    def _open_sound(self) -> _FirstFrame | None:
        if self._voice is not None:
            voice = self._voice
            path = voice.path if isinstance(voice, StoredSound) else Path(voice)
            if self.path.exists() and path.exists() and self.path.samefile(path):
                raise SettingError(
                    f"output {self.path}: it is the voice itself, and would be overwritten; "
                    "name another"
                )
            return _FirstFrame(decode_sound(voice), name=str(path))
        if self._voice_samples is not None:
            return _FirstFrame(split_sound(self._voice_samples), name="the given samples")
        return None

    def _claim_place(self) -> None:
        if self.path.is_dir():
            raise OutputError(f"{self.path}: is a folder; name a file in it")
        try:
            self._staging = self._stack.enter_context(staged_file(self.path))
        except OSError as error:
            raise refuse_output(self.path, error) from error

    def _open_container(self) -> OutputContainer:
        import av

        kind = "mov" if self.path.suffix.lower() == ".mov" else "mp4"
        return av.open(str(self._staging), "w", format=kind, options={"movflags": "+faststart"})

    def _commit(self) -> None:
        if not self._count:
            raise OutputError(f"{self.path}: no frame was written, so there is no video to keep")
        with self._refusing():
            self._container.mux(self._video.encode(None))
            if self._sound is not None:
                self._sound.finish(self._count / self._rate)
            self._container.close()
            with self._staging.open("rb+") as written:
                os.fsync(written.fileno())  # some disks tell that they are full only now
            self._staging.replace(self.path)

    def _discard(self) -> None:
        """Let go of everything and remove the hidden file, which is gone already after a commit."""
        # first of all: closing would else move the whole file to make room for an index
        self._stack.close()
        with suppress(Exception):
            self._container.close()
        if self._sound is not None:
            self._sound.close()

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Turn a failure to write into an ``OutputError`` that names the target."""
        import av

        try:
            yield
        except (av.FFmpegError, OSError) as error:
            raise refuse_output(self.path, error) from error


def require_even(size: tuple[int, int]) -> None:
    """Raise ``SettingError`` for a (width, height) that H.264 in yuv420p does not take."""
    if min(size) < 2 or size[0] % 2 or size[1] % 2:
        raise SettingError(f"size {size[0]}x{size[1]}: H.264 in yuv420p takes even sizes only")


def add_h264(
    container: OutputContainer, *, size: tuple[int, int], fps: Fraction, options: dict[str, str]
) -> VideoStream:
    """A stream of H.264 in yuv420p and BT.709; ``size`` is (width, height), options are x264's."""
    stream = container.add_stream("libx264", rate=fps, options=options)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = 1 / fps
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED_RANGE
    return stream


def convert_picture(frame: NDArray[np.uint8], *, index: int, fps: Fraction) -> VideoFrame:
    """A frame (H, W, 3) as the encoder takes it, at its place in time."""
    import av

    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
    picture.pts = index
    picture.time_base = 1 / fps
    return picture


class _FirstFrame:
    """Decoded sound with its first frame at hand.

    That frame says what rate and how many channels come.
    """

    def __init__(self, frames: Iterator[AudioFrame], *, name: str) -> None:
        self._rest = frames
        first = next(frames, None)
        if first is None:
            raise AudioError(f"{name}: holds no sound")
        self.first: AudioFrame = first
        self.name = name

    def __iter__(self) -> Iterator[AudioFrame]:
        yield self.first
        yield from self._rest


class _SoundTrack:
    """The AAC track of an mp4, fed only as far as the picture has come."""

    def __init__(
        self, container: OutputContainer, sound: _FirstFrame, *, settings: Mp4Settings
    ) -> None:
        source = sound.first
        self._rate = source.sample_rate if source.sample_rate in AAC_RATES else _AAC_FALLBACK_RATE
        channels = min(2, source.layout.nb_channels)
        self._layout = "mono" if channels == 1 else "stereo"
        self._container = container
        self._stream: AudioStream = container.add_stream("aac", rate=self._rate)
        self._stream.layout = self._layout
        self._stream.bit_rate = settings.audio_bit_rate * channels
        self._stream.codec_context.time_base = Fraction(1, self._rate)
        self._packets = self._resample(sound)
        self._next = next(self._packets, None)
        self._sent = 0  # samples

    def advance(self, seconds: Fraction) -> None:
        """Encode every whole packet that ends by ``seconds``."""
        limit = int(seconds * self._rate)
        while self._next is not None and self._sent + self._next.samples <= limit:
            self._encode(self._next)
            self._next = next(self._packets, None)

    def finish(self, seconds: Fraction) -> None:
        """Encode the sound up to ``seconds`` to the sample, and end the track."""
        self.advance(seconds)
        left = int(seconds * self._rate) - self._sent
        if self._next is not None and left > 0:
            self._encode(self._cut(self._next, left))
        self._container.mux(self._stream.encode(None))

    def close(self) -> None:
        """Close the voice's file."""
        self._packets.close()

    def _encode(self, frame: AudioFrame) -> None:
        frame.pts = self._sent
        frame.time_base = Fraction(1, self._rate)
        self._container.mux(self._stream.encode(frame))
        self._sent += frame.samples

    def _cut(self, frame: AudioFrame, samples: int) -> AudioFrame:
        import av

        part = np.ascontiguousarray(frame.to_ndarray()[:, :samples], dtype=np.float32)
        shorter = av.AudioFrame.from_ndarray(part, format="fltp", layout=self._layout)
        shorter.sample_rate = self._rate
        return shorter

    def _resample(self, sound: _FirstFrame) -> Any:
        """Frames of one AAC packet each, the last one shorter.

        A generator, so that it can be closed.
        """
        import av

        cutter = av.AudioResampler(
            format="fltp", layout=self._layout, rate=self._rate, frame_size=_AAC_PACKET
        )
        try:
            for frame in self._convert(sound):
                yield from cutter.resample(frame)
            yield from _drop_none(cutter.resample(None))
        except ValueError as error:
            raise AudioError(f"{sound.name}: cannot be converted to AAC ({error})") from error

    def _convert(self, sound: _FirstFrame) -> Iterator[AudioFrame]:
        """The sound at the track's rate, with its channels, whatever changes on the way."""
        import av

        resampler: Any = None
        kind = None
        count = 0
        for frame in itertools.chain(sound, [None]):
            found = frame and (frame.format.name, frame.layout.name, frame.sample_rate)
            parts = [] if resampler is None or found == kind else resampler.resample(None)
            if found != kind:
                resampler = av.AudioResampler("fltp", self._layout, self._rate)
                kind = found
            parts += [] if frame is None else resampler.resample(frame)
            for part in map(_limit, _drop_none(parts)):
                part.pts = count
                part.time_base = Fraction(1, self._rate)
                count += part.samples
                yield part


def _limit(frame: AudioFrame) -> AudioFrame:
    """A frame of floats without values that are no sound's."""
    import av

    values = frame.to_ndarray()
    if np.abs(values).max(initial=0) <= _LOUDEST:
        return frame
    clipped = values.clip(-_LOUDEST, _LOUDEST)
    limited = av.AudioFrame.from_ndarray(clipped, format="fltp", layout=frame.layout.name)
    limited.sample_rate = frame.sample_rate
    return limited


def _drop_none(frames: Iterable[AudioFrame | None]) -> Iterator[AudioFrame]:
    return (frame for frame in frames if frame is not None)
