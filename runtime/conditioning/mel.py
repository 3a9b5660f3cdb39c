"""The log-mel spectrogram that Whisper's encoder takes, in numpy."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.errors import AudioError
from echoexport.runtime.inputs.voice import SAMPLE_RATE

__all__ = ["HOP", "N_FFT", "log_mel", "mel_filters"]

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


def log_mel(samples: NDArray[np.float32], *, n_mels: int = 80) -> NDArray[np.float32]:
    """Log-mel of a whole clip: (n,) samples at 16 kHz in [-1, 1] -> (n_mels, n // 160) float32.

    STFT of 400 samples every 160, periodic Hann, ends reflected; power; Slaney mel
    filters; log10 of at least 1e-10; cut at 8 below the largest value of the *whole*
    clip; (x + 4) / 4. As Whisper's front end does it
    (https://github.com/openai/whisper, whisper/audio.py). Work space does not grow with
    the clip.

    Raises ``AudioError`` when the clip is no single channel or shorter than one window.
    """
    if samples.ndim != 1 or samples.size < N_FFT:
        raise AudioError(
            f"a log-mel needs (n,) samples, n >= {N_FFT} (25 ms); got shape {samples.shape}"
        )
    filters = mel_filters(n_mels).astype(np.float64)
    spectrum = np.empty((n_mels, samples.size // HOP), dtype=np.float32)
    for start in range(0, spectrum.shape[1], _BLOCK_COLUMNS):
        stop = min(start + _BLOCK_COLUMNS, spectrum.shape[1])
        power = filters @ _power_columns(samples, start=start, stop=stop)
        spectrum[:, start:stop] = np.log10(np.maximum(power, _SMALLEST_POWER))
    np.maximum(spectrum, spectrum.max() - np.float32(_FLOOR_BELOW_PEAK), out=spectrum)
    spectrum += np.float32(4.0)
    spectrum *= np.float32(0.25)
    return spectrum


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


def _power_columns(samples: NDArray[np.float32], *, start: int, stop: int) -> NDArray[np.float64]:
    """Power spectra (201, stop - start) of columns ``start`` to ``stop``.

    Column i's window is centred on sample 160 i.
    """
    centred = _cut_reflected(samples, start * HOP - N_FFT // 2, stop=(stop - 1) * HOP + N_FFT // 2)
    windows = np.lib.stride_tricks.sliding_window_view(centred, N_FFT)[::HOP]
    # periodic: divided by N, not N - 1
    hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(N_FFT) / N_FFT)
    # float64 throughout: the same in numpy 1 (always) and 2
    bins = np.fft.rfft(windows * hann, axis=1)
    return np.ascontiguousarray((bins.real**2 + bins.imag**2).T)


def _cut_reflected(samples: NDArray[np.float32], start: int, *, stop: int) -> NDArray[np.float32]:
    """``samples[start:stop]`` where indices beyond an end reflect about the end's own sample."""
    before = max(0, -start)
    after = max(0, stop - samples.size)
    inside = samples[max(0, start) : min(stop, samples.size)]
    head = samples[1 : before + 1][::-1]
    tail = samples[samples.size - 1 - after : samples.size - 1][::-1]
    return np.concatenate([head, inside, tail])


def _hz_to_mel(hertz: float) -> float:
    if hertz < _BREAK_HZ:
        return hertz / _LINEAR_HZ_PER_MEL
    return float(_BREAK_MEL + np.log(hertz / _BREAK_HZ) / _LOG_STEP)


def _mel_to_hz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mels - _BREAK_MEL))
    return np.where(mels < _BREAK_MEL, mels * _LINEAR_HZ_PER_MEL, above)
