"""Frames and their samples as a fragmented mp4 that plays while it is written."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.errors import OutputError, SettingError
from echoexport.runtime.files.aside import refuse_output
from echoexport.runtime.files.staging import staged_file
from echoexport.runtime.inputs.rates import exact_rate
from echoexport.runtime.sinks.mp4 import AAC_RATES, add_h264, convert_picture, require_even
from echoexport.runtime.sinks.sink import check_frame

if TYPE_CHECKING:
    from av import Packet
    from av.container import OutputContainer

_BIT_RATE = 96_000


@dataclass(frozen=True)
class FragmentSettings:
    """How a live video is compressed and cut."""

    crf: int = 20
    """x264's rate factor."""
    preset: str = "veryfast"
    """x264's; without look-ahead, so that each frame leaves the encoder at once."""
    seconds: float = 1.0
    """From one key frame to the next, at which a viewer may begin."""
    each_frame: bool = False
    """Cut a fragment for about every frame, for viewers who are to see it at once, instead
    of one for each key frame. The head of the file then comes with the first fragment."""
    profile: str | None = None
    """H.264's in PyAV's words, such as ``Baseline``; None leaves it to x264."""


@dataclass(frozen=True)
class EncodedPicture:
    """A picture as the encoder made it, for who sends it without a container."""

    data: bytes
    """H.264 in byte stream format; of a key frame with the parameter sets before it."""
    index: int
    """Of the frame, from 0."""
    is_key: bool
    """Whether it needs no other."""


class FragmentedMp4Sink:
    """An mp4 in fragments: H.264 and AAC, each frame written with its own samples.

    To a file it appears whole or not at all; to a stream, what is sent stays sent. A
    context manager.
    """

    def __init__(
        self,
        output: Path | BinaryIO | io.RawIOBase,
        *,
        size: tuple[int, int],
        fps: int | float | Fraction,
        sample_rate: int,
        settings: FragmentSettings | None = None,
    ) -> None:
        """``size`` is (width, height), both even.

        Raises:
            SettingError: a size or rate that the codecs do not take.
        """
        require_even(size)
        if sample_rate not in AAC_RATES:
            known = ", ".join(str(rate) for rate in AAC_RATES)
            raise SettingError(f"sample rate {sample_rate}: AAC has {known}")
        self._output = output
        self._size = size
        self._fps = exact_rate(fps)
        self._rate = sample_rate
        self._settings = settings or FragmentSettings()
        self._stack = ExitStack()
        self._frames = 0
        self._samples = 0
        self._key_wanted = False
        self.tap: Callable[[EncodedPicture], None] | None = None
        """Is given each picture before it is muxed."""

    def __enter__(self) -> FragmentedMp4Sink:
        """Open a hidden file beside the target, or the stream. Raises ``OutputError``."""
        try:
            with self._refusing():
                self._container = self._open()
                self._add_streams()
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
        """Write the end and rename the file after a clean run, else remove it."""
        try:
            if kind is None:
                self._finish()
        finally:
            with suppress(Exception):
                self._container.close()
            self._stack.close()

    def ask_key_frame(self) -> None:
        """The next picture is one that needs no other."""
        self._key_wanted = True

    def write(self, frame: NDArray[np.uint8], samples: NDArray[np.float32]) -> None:
        """Append a frame (H, W, 3) and its samples (n,); without any, silence goes with it.

        Raises ``OutputError``, or ``SettingError`` for another shape.
        """
        from av.video.frame import PictureType

        check_frame(frame, self._size)
        picture = convert_picture(frame, index=self._frames, fps=self._fps)
        if self._key_wanted:
            picture.pict_type = PictureType.I
            self._key_wanted = False
        self._frames += 1
        sound = samples if samples.size else np.zeros(self._count_due(), np.float32)
        with self._refusing():
            packets = self._video.encode(picture)
            if self.tap is not None:
                for packet in packets:
                    self.tap(self._copy(packet))
            self._container.mux(packets)
            self._encode_sound(sound)

    def _copy(self, packet: Packet[Any]) -> EncodedPicture:
        """A picture by itself; the container would have its parameter sets in its head."""
        data = bytes(packet)
        if packet.is_keyframe:
            data = (self._video.codec_context.extradata or b"") + data
        assert packet.pts is not None
        return EncodedPicture(data, packet.pts, packet.is_keyframe)

    def _count_due(self) -> int:
        """Samples from what is written to the end of the frame."""
        due = self._frames * self._rate * self._fps.denominator // self._fps.numerator
        return max(0, due - self._samples)

    def _encode_sound(self, samples: NDArray[np.float32]) -> None:
        import av

        if not samples.size:
            return
        sound = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[None], dtype=np.float32), format="fltp", layout="mono"
        )
        sound.sample_rate = self._rate
        sound.pts = self._samples
        sound.time_base = Fraction(1, self._rate)
        self._samples += samples.size
        for packet in self._cutter.resample(sound):
            if packet is not None:
                self._container.mux(self._sound.encode(packet))

    def _open(self) -> OutputContainer:
        import av

        options = self._name_flags()
        if isinstance(self._output, Path):
            if self._output.is_dir():
                raise OutputError(f"{self._output}: is a folder; name a file in it")
            self._staging = self._stack.enter_context(staged_file(self._output))
            return av.open(str(self._staging), "w", format="mp4", options=options)
        return av.open(self._output, "w", format="mp4", options=options)

    def _name_flags(self) -> dict[str, str]:
        """How the muxer is told where to cut."""
        # A muxer that is to write an index at the end remembers every fragment until then.
        index = "" if isinstance(self._output, Path) else "+skip_trailer"
        if not self._settings.each_frame:
            # A fragment for each frame would carry more heads than pictures.
            return {"movflags": "frag_keyframe+empty_moov+default_base_moof" + index}
        # Not frag_every_frame, which loses pictures with AAC beside them. Without delay_moov
        # the first frame would last as long as the sound's encoder delays it.
        return {"movflags": "delay_moov+default_base_moof" + index, "frag_duration": "1"}

    def _add_streams(self) -> None:
        import av

        every = max(1, round(self._settings.seconds * self._fps))
        options = {
            "crf": str(self._settings.crf),
            "preset": self._settings.preset,
            "tune": "zerolatency",
            "g": str(every),
            "forced-idr": "1",
        }
        self._video = add_h264(self._container, size=self._size, fps=self._fps, options=options)
        if self._settings.profile is not None:
            # not one of the options, where FFmpeg 7.1 takes its number and no name
            self._video.codec_context.profile = self._settings.profile
        self._sound: Any = self._container.add_stream("aac", rate=self._rate)
        self._sound.layout = "mono"
        self._sound.bit_rate = _BIT_RATE
        self._sound.codec_context.time_base = Fraction(1, self._rate)
        self._cutter = av.AudioResampler(
            format="fltp", layout="mono", rate=self._rate, frame_size=1024
        )

    def _finish(self) -> None:
        if not self._frames:
            raise OutputError(f"{self._name()}: no frame was written, so there is no video to keep")
        with self._refusing():
            self._container.mux(self._video.encode(None))
            for packet in self._cutter.resample(None):
                if packet is not None:
                    self._container.mux(self._sound.encode(packet))
            self._container.mux(self._sound.encode(None))
            self._container.close()
            if isinstance(self._output, Path):
                self._staging.replace(self._output)

    def _name(self) -> str:
        return str(self._output) if isinstance(self._output, Path) else "the stream"

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Turn a failure to write into an ``OutputError`` that names the target."""
        import av

        try:
            yield
        except (av.FFmpegError, OSError, ValueError) as error:
            raise refuse_output(self._name(), error) from error
