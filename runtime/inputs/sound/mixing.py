"""Mixes decoded frames to the 16 kHz mono of the networks and keeps what a viewer hears."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.errors import AudioError

if TYPE_CHECKING:
    from av import AudioFrame
    from av.audio.resampler import AudioResampler

__all__ = ["SAMPLE_RATE", "MonoMixer"]

SAMPLE_RATE = 16_000
"""Samples per second of a ``Voice``: what Whisper's encoder takes."""

_BLOCK = 1600  # samples in which channels are compared: 0.1 s
_FADE = 160  # samples from one mix to the other: 10 ms
# A mean of channels that have nothing to do with each other has this share of their
# power or more; a fifth of it means that they cancel out.
_CANCELLED = 0.2
_AUDIBLE = (16 / 32768) ** 2  # mean square from which channels are compared


class MonoMixer:
    """Turns frames of any rate and channels into mono 16-bit samples at 16 kHz.

    They are libswresample's, as the original's, bit for bit. But where channels cancel
    each other out, which a viewer's two ears never notice, the louder channel is taken.
    """

    def __init__(self, *, name: str) -> None:
        self.name = name
        self.duration = Fraction(0)
        """Seconds of all frames so far, by their own rates."""
        self._key: tuple[str, str, int] | None = None
        self._lane: _Lane | None = None

    def mix(self, frames: Iterable[AudioFrame]) -> Iterator[NDArray[np.int16]]:
        """Mono samples, some for each frame and the rest at the end.

        Raises ``AudioError`` for what cannot be converted.
        """
        import av

        try:
            for frame in frames:
                self.duration += Fraction(frame.samples, frame.sample_rate)
                yield from self._change_lane(frame)
                assert self._lane is not None
                yield from self._lane.push(frame)
            if self._lane is not None:
                yield from self._lane.push(None)
        except (av.FFmpegError, ValueError) as error:
            raise AudioError(
                f"{self.name}: cannot be converted to 16 kHz mono ({error})"
            ) from error

    def _change_lane(self, frame: AudioFrame) -> Iterator[NDArray[np.int16]]:
        """End what came at another rate, with other channels or in another format."""
        key = (frame.format.name, frame.layout.name, frame.sample_rate)
        if key == self._key:
            return
        if self._lane is not None:
            yield from self._lane.push(None)
        self._key = key
        self._lane = _Lane(frame) if frame.layout.nb_channels == 1 else _ComparedLane(frame)


class _Lane:
    """Frames of one kind, converted by libswresample."""

    def __init__(self, like: AudioFrame) -> None:
        import av

        self._mono: AudioResampler = av.AudioResampler("s16", "mono", SAMPLE_RATE)

    def push(self, frame: AudioFrame | None) -> Iterator[NDArray[np.int16]]:
        """What a frame gives, None for the last."""
        for part in _resample(self._mono, frame):
            yield part[:, 0]


class _ComparedLane(_Lane):
    """The same for several channels, which are looked at beside their mix."""

    def __init__(self, like: AudioFrame) -> None:
        import av

        super().__init__(like)
        self._count = like.layout.nb_channels
        self._each: AudioResampler = av.AudioResampler("s16", like.layout.name, SAMPLE_RATE)
        self._mixed: NDArray[np.int16] = np.zeros(0, np.int16)
        self._apart: NDArray[np.int16] = np.zeros((0, self._count), np.int16)
        self._channel: int | None = None  # that is taken in the mix's place
        self._power: NDArray[np.float64] = np.zeros(self._count)

    def push(self, frame: AudioFrame | None) -> Iterator[NDArray[np.int16]]:
        """Whole blocks of what was pushed, the rest with the last."""
        apart = list(_resample(self._each, frame))
        self._mixed = np.concatenate([self._mixed, *super().push(frame)])
        self._apart = np.concatenate([self._apart, *apart])
        while len(self._mixed) >= _BLOCK or (frame is None and len(self._mixed)):
            yield self._choose(self._mixed[:_BLOCK], self._apart[:_BLOCK])
            self._mixed = self._mixed[_BLOCK:]
            self._apart = self._apart[_BLOCK:]

    def _choose(self, mixed: NDArray[np.int16], apart: NDArray[np.int16]) -> NDArray[np.int16]:
        """One block: its mix, or one of its channels where the mix has lost them."""
        before = self._channel
        powers = np.mean(np.square(apart / 32768.0), axis=0)
        self._power += powers
        left = np.mean(np.square(mixed / 32768.0))
        if powers.max() >= _AUDIBLE:  # else as before
            lost = left < _CANCELLED * powers.sum() / self._count**2
            self._channel = int(self._power.argmax()) if lost else None
        if before is None and self._channel is None:
            return mixed
        old = mixed if before is None else apart[:, before]
        new = mixed if self._channel is None else apart[:, self._channel]
        return _fade(old, new) if before != self._channel else new


def _fade(old: NDArray[np.int16], new: NDArray[np.int16]) -> NDArray[np.int16]:
    """From one to the other in the first samples."""
    share = np.minimum(1, np.arange(1, len(new) + 1) / _FADE)
    return np.rint(old + share * (new.astype(np.float64) - old)).astype(np.int16)


def _resample(resampler: AudioResampler, frame: AudioFrame | None) -> Iterator[NDArray[np.int16]]:
    """What a resampler gives for a frame, (n, channels) each; None for its rest."""
    for part in resampler.resample(frame):
        if part is not None:  # PyAV passes the None through when there was nothing to convert
            samples = part.to_ndarray().astype(np.int16, copy=False)
            yield samples.reshape(-1, part.layout.nb_channels)
