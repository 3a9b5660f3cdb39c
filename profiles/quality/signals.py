"""How close arrays are to others: signal-to-noise ratio, cosine and largest error.

Figures are added up block by block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.errors import BackendError, InputError

__all__ = [
    "MOST_DECIBELS",
    "Closeness",
    "ClosenessSums",
    "describe_decibels",
    "measure_closeness",
    "to_decibels",
]

MOST_DECIBELS = 160.0
"""What equal arrays are given: they would have infinitely many, which no mean survives
and JSON cannot write."""

_BLOCK = 1 << 20  # values taken to float64 at a time


@dataclass(frozen=True)
class Closeness:
    """How close arrays are to what was wanted."""

    snr: float
    """10 log10 of the wanted values' energy over the error's, dB, from -160 to 160."""
    cosine: float
    """The cosine of the angle between both, taken as vectors."""
    largest: float
    """The largest absolute error."""
    relative: float
    """The largest absolute error over the largest wanted value."""


class ClosenessSums:
    """Adds up pairs of arrays; what it holds does not grow with them."""

    def __init__(self) -> None:
        self._signal = self._energy = self._error = self._product = 0.0
        self._largest = self._peak = 0.0

    def add(self, found: NDArray[Any], wanted: NDArray[Any], *, what: str = "the array") -> None:
        """Take in a pair of one shape.

        Raises:
            InputError: the shapes differ.
            BackendError: a value is NaN or infinite; ``what`` names the array.
        """
        if found.shape != wanted.shape:
            raise InputError(f"{what}: shapes {found.shape} and {wanted.shape} cannot be compared")
        one = found.reshape(-1)
        other = wanted.reshape(-1)
        for start in range(0, one.size, _BLOCK):
            self._add_block(
                one[start : start + _BLOCK].astype(np.float64),
                other[start : start + _BLOCK].astype(np.float64),
                what,
            )

    def _add_block(
        self, found: NDArray[np.float64], wanted: NDArray[np.float64], what: str
    ) -> None:
        if not (np.isfinite(found).all() and np.isfinite(wanted).all()):
            raise BackendError(
                f"{what} holds NaN or infinite values: an overflow, or an engine that computes "
                "wrongly"
            )
        error = found - wanted
        self._signal += float(wanted @ wanted)
        self._energy += float(found @ found)
        self._error += float(error @ error)
        self._product += float(found @ wanted)
        self._largest = max(self._largest, float(np.abs(error).max(initial=0)))
        self._peak = max(self._peak, float(np.abs(wanted).max(initial=0)))

    def result(self) -> Closeness:
        """The figures of all pairs together, rounded to what is worth writing down."""
        both = np.sqrt(self._signal * self._energy)
        cosine = 1.0 if not self._error else (self._product / both if both else 0.0)
        return Closeness(
            snr=to_decibels(self._signal, self._error),
            cosine=round(float(cosine), 8),
            largest=float(f"{self._largest:.5g}"),
            relative=float(f"{self._largest / (self._peak or 1.0):.5g}"),
        )


def measure_closeness(
    found: NDArray[Any], wanted: NDArray[Any], *, what: str = "the array"
) -> Closeness:
    """The closeness of one pair of arrays; see :meth:`ClosenessSums.add` for what it raises."""
    sums = ClosenessSums()
    sums.add(found, wanted, what=what)
    return sums.result()


def to_decibels(signal: float, error: float) -> float:
    """10 log10 of one energy over another, to a thousandth of a dB, within 160 either way."""
    if not error:
        return MOST_DECIBELS
    if not signal:
        return -MOST_DECIBELS
    return round(
        float(np.clip(10 * (np.log10(signal) - np.log10(error)), -MOST_DECIBELS, MOST_DECIBELS)), 3
    )


def describe_decibels(value: float, *, most: float = MOST_DECIBELS) -> str:
    """For people; what reaches ``most``, which stands for no error at all, is "equal"."""
    return "equal" if value >= most else f"{value:.1f} dB"
