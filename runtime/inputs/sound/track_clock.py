"""Time stamps against samples: where a recording pauses, silence belongs."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from echoexport.runtime.errors import AudioError

if TYPE_CHECKING:
    from av import AudioFrame
    from av.container import InputContainer

__all__ = ["TrackClock", "make_silence"]

# Sound is noticed to be early from 45 ms on (ITU-R BT.1359); stamps are rounded, and
# jitter by less.
_NOTICED = Fraction(45, 1000)
_LONGEST_PAUSE = 3600  # seconds; more is a broken stamp
# Broadcasts and chained files begin anew; a step so long is no pause there.
_RESTART = 10
_GENERIC_INDEX = 0x100  # AVFMT_GENERIC_INDEX: stamps are counted from the data itself
_MAY_RESTART = 0x200  # AVFMT_TS_DISCONT
_BLOCK_SAMPLES = 1 << 16
_KINDS = {"u8": "u1", "s16": "i2", "s32": "i4", "flt": "f4", "dbl": "f8"}  # numpy's


class TrackClock:
    """Follows one track's frames; says what silence comes before each."""

    def __init__(self, container: InputContainer, *, name: str) -> None:
        flags = container.format.flags
        self.name = name
        self.seconds = Fraction(0)
        """Of sound so far, silence included."""
        self._restarts = bool(flags & _MAY_RESTART)
        self._stamped = self._restarts or not flags & _GENERIC_INDEX
        self._begin: Fraction | None = None  # the stamp at which the sound begins
        self._last: AudioFrame | None = None

    def place(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        """The frame, and before it the silence since the last one.

        Raises ``AudioError`` for a pause that nobody recorded.
        """
        yield from self.pause(self._measure_gap(frame), like=frame)
        self.seconds += Fraction(frame.samples, frame.sample_rate)
        self._last = frame
        yield frame

    def pause(self, seconds: Fraction, *, like: AudioFrame | None = None) -> Iterator[AudioFrame]:
        """Silence of a frame's kind, the last one's if none is given; none where it is short."""
        like = like or self._last
        if like is None or seconds < _NOTICED:
            return
        if seconds > _LONGEST_PAUSE:
            raise AudioError(
                f"{self.name}: its time stamps jump by {float(seconds):.0f} s, "
                f"{float(self.seconds):.2f} s in; mend it: ffmpeg -i IN OUT.wav"
            )
        for silence in make_silence(like, samples=round(seconds * like.sample_rate)):
            self.seconds += Fraction(silence.samples, silence.sample_rate)
            yield silence

    def _measure_gap(self, frame: AudioFrame) -> Fraction:
        """Seconds from the end of what was heard to a frame's stamp; 0 without stamps."""
        if not self._stamped or frame.pts is None or not frame.time_base:
            return Fraction(0)
        stamp = frame.pts * frame.time_base
        if self._begin is None:
            self._begin = stamp
        gap = stamp - self._begin - self.seconds
        if gap < -_NOTICED or (self._restarts and gap > _RESTART):
            self._begin = stamp - self.seconds  # it begins anew
            return Fraction(0)
        return gap


def make_silence(like: AudioFrame, *, samples: int) -> Iterator[AudioFrame]:
    """Frames without sound, like a plain frame in format, layout and rate."""
    import av

    planar = like.format.is_planar
    channels = like.layout.nb_channels
    kind = _KINDS[like.format.packed.name]
    level = 128 if kind == "u1" else 0  # unsigned: the middle
    for start in range(0, samples, _BLOCK_SAMPLES):
        count = min(_BLOCK_SAMPLES, samples - start)
        shape = (channels, count) if planar else (1, count * channels)
        silence = av.AudioFrame.from_ndarray(
            np.full(shape, level, dtype=kind), format=like.format.name, layout=like.layout.name
        )
        silence.sample_rate = like.sample_rate
        yield silence
