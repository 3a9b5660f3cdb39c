"""Many timings as a few figures, and whether two sets of them differ by more than noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Change", "Figures", "Samples", "compare_samples", "find_drift", "summarize"]

Samples = tuple[tuple[float, ...], ...]
"""Raw timings: one tuple for each repeat, in the order in which they were taken."""

_DRAWS = 1000
_CONFIDENCE = 0.95
_SEED = 20_250_601


@dataclass(frozen=True)
class Figures:
    """Percentiles between the two nearest samples, linearly, in the samples' unit; with few, p99 is close to max."""

    p50: float
    p90: float
    p99: float
    max: float
    mean: float
    count: int


@dataclass(frozen=True)
class Change:
    """A figure of one set against the same of another. ratio: candidate by baseline; low, high: its 95 % interval.

    exceeds_noise: the interval does not hold 1. None for low and high where there are too few samples to tell.
    """

    baseline: float
    candidate: float
    ratio: float
    low: float | None
    high: float | None

    @property
    def exceeds_noise(self) -> bool:
        """Whether the difference is more than chance would make of it."""
        return self.low is not None and self.high is not None and not self.low <= 1 <= self.high


def summarize(samples: Samples) -> Figures | None:
    """All repeats together; None where there is no sample."""
    values = [value for repeat in samples for value in repeat]
    if not values:
        return None
    p50, p90, p99 = (float(value) for value in np.percentile(values, [50, 90, 99]))
    return Figures(p50, p90, p99, max(values), float(np.mean(values)), len(values))


def find_drift(samples: Samples) -> float | None:
    """How far two halves of the repeats are apart: the larger median by the smaller one, less 1.

    Halves are the first and the last repeats, and every other one: the larger difference counts. Of a single repeat its
    own samples are halved. None with fewer than two samples.
    """
    parts: list[Sequence[float]] = [repeat for repeat in samples if repeat]
    if len(parts) == 1:
        parts = [(value,) for value in parts[0]]
    if len(parts) < 2:
        return None
    middle = len(parts) // 2
    halves = ((parts[:middle], parts[-middle:]), (parts[::2], parts[1::2]))
    return max(_spread(_median(one), _median(other)) for one, other in halves)


def compare_samples(
    baseline: Samples, candidate: Samples, *, figure: Callable[[NDArray[np.float64]], float] = np.median
) -> Change | None:  # fmt: skip
    """A figure of both, with the interval of their ratio; None where one has no samples, or the baseline's is 0.

    The interval is a percentile bootstrap (Efron, 1979) of whole repeats first and samples within them second, since
    the calls of one repeat are alike; the draws are seeded.
    """
    own, other = _arrays(baseline), _arrays(candidate)
    if not own or not other:
        return None
    first, second = figure(np.concatenate(own)), figure(np.concatenate(other))
    if first <= 0:
        return None
    low = high = None
    if sum(map(len, own)) > 1 and sum(map(len, other)) > 1:
        random = np.random.default_rng(_SEED)
        ratios = [figure(_draw(other, random)) / max(figure(_draw(own, random)), 1e-12) for _ in range(_DRAWS)]
        tail = 50 * (1 - _CONFIDENCE)
        low, high = (float(value) for value in np.percentile(ratios, [tail, 100 - tail]))
    return Change(float(first), float(second), float(second / first), low, high)


def _draw(repeats: list[NDArray[np.float64]], random: np.random.Generator) -> NDArray[np.float64]:
    chosen = (repeats[index] for index in random.integers(0, len(repeats), len(repeats)))
    return np.concatenate([values[random.integers(0, len(values), len(values))] for values in chosen])


def _arrays(samples: Samples) -> list[NDArray[np.float64]]:
    return [np.asarray(repeat, np.float64) for repeat in samples if repeat]


def _median(parts: Sequence[Sequence[float]]) -> float:
    return float(np.median([value for part in parts for value in part]))


def _spread(one: float, other: float) -> float:
    low, high = sorted((one, other))
    return high / max(low, 1e-12) - 1
