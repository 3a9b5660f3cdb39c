"""Frames shown in time with a sound device, whose clock leads.

A sound card's 16,000 samples a second are never quite a computer's. What is heard cannot be
hurried, so pictures follow it, and the difference is made up where nobody hears it: the
silence that goes with frames without sound is a little longer or shorter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.live.frames import LiveFrame


class SoundDevice(Protocol):
    """Plays what is written to it, one sample after another."""

    def write(self, samples: NDArray[np.float32]) -> None:
        """Append (n,) samples in [-1, 1] to what is to be played; does not wait."""
        ...

    def played(self) -> int:
        """Samples that were heard so far, silence for want of any not counted."""
        ...


@dataclass(frozen=True)
class PlayerSettings:
    """How a player keeps sound and picture together."""

    buffered: float = 0.06
    """Seconds of sound that wait in the device: more is later, less may run dry."""
    most_stretch: float = 0.25
    """Share by which the silence of one frame may be longer or shorter."""


class Player:
    """Hands a session's sound to a device, and shows each picture when its sound is heard."""

    def __init__(
        self,
        device: SoundDevice,
        show: Callable[[LiveFrame], None],
        *,
        sample_rate: int,
        fps: float | Fraction = 25,
        settings: PlayerSettings | None = None,
    ) -> None:
        self.corrected = 0
        """Samples of silence that were added so far, less those left out."""
        self._device = device
        self._show = show
        self._rate = sample_rate
        self._frame = 1 / float(fps)
        self._settings = settings or PlayerSettings()
        self._written = 0
        self._waiting = deque[tuple[int, LiveFrame]]()  # by the first sample of each

    @property
    def buffered(self) -> float:
        """Seconds of sound that are written and not yet heard."""
        return (self._written - self._device.played()) / self._rate

    def play(self, frames: Iterable[LiveFrame]) -> None:
        """Take every frame of a session, until it ends; shows those whose time has come."""
        for frame in frames:
            self.take(frame)

    def take(self, frame: LiveFrame) -> None:
        """One frame, when the session gives it."""
        if not self._written:
            # so that the first frames do not wait for each other
            self._write(np.zeros(round(self._settings.buffered * self._rate), np.float32))
        self._waiting.append((self._written, frame))
        sound = frame.samples if frame.samples.size else self._make_silence()
        self._write(sound)
        self.show_due()

    def show_due(self) -> None:
        """Show the latest frame whose sound is heard by now; those it overtook are left out."""
        heard = self._device.played()
        due: LiveFrame | None = None
        while self._waiting and self._waiting[0][0] <= heard:
            due = self._waiting.popleft()[1]
        if due is not None:
            self._show(due)

    def clear(self) -> None:
        """Drop the pictures that wait, as after an interrupt."""
        self._waiting.clear()

    def _make_silence(self) -> NDArray[np.float32]:
        """A frame's length, and what brings the device's buffer back to where it should be."""
        exact = self._rate * self._frame
        off = (self._settings.buffered - self.buffered) * self._rate
        most = self._settings.most_stretch * exact
        # a tenth of what is missing: one frame's jitter is no drift
        change = round(min(max(off / 10, -most), most))
        self.corrected += change
        return np.zeros(round(exact) + change, np.float32)

    def _write(self, samples: NDArray[np.float32]) -> None:
        self._device.write(samples)
        self._written += samples.size
