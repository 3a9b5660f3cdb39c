"""A WAV that comes in pieces, as programs that speak write it: its length may be unknown."""

from __future__ import annotations

import struct

import numpy as np

from echoexport.runtime.errors import AudioError

_PCM = 1
_EXTENSIBLE = 0xFFFE  # what it really is stands further on
_MOST_HEAD = 1 << 16  # bytes before the first sample
_MOST_CHANNELS = 8
_RATES = (8_000, 96_000)
# From here on a length was written by a program that did not know it.
_UNKNOWN = 0x7FFFF000


class WaveReader:
    """Takes bytes as they come and gives signed 16-bit samples of one channel."""

    def __init__(self) -> None:
        self.rate = 0
        """Of the samples in Hz, once they begin."""
        self._rest = b""
        self._channels = 1
        self._left: int | None = None  # bytes of sound that are to come; None before the first

    def read(self, data: bytes) -> bytes:
        """The samples that these bytes complete, little-endian, channels averaged.

        Raises:
            AudioError: it is no WAV, or one of another kind than 16-bit PCM.
        """
        self._rest += data
        if self._left is None and not self._read_head():
            return b""
        return self._take_samples()

    def end(self) -> None:
        """Nothing more comes.

        Raises:
            AudioError: there was no sound in it.
        """
        if self._left is None:
            raise AudioError("no WAV" if self._rest else "nothing")

    def _take_samples(self) -> bytes:
        frame = 2 * self._channels
        whole = min(len(self._rest), self._left or 0) // frame * frame
        sound = self._rest[:whole]
        self._rest = self._rest[whole:]
        if self._left is not None:
            self._left -= whole
            if self._left < frame:  # what follows is no sound
                self._left = 0
                self._rest = b""
        if self._channels == 1:
            return sound
        samples = np.frombuffer(sound, "<i2").reshape(-1, self._channels)
        mixed: bytes = np.round(samples.mean(axis=1)).astype("<i2").tobytes()
        return mixed

    def _read_head(self) -> bool:
        """Whether the sound begins now; what stood before it is taken away."""
        if len(self._rest) >= 4 and self._rest[:4] not in (b"RIFF", b"RIFX", b"RF64"):
            raise AudioError(f"no WAV: it begins with {self._rest[:4]!r}")
        if len(self._rest) < 12:
            return False
        if self._rest[:4] != b"RIFF" or self._rest[8:12] != b"WAVE":
            raise AudioError(f"no WAV: it begins with {self._rest[:12]!r}")
        place = 12
        while place + 8 <= len(self._rest):
            kind, size = struct.unpack_from("<4sI", self._rest, place)
            place += 8
            if kind == b"data":
                self._begin(place, size)
                return True
            if place + size > _MOST_HEAD:
                break
            if kind == b"fmt " and place + size <= len(self._rest):
                self._read_format(self._rest[place : place + size])
            place += size + size % 2
        if len(self._rest) > _MOST_HEAD or place > _MOST_HEAD:
            raise AudioError("a WAV without a beginning of its sound")
        return False

    def _begin(self, place: int, size: int) -> None:
        if not self.rate:
            raise AudioError("a WAV that does not say what its sound is")
        # Some write 0 where they cannot go back to write the length.
        self._left = size if 0 < size < _UNKNOWN else 1 << 62
        self._rest = self._rest[place:]

    def _read_format(self, form: bytes) -> None:
        if len(form) < 16:
            raise AudioError("a WAV whose format is cut short")
        kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", form)
        if kind == _EXTENSIBLE and len(form) >= 26:
            kind = struct.unpack_from("<H", form, 24)[0]
        if kind != _PCM or bits != 16:
            raise AudioError(f"a WAV of format {kind} with {bits} bits; 16-bit PCM is wanted")
        if not 1 <= channels <= _MOST_CHANNELS:
            raise AudioError(f"a WAV of {channels} channels; 1 to {_MOST_CHANNELS} are taken")
        if not _RATES[0] <= rate <= _RATES[1]:
            raise AudioError(f"a WAV at {rate} Hz; {_RATES[0]} to {_RATES[1]} are taken")
        self._channels = channels
        self.rate = rate
