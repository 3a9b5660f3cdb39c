"""The log-mel spectrogram that Whisper's encoder takes, in numpy, whole or piece by piece."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.errors import AudioError
from echoexport.runtime.inputs.voice import SAMPLE_RATE

__all__ = ["HOP", "N_FFT", "LogMel", "ReadSamples", "log_mel", "mel_filters"]

ReadSamples = Callable[[int, int], NDArray[np.float32]]
"""Samples from a first to before a last, (n,) float32 at 16 kHz in [-1, 1]."""

# Whisper's constants (Radford et al. 2022, section 2.2: 80 channels, 25 ms windows, 10
# ms stride at 16 kHz).
N_FFT = 400
HOP = 160
_SMALLEST_POWER = 1e-10
_FLOOR_BELOW_PEAK = 8.0  # in log10 of power: 80 dB

# Slaney's mel scale (Auditory Toolbox, 1998): linear below 1 kHz, then 27 steps per
# factor 6.4.
_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0

_BLOCK_COLUMNS = 2048  # 20 s at a time: about 15 MB of work space, however long the clip
_KEPT_BLOCKS = 8  # 5 MB: a clip of up to 160 s is computed once
# Far above what sums in another order differ by (1e-13), far below what a float32 shows.
_ROUNDING = 1e-9
_SLACK = 1.001  # float32 energies err by less


def log_mel(samples: NDArray[np.float32], *, n_mels: int = 80) -> NDArray[np.float32]:
    """Log-mel of a whole clip: (n,) samples at 16 kHz in [-1, 1] -> (n_mels, n // 160) float32.

    See :class:`LogMel`, whose values and errors these are. Work space does not grow
    with the clip.
    """
    if samples.ndim != 1:
        raise AudioError(_describe_wanted(samples.shape))
    mel = LogMel(lambda start, stop: samples[start:stop], samples.size, n_mels=n_mels)
    spectrum = np.empty((n_mels, mel.columns), dtype=np.float32)
    for block in range(mel.blocks):
        spectrum[:, block * _BLOCK_COLUMNS : (block + 1) * _BLOCK_COLUMNS] = mel.compute(block)
    return _scale(spectrum, peak=spectrum.max())


class LogMel:
    """A clip's log-mel, of which no more is computed than what is asked for.

    STFT of 400 samples every 160, periodic Hann, ends reflected; power; Slaney mel
    filters; log10 of at least 1e-10; cut at 8 below the largest value of the *whole*
    clip; (x + 4) / 4. As Whisper's front end does it
    (https://github.com/openai/whisper, whisper/audio.py).

    The largest value is found first: every sample is read once for it, but only windows
    that are loud enough to hold it are transformed. Samples are read again for what is
    cut out. Not for several threads at once.

    Raises ``AudioError`` when the clip is shorter than one window.
    """

    def __init__(self, read: ReadSamples, count: int, *, n_mels: int = 80) -> None:
        """``read`` gives any of ``count`` samples."""
        if count < N_FFT:
            raise AudioError(_describe_wanted((count,)))
        self.columns = count // HOP
        """How many there are, 100 a second."""
        self.blocks = -(-self.columns // _BLOCK_COLUMNS)
        """How many blocks of columns are computed, each at once."""
        self._read = read
        self._count = count
        self._filters = mel_filters(n_mels).astype(np.float64)
        self._kept: OrderedDict[int, NDArray[np.float32]] = OrderedDict()

    def cut(self, start: int, stop: int) -> NDArray[np.float32]:
        """Columns ``start`` to ``stop``, within the clip: (n_mels, stop - start) float32."""
        spectrum = np.empty((len(self._filters), stop - start), dtype=np.float32)
        for block in range(start // _BLOCK_COLUMNS, -(-stop // _BLOCK_COLUMNS)):
            first = block * _BLOCK_COLUMNS
            begin = max(start, first)
            end = min(stop, first + _BLOCK_COLUMNS)
            part = self._keep(block)[:, begin - first : end - first]
            spectrum[:, begin - start : end - start] = part
        return _scale(spectrum, peak=self.peak)

    @cached_property
    def peak(self) -> np.float32:
        """The clip's largest log10 of power."""
        some = self.blocks > _KEPT_BLOCKS
        blocks = self._find_loudest() if some else range(self.blocks)
        peak: np.float32 = max(self._keep(block).max() for block in blocks)
        return peak

    def forget(self) -> None:
        """Give the memory of what was computed back."""
        self._kept.clear()

    def compute(self, block: int) -> NDArray[np.float32]:
        """log10 of power of one block, (n_mels, 2048 or what is left) float32.

        A column's last bit may depend on where in a block it stands, so that blocks
        always begin at the same columns.
        """
        power = self._filters @ _measure_power(self._cut_windows(block))
        return np.log10(np.maximum(power, _SMALLEST_POWER)).astype(np.float32)

    def _keep(self, block: int) -> NDArray[np.float32]:
        """One block, of which the latest used are kept."""
        if block not in self._kept:
            self._kept[block] = self.compute(block)
        self._kept.move_to_end(block)
        if len(self._kept) > _KEPT_BLOCKS:
            self._kept.popitem(last=False)
        return self._kept[block]

    def _find_loudest(self) -> list[int]:
        """The blocks that may hold the largest value; the first of a silent clip."""
        loudest = _SMALLEST_POWER
        found: dict[int, float] = {}
        for block in range(self.blocks):
            for power in self._measure_loud(block, least=loudest):
                found[block] = power
                loudest = max(loudest, power)
        least = loudest * (1 - _ROUNDING)
        return [block for block, power in found.items() if power >= least] or [0]

    def _measure_loud(self, block: int, *, least: float) -> Iterator[float]:
        """A block's largest power, where it may reach ``least``.

        By Parseval's theorem no filter gives more than half the window's length times
        the energy in it times the filter's peak (at 0 and 8 kHz all are 0).
        """
        windows = self._cut_windows(block)
        energy = np.square(windows) @ np.square(_hann()).astype(np.float32)
        loud = windows[energy * (N_FFT / 2 * self._filters.max() * _SLACK) >= least]
        if len(loud):
            yield float((self._filters @ _measure_power(loud)).max())

    def _cut_windows(self, block: int) -> NDArray[np.float32]:
        """A block's windows, (columns, 400), each centred on sample 160 times its column."""
        start = block * _BLOCK_COLUMNS
        stop = min(start + _BLOCK_COLUMNS, self.columns)
        first = start * HOP - N_FFT // 2
        centred = self._cut_reflected(first, stop=(stop - 1) * HOP + N_FFT // 2)
        return np.lib.stride_tricks.sliding_window_view(centred, N_FFT)[::HOP]

    def _cut_reflected(self, start: int, *, stop: int) -> NDArray[np.float32]:
        """Samples from ``start`` on; beyond an end they reflect about the end's own sample."""
        last = self._count - 1
        before = max(0, -start)
        after = max(0, stop - self._count)
        head = self._read(1, before + 1)[::-1]
        inside = self._read(max(0, start), min(stop, self._count))
        tail = self._read(last - after, last)[::-1]
        return np.concatenate([head, inside, tail])


@lru_cache(maxsize=4)
def mel_filters(n_mels: int = 80) -> NDArray[np.float32]:
    """Triangles of equal area, evenly spaced on Slaney's mel scale from 0 to 8 kHz.

    They are (n_mels, 201) float32. Source: Slaney, Auditory Toolbox (1998). Filter i
    rises from edge i to edge i+1, falls to edge i+2, and is scaled by 2 / (its width in
    Hz). The array is shared and cannot be written to.
    """
    bins = np.arange(N_FFT // 2 + 1) * (SAMPLE_RATE / N_FFT)
    edges = _mel_to_hz(np.linspace(0.0, _hz_to_mel(SAMPLE_RATE / 2), n_mels + 2))
    left = edges[:-2, None]
    centre = edges[1:-1, None]
    right = edges[2:, None]
    rising = (bins - left) / (centre - left)
    falling = (right - bins) / (right - centre)
    filters = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (right - left))
    shared: NDArray[np.float32] = filters.astype(np.float32)
    shared.setflags(write=False)
    return shared


def _measure_power(windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Power spectra (201, n) of windows (n, 400)."""
    # float64 throughout: the same in numpy 1 (always) and 2
    bins = np.fft.rfft(windows * _hann(), axis=1)
    return np.ascontiguousarray((bins.real**2 + bins.imag**2).T)


def _hann() -> NDArray[np.float64]:
    # periodic: divided by N, not N - 1
    return np.asarray(0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(N_FFT) / N_FFT))


def _scale(spectrum: NDArray[np.float32], *, peak: np.float32) -> NDArray[np.float32]:
    """Cut log10 of power at the floor, and bring it to the networks' range, in place."""
    np.maximum(spectrum, peak - np.float32(_FLOOR_BELOW_PEAK), out=spectrum)
    spectrum += np.float32(4.0)
    spectrum *= np.float32(0.25)
    return spectrum


def _describe_wanted(shape: tuple[int, ...]) -> str:
    return f"a log-mel needs (n,) samples, n >= {N_FFT} (25 ms); got shape {shape}"


def _hz_to_mel(hertz: float) -> float:
    if hertz < _BREAK_HZ:
        return hertz / _LINEAR_HZ_PER_MEL
    return float(_BREAK_MEL + np.log(hertz / _BREAK_HZ) / _LOG_STEP)


def _mel_to_hz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mels - _BREAK_MEL))
    return np.where(mels < _BREAK_MEL, mels * _LINEAR_HZ_PER_MEL, above)
