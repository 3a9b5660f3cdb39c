"""Where to clip an activation for int8, found from a histogram of its absolute values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from echoexport.calibration.plan import LEVELS

BINS = 2048

_FEWEST = 128  # bins: below that there would be more levels than bins
_STRIDE = 16  # bins between candidates
_SMALLEST = 1e-6  # share of Q where it has nothing: a last bin that only what lies above it fills
_PARTS = 4  # places within a bin at which its error is taken

Counts = NDArray[np.generic]


def find_threshold(counts: Counts, amax: float, *, method: str, percentile: float = 99.99) -> float:
    """The symmetric range [-threshold, threshold] that a method finds in a histogram.

    ``counts``, (bins,), are of absolute values in equal bins from 0 to ``amax``;
    ``method`` is "percentile", "entropy" or "mse". The result is in (0, amax]; it is
    ``amax`` for an empty histogram.
    """
    numbers = np.asarray(counts, np.float64)
    if numbers.sum() <= 0:
        return amax
    finders: dict[str, Callable[[NDArray[np.float64]], float]] = {
        "percentile": lambda found: find_percentile(found, percentile),
        "entropy": find_entropy,
        "mse": find_mse,
    }
    return min(amax, amax * finders[method](numbers))


def find_percentile(counts: NDArray[np.float64], percentile: float) -> float:
    """The share of the range that holds ``percentile`` % of the values, in whole bins."""
    reached = np.cumsum(counts) >= counts.sum() * percentile / 100
    return (int(np.argmax(reached)) + 1) / len(counts) if reached.any() else 1.0


def find_entropy(counts: NDArray[np.float64]) -> float:
    """The share of the range at which int8 keeps most of the distribution.

    That is the least Kullback-Leibler divergence. For each candidate, P is the
    histogram below it, what lies above added to its last bin; Q is P's histogram
    without that addition at int8's resolution, spread evenly over the bins that P
    fills. Migacz, "8-bit inference with TensorRT", GTC 2017, slides 38 to 40, here with
    int8's 127 levels and candidates 16 bins apart.
    """
    candidates = _list_candidates(len(counts))
    divergences = [_measure_divergence(counts, int(count)) for count in candidates]
    return float(candidates[int(np.argmin(divergences))]) / len(counts)


def find_mse(counts: NDArray[np.float64]) -> float:
    """The share of the range with the least mean squared error of rounding and clipping.

    error(t) = sum over bins of count * (x - s * min(round(x / s), 127))^2 with s = t /
    127, as in Nagel et al., "A white paper on neural network quantization", 2021,
    equation 10; each bin is taken as even.
    """
    bins = len(counts)
    centres = (np.arange(bins * _PARTS) + 0.5) / (bins * _PARTS)
    weights = np.repeat(counts, _PARTS)
    filled = weights > 0
    centres = centres[filled]
    weights = weights[filled]
    candidates = _list_candidates(bins) / bins
    errors = [
        float(weights @ np.square(centres - _quantize(centres, share))) for share in candidates
    ]
    return float(candidates[int(np.argmin(errors))])


def _list_candidates(bins: int) -> NDArray[np.int64]:
    """Numbers of bins to clip at, the whole range among them."""
    return np.unique(np.append(np.arange(min(_FEWEST, bins), bins, _STRIDE), bins))


def _quantize(values: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    step = threshold / LEVELS
    rounded: NDArray[np.float64] = np.minimum(np.rint(values / step), LEVELS) * step
    return rounded


def _measure_divergence(counts: NDArray[np.float64], kept: int) -> float:
    """KL(P || Q) in nats for the histogram clipped after ``kept`` bins.

    It is infinite where all of it is clipped.
    """
    below = counts[:kept]
    wanted = below.copy()
    wanted[-1] += counts[kept:].sum()
    # each level takes the same number of bins, the first ones one more where it does
    # not come out even
    starts = np.ceil(np.arange(LEVELS) * kept / LEVELS).astype(np.int64)
    level = np.searchsorted(starts, np.arange(kept), side="right") - 1
    filled = below > 0
    mass = np.bincount(level, weights=below, minlength=LEVELS)
    spread = np.bincount(level, weights=filled, minlength=LEVELS)
    given = np.where(filled, mass[level] / np.maximum(spread[level], 1), 0.0)
    used = wanted > 0
    if mass.sum() <= 0:
        return float("inf")
    p = wanted / wanted.sum()
    q = np.maximum(given / mass.sum(), _SMALLEST)
    return float(np.sum(p[used] * np.log(p[used] / q[used])))
