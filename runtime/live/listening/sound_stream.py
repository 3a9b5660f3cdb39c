"""A voice that comes in chunks: checked, mixed to one channel, and at the rates that are wanted."""

from __future__ import annotations

from collections.abc import Iterable
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echoexport.runtime.contract.noise_schedule import is_whole
from echoexport.runtime.errors import AudioError, SettingError

LOWEST_RATE = 4_000
HIGHEST_RATE = 384_000
MOST_CHANNELS = 8
LOUDEST = 2.0
"""Of floating point samples, which lie in [-1, 1] but for what a resampler overshoots."""

_FULL_SCALE = np.float32(32768.0)
_MOST_PHASES = 1024  # of libswresample's filter; ratios with more are not met exactly
_BLOCKS_PER_SECOND = 500


class PcmReader:
    """Turns chunks of PCM into float32 samples of one channel.

    A chunk of bytes is signed 16-bit little-endian and may end in the middle of a
    sample, whose other byte then comes with the next one.
    """

    def __init__(self) -> None:
        self._half = b""

    def read(self, pcm: bytes | bytearray | memoryview | ArrayLike) -> NDArray[np.float32]:
        """Samples (n,) in [-1, 1] of a chunk.

        An array is (n,) or (n, channels), int16 or floating point; channels are
        averaged.

        Raises:
            AudioError: another dtype or shape, values that are no numbers or far beyond
                full scale. Nothing of the chunk is kept.
        """
        if isinstance(pcm, (bytes, bytearray, memoryview)):
            return self._read_bytes(bytes(pcm))
        if self._half:
            raise AudioError("an array after bytes that ended in the middle of a 16-bit sample")
        try:
            samples = np.asarray(pcm)
        except ValueError as error:
            raise AudioError(f"a chunk that is no array: {error}") from None
        return mix_channels(to_float(samples))

    def end(self) -> None:
        """The utterance ends here; half a sample is left out."""
        self._half = b""

    def _read_bytes(self, chunk: bytes) -> NDArray[np.float32]:
        whole = self._half + chunk
        self._half = whole[len(whole) & ~1 :]
        return to_float(np.frombuffer(whole[: len(whole) & ~1], "<i2"))


def to_float(pcm: NDArray[Any]) -> NDArray[np.float32]:
    """Samples as float32 of the same shape; int16 divided by 32768.

    Raises:
        AudioError: another dtype, or a value that is no number or beyond ``LOUDEST``.
    """
    if pcm.dtype == np.int16:
        scaled: NDArray[np.float32] = pcm.astype(np.float32) / _FULL_SCALE
        return scaled
    if pcm.dtype.kind != "f":
        raise AudioError(f"a chunk of dtype {pcm.dtype}; int16 or floating point is wanted")
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
        samples = pcm.astype(np.float32)
    if not np.isfinite(samples).all():
        raise AudioError("a chunk with NaN or infinite samples; nothing of it is taken")
    loudest = float(np.abs(samples).max(initial=0.0))
    if loudest > LOUDEST:
        raise AudioError(f"a chunk whose float samples reach {loudest:g}: scale them to [-1, 1]")
    return samples


def mix_channels(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) of (n,) or (n, channels).

    Raises:
        AudioError: another shape.
    """
    if samples.ndim == 1:
        return samples
    if samples.ndim != 2 or not 1 <= samples.shape[1] <= MOST_CHANNELS:
        raise AudioError(
            f"a chunk of shape {samples.shape}; (n,) or (n, channels) with up to "
            f"{MOST_CHANNELS} channels is wanted"
        )
    # One channel after the other: the order in which a mean adds up depends on the layout.
    mixed: NDArray[np.float32] = samples[:, 0].copy()
    for channel in samples.T[1:]:
        mixed += channel
    mixed /= np.float32(samples.shape[1])
    return mixed


def check_rate(rate: object, *, name: str = "sample rate") -> int:
    """``rate`` as an int.

    Raises:
        SettingError: no whole number of samples a second that sound has.
    """
    if not is_whole(rate) or not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise SettingError(
            f"{name} {rate!r}: a whole number from {LOWEST_RATE} to {HIGHEST_RATE} is wanted, "
            "e.g. 16000"
        )
    return int(rate)


class StreamResampler:
    """One channel at another rate, chunk by chunk; any chunks give the same samples.

    What comes in at the wanted rate goes through as it is. Else libswresample does it,
    which holds back about 1 ms until :meth:`end`. Of n samples there are then as many as
    cover them, ``ceil(n * rate / their rate)``. Where it cannot meet the ratio exactly, as
    for no usual rates, single samples differ by a rounding with what it is given at once:
    it is then given 2 ms each time.
    """

    def __init__(self, rate: int) -> None:
        """``rate``: of what comes out."""
        self.rate = rate
        self._from: int | None = None
        self._library: Any = None
        self._step: int | None = None  # samples that it is given at once
        self._waiting = np.zeros(0, np.float32)  # for the next of these
        self._taken = 0
        self._given = 0

    def convert(self, samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
        """As many samples as are known so far, (m,) float32.

        A chunk of another rate than the one before ends what came before it; an empty one
        does nothing.
        """
        if not samples.size:
            return samples
        before = [] if self._from in (None, rate) else [self.end()]
        self._from = rate
        if rate == self.rate:
            return _join([*before, samples])
        if self._library is None:
            self._library = _open_resampler(self.rate)
            exact = self.rate // gcd(self.rate, rate) <= _MOST_PHASES
            self._step = None if exact else -(-rate // _BLOCKS_PER_SECOND)
        converted = _join([part for piece in self._cut(samples) for part in self._feed(piece)])
        self._taken += samples.size
        self._given += converted.size
        return _join([*before, converted])

    def end(self) -> NDArray[np.float32]:
        """What was held back; the next chunk begins anew."""
        left = np.zeros(self._count_missing(), np.float32)
        if self._library is not None:
            # A few samples alone are too few for the library, which then gives none.
            held = [*self._feed(self._waiting), *_read(self._library.resample(None))]
            known = _join(held)[: left.size]
            left[: known.size] = known
        self._library = None
        self._from = None
        self._waiting = self._waiting[:0]
        self._taken = 0
        self._given = 0
        return left

    def _count_missing(self) -> int:
        """Samples that what came so far still lacks."""
        if self._library is None or self._from is None:
            return 0
        return max(0, -(-self._taken * self.rate // self._from) - self._given)

    def _cut(self, samples: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """What the library is given now, piece by piece."""
        if self._step is None:
            return [samples]
        waiting = np.concatenate([self._waiting, samples])
        whole = waiting.size // self._step * self._step
        self._waiting = waiting[whole:]
        return list(waiting[:whole].reshape(-1, self._step))

    def _feed(self, samples: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        import av

        if not samples.size or self._from is None:
            return []
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = self._from
        return _read(self._library.resample(frame))


def _open_resampler(rate: int) -> Any:
    import av

    return av.AudioResampler(format="flt", layout="mono", rate=rate)


def _read(frames: Iterable[Any]) -> list[NDArray[np.float32]]:
    return [frame.to_ndarray().reshape(-1) for frame in frames if frame is not None]


def _join(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
