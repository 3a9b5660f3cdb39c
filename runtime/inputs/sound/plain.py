"""Makes every decoded frame one that can be looked at and mixed, however many channels it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av import AudioFrame
    from av.audio.resampler import AudioResampler

__all__ = ["PlainFrames", "to_rows"]

# PyAV reads planes beyond the eighth from where there are none, so that planar frames
# of more channels are laid out anew before numpy sees them.
_MOST_PLANES = 7
_SHOWN = ("u8", "s16", "s32", "flt", "dbl")  # what numpy has, interleaved
_LARGEST = {"s16": 2.0**15, "s32": 2.0**31}  # of integers
_HEARD = 1e-4  # a channel's share of the loudest one's power from which it counts


class PlainFrames:
    """Turns a track's frames into ones that numpy and libswresample can take.

    Most are so already and come through as they are. 64-bit integers become floats. More
    channels than have a place among speakers become one: the mean of those that have
    been heard so far.
    """

    def __init__(self) -> None:
        self._layer: AudioResampler | None = None
        self._key: tuple[str, str, int] | None = None
        self._mixable: dict[str, bool] = {}
        self._power: NDArray[np.float64] = np.zeros(0)

    def convert(self, frame: AudioFrame) -> AudioFrame:
        """The same sound, at the same place in time."""
        packed = frame.format.packed.name
        many = frame.layout.nb_channels > _MOST_PLANES
        plain = frame
        if packed not in _SHOWN or (many and frame.format.is_planar):
            plain = self._lay_out(frame, kind=packed if packed in _SHOWN else "dbl")
        if many and not self._can_mix(plain):
            plain = self._mix(plain)
        plain.pts = frame.pts
        if frame.time_base:
            plain.time_base = frame.time_base
        return plain

    def _lay_out(self, frame: AudioFrame, *, kind: str) -> AudioFrame:
        import av

        key = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._layer is None or key != self._key:
            self._key = key
            self._layer = av.AudioResampler(kind, frame.layout.name, frame.sample_rate)
        copy = self._layer.resample(frame)
        return copy[0]

    def _can_mix(self, frame: AudioFrame) -> bool:
        """Whether libswresample knows what to do with so many channels."""
        import av

        layout = frame.layout.name
        if layout not in self._mixable:
            silence = np.zeros((1, 64 * frame.layout.nb_channels), np.int16)
            probe = av.AudioFrame.from_ndarray(silence, format="s16", layout=layout)
            probe.sample_rate = frame.sample_rate
            try:
                av.AudioResampler("s16", "mono", frame.sample_rate).resample(probe)
                self._mixable[layout] = True
            except (av.FFmpegError, ValueError):
                self._mixable[layout] = False
        return self._mixable[layout]

    def _mix(self, frame: AudioFrame) -> AudioFrame:
        import av

        rows = to_rows(frame)
        power = np.square(rows).sum(axis=1)
        if self._power.size != power.size:
            self._power = np.zeros(power.size)
        self._power += power
        heard = self._power >= _HEARD * self._power.max()
        mono = rows[heard].mean(axis=0, keepdims=True).astype(np.float32)
        mixed = av.AudioFrame.from_ndarray(mono, format="flt", layout="mono")
        mixed.sample_rate = frame.sample_rate
        return mixed


def to_rows(frame: AudioFrame) -> NDArray[np.float64]:
    """A frame's channels as (channels, n) in [-1, 1]."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    rows = values.astype(np.float64)
    if values.dtype == np.uint8:
        return (rows - 128) / 128
    return rows / _LARGEST.get(frame.format.packed.name, 1)
