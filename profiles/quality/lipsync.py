"""Whether a mouth follows a voice: correlation of two openness curves, and their lag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echoexport.runtime.errors import InputError

__all__ = ["Lag", "best_lag", "correlate", "correlate_lags", "is_constant", "worst_decile"]

_LEAST_SPREAD = 1e-6  # a curve that varies by less moves nowhere


@dataclass(frozen=True)
class Lag:
    """Where two curves fit best."""

    frames: int
    """By so many the second is late; below 0 it is early."""
    correlation: float
    """How well they fit there."""


def correlate(one: ArrayLike, other: ArrayLike) -> float:
    """Pearson's correlation of two curves (n,), from -1 to 1.

    A constant curve has none; it is 0 then, since a mouth that stands still follows
    nothing. Ask :func:`is_constant` of the truth first: of a clip that is silent
    throughout, 0 says nothing. Raises InputError for lengths that differ or fewer than
    two values.
    """
    first, second = _read_curves(one, other)
    if is_constant(first) or is_constant(second):
        return 0.0
    first = first - first.mean()
    second = second - second.mean()
    return float(np.clip(first @ second / np.sqrt((first @ first) * (second @ second)), -1, 1))


def is_constant(curve: ArrayLike) -> bool:
    """Whether a curve never moves, to a millionth."""
    return bool(np.ptp(np.asarray(curve, dtype=np.float64)) < _LEAST_SPREAD)


def best_lag(one: ArrayLike, other: ArrayLike, *, most: int = 8) -> Lag:
    """By how many frames ``other`` is late, and the correlation there.

    Lags are at most ``most`` either way. The curves (n,) are compared where they
    overlap. Among equals the smallest lag wins. Raises InputError for lengths that
    differ, or fewer than ``most`` + 2 values.
    """
    tried = [
        Lag(index - most, float(value))
        for index, value in enumerate(correlate_lags(one, other, most=most))
    ]
    return max(tried, key=lambda lag: (round(lag.correlation, 9), -abs(lag.frames)))


def correlate_lags(one: ArrayLike, other: ArrayLike, *, most: int = 8) -> NDArray[np.float64]:
    """The correlations with ``other`` taken as late by -most to most frames, (2 most + 1,).

    See :func:`best_lag`.
    """
    first, second = _read_curves(one, other)
    if most < 0 or len(first) < most + 2:
        raise InputError(f"curves of {len(first)} frames are too short to look for a lag of {most}")
    return np.array([_correlate_late(first, second, lag) for lag in range(-most, most + 1)])


def worst_decile(
    values: Sequence[float] | NDArray[np.float64], *, high_is_good: bool = True
) -> float:
    """The mean of the worst tenth of the values, of one value at least.

    Raises InputError where there are none.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if not len(ordered):
        raise InputError("the worst tenth of no values: give one or more")
    count = max(round(len(ordered) / 10), 1)
    return float((ordered[:count] if high_is_good else ordered[-count:]).mean())


def _correlate_late(one: NDArray[np.float64], other: NDArray[np.float64], lag: int) -> float:
    size = len(one) - abs(lag)
    return correlate(one[max(-lag, 0) :][:size], other[max(lag, 0) :][:size])


def _read_curves(
    one: ArrayLike, other: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first = np.asarray(one, dtype=np.float64)
    second = np.asarray(other, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or len(first) < 2:
        raise InputError(
            f"curves of shapes {first.shape} and {second.shape}: wanted two of one length, 2 "
            "or more"
        )
    return first, second
