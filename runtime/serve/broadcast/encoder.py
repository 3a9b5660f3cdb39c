"""The one encoder of a session: frames with their samples in, fragments of mp4 out."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from types import TracebackType

from echoexport.runtime.live.frames import LiveFrame
from echoexport.runtime.serve.broadcast.boxes import Fragment, FragmentCutter
from echoexport.runtime.serve.broadcast.packets import VIDEO, MediaPacket, OpusEncoder
from echoexport.runtime.serve.broadcast.viewers import Audience
from echoexport.runtime.sinks.fragmented_mp4 import (
    EncodedPicture,
    FragmentedMp4Sink,
    FragmentSettings,
)

SOUND_RATE = 48_000
"""Of the sound: a packet of AAC then lasts 21 ms and not 64 as at 16 kHz."""

# Baseline: no picture waits for a later one, and every player has it.
_SETTINGS = FragmentSettings(crf=21, seconds=1.0, each_frame=True, profile="Baseline")


class LiveEncoder:
    """Compresses each frame once, for any number of viewers; a context manager."""

    def __init__(
        self,
        *,
        size: tuple[int, int],
        fps: Fraction,
        give: Callable[[Fragment], None],
        audience: Audience | None = None,
    ) -> None:
        """``size`` is (width, height), both even; ``give`` takes what becomes whole.

        ``audience`` is shown the packets themselves while somebody in it wants them.

        Raises ``SettingError`` for a size that H.264 does not take.
        """
        self._fps = fps
        self._audience = audience
        self._opus: OpusEncoder | None = None
        self._pipe = _FragmentPipe(give)
        self._sink = FragmentedMp4Sink(
            self._pipe, size=size, fps=fps, sample_rate=SOUND_RATE, settings=_SETTINGS
        )

    def __enter__(self) -> LiveEncoder:
        """Open the codecs. Raises ``OutputError``."""
        self._sink.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give what is left after a clean run."""
        self._sink.__exit__(kind, error, trace)

    def write(self, frame: LiveFrame) -> None:
        """The next frame. Raises ``OutputError``."""
        audience = self._audience
        if audience is None or not audience.wants_packets:
            self._opus = self._sink.tap = None
            self._sink.write(frame.picture, frame.samples)
            return
        if audience.take_key_wish():
            self._sink.ask_key_frame()
        self._sink.tap = self._show_picture
        self._sink.write(frame.picture, frame.samples)
        self._opus = self._opus or OpusEncoder(rate=SOUND_RATE, fps=self._fps)
        for packet in self._opus.encode(frame):
            audience.show_packet(packet)

    def _show_picture(self, picture: EncodedPicture) -> None:
        assert self._audience is not None
        time_base = 1 / self._fps
        self._audience.show_packet(
            MediaPacket(VIDEO, picture.data, picture.index, time_base, picture.is_key)
        )


class _FragmentPipe(io.RawIOBase):
    """What the muxer takes for a file; cut and handed on at once."""

    def __init__(self, give: Callable[[Fragment], None]) -> None:
        self._cutter = FragmentCutter()
        self._give = give

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        for fragment in self._cutter.cut(bytes(data)):
            self._give(fragment)
        return len(data)
