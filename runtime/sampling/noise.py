"""Seeded starting noise without torch.

The same seed and frame give the same latents on every machine.

Generator, version 1. The 64-bit words w0, w1, ... of frame f under seed s are the raw
output of numpy's Philox 4x64-10 (Salmon et al. 2011) with key (s, f), four words each
from counters 1, 2, ... Words 2k and 2k+1 give the normals 2k and 2k+1 by Box and
Muller's transform in float64::

    r = sqrt(-2 ln(((w[2k] >> 11) + 1) / 2**53))     a = 2 pi (w[2k+1] >> 11) / 2**53
    z[2k] = r cos(a)                                 z[2k+1] = r sin(a)

rounded to float32 and laid out in C order as (channels, height, width). Only raw words
are taken from numpy, whose streams are fixed; its own normal distribution may change
between versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.contract.noise_schedule import is_whole
from echoexport.runtime.errors import SettingError

__all__ = ["SeededNoise", "check_seed", "initial_latents", "noise_of_frames"]

LARGEST_SEED = 2**64 - 1
# of the noise that frames share; no clip is so long that a frame would use it
_SHARED_STREAM = 2**64 - 1


class SeededNoise:
    """A clip's standard normal latents, each frame's drawn when it is asked for.

    A frame's noise depends on the seed, its index and its shape alone, not on the
    clip's length.
    """

    def __init__(
        self,
        seed: int,
        *,
        frames: int,
        shape: tuple[int, int, int],
        clamp: float | None,
        shared: float = 0.0,
    ) -> None:
        """See :func:`initial_latents`, whose errors it raises."""
        check_seed(seed)
        if frames < 1 or len(shape) != 3 or min(shape) < 1:
            raise SettingError(
                f"latents need 1 frame or more of (channels, height, width), not {frames} of "
                f"{shape}"
            )
        if clamp is not None and not clamp > 0:
            raise SettingError(f"noise clamp must be above 0, or None for no clamp, not {clamp!r}")
        if not 0 <= shared <= 1:
            raise SettingError(f"shared noise must be from 0 to 1, not {shared!r}")
        self.shape = (1, shape[0], frames, *shape[1:])
        """Of all of it: (1, channels, frames, height, width)."""
        self._seed = int(seed)
        self._frame_shape = shape
        self._clamp = clamp
        self._shared = shared
        size = shape[0] * shape[1] * shape[2]
        self._common = np.zeros(size)
        if shared:
            self._common = np.sqrt(shared) * _normals(self._seed, _SHARED_STREAM, size)

    def frame(self, index: int) -> NDArray[np.float32]:
        """One frame's noise, (channels, height, width) float32."""
        drawn = self._common
        if self._shared < 1:
            own = _normals(self._seed, index, self._common.size)
            drawn = self._common + np.sqrt(1 - self._shared) * own
        latents: NDArray[np.float32] = drawn.astype(np.float32).reshape(self._frame_shape)
        if self._clamp is not None:
            np.clip(latents, -self._clamp, self._clamp, out=latents)
        return latents

    def gather(self, frames: Sequence[int]) -> NDArray[np.float32]:
        """Some frames' noise, (1, channels, n, height, width) float32."""
        shape = self._frame_shape
        latents = np.empty((1, shape[0], len(frames), *shape[1:]), dtype=np.float32)
        for place, frame in enumerate(frames):
            latents[0, :, place] = self.frame(frame)
        return latents


def initial_latents(
    seed: int, *, frames: int, shape: tuple[int, int, int], clamp: float | None, shared: float = 0.0
) -> NDArray[np.float32]:
    """Standard normal latents, (1, channels, frames, height, width) float32.

    ``shape`` is one frame's (channels, height, width). A frame's noise depends on
    ``seed``, its index and ``shape`` alone, not on the clip's length. ``clamp`` cuts
    values to [-clamp, clamp]; None leaves them. ``shared`` is the share of the variance
    that all frames have in common (mixed noise, Ge et al. 2023, section 4):
    sqrt(shared) times the last stream's normals, plus sqrt(1 - shared) times the
    frame's own.

    Raises ``SettingError`` for a seed outside 0..2**64-1, for sizes or clamps that are
    not positive and for a share outside 0..1.
    """
    noise = SeededNoise(seed, frames=frames, shape=shape, clamp=clamp, shared=shared)
    return noise.gather(range(frames))


def noise_of_frames(
    seed: int,
    frames: Iterable[int],
    *,
    shape: tuple[int, int, int],
    clamp: float | None,
    shared: float = 0.0,
) -> NDArray[np.float32]:
    """The noise of some frames by their indices, (1, channels, n, height, width) float32.

    See :func:`initial_latents`, whose settings and errors it has.
    """
    indices = [int(frame) for frame in frames]
    most = max(indices, default=0) + 1
    noise = SeededNoise(seed, frames=most, shape=shape, clamp=clamp, shared=shared)
    return noise.gather(indices)


def check_seed(seed: object) -> None:
    """Raises ``SettingError`` for what is no whole number from 0 to 2**64-1."""
    if not is_whole(seed) or not 0 <= seed <= LARGEST_SEED:
        raise SettingError(f"seed must be a whole number from 0 to 2**64-1, not {seed!r}")


def _normals(seed: int, stream: int, count: int) -> NDArray[np.float64]:
    """The first ``count`` normals of one stream; the module's docstring has the formula."""
    words = np.random.Philox(key=np.array([seed, stream], dtype=np.uint64)).random_raw(
        count + count % 2
    )
    top = words >> np.uint64(11)
    radius = np.sqrt(-2.0 * np.log((top[0::2] + np.uint64(1)) * 2.0**-53))
    angle = (2.0 * np.pi * 2.0**-53) * top[1::2]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)[:count]
