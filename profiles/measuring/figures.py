"""Many timings as a few figures, and whether two sets of them differ by more than noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FIGURES", "Change", "Figures", "Samples", "compare_samples", "find_drift", "summarize"]

Samples = tuple[tuple[float, ...], ...]
"""Raw timings: one tuple for each repeat, in the order in which they were taken."""

Values = NDArray[np.float64]

FIGURES: Mapping[str, Callable[[Values], Values]] = {
    "p50": lambda rows: np.median(rows, axis=1),
    "p90": lambda rows: np.percentile(rows, 90, axis=1),
    "p99": lambda rows: np.percentile(rows, 99, axis=1),
    "max": lambda rows: np.max(rows, axis=1),
    "mean": lambda rows: np.mean(rows, axis=1),
}
"""Name to the figure of each row of samples."""

_DRAWS = 1000
_BLOCK = 1_000_000  # values drawn at once
_CONFIDENCE = 0.95
_SEED = 20_250_601


@dataclass(frozen=True)
class Figures:
    """Percentiles between the two nearest samples, linearly, in the samples' unit.

    With few samples p99 is close to max.
    """

    p50: float
    p90: float
    p99: float
    max: float
    mean: float
    count: int


@dataclass(frozen=True)
class Change:
    """A figure of one set against the same of another."""

    baseline: float
    candidate: float
    ratio: float
    """The candidate's by the baseline's."""
    low: float | None
    """Lower end of the ratio's 95 % interval, None where there are too few samples to
    tell."""
    high: float | None
    """Upper end, likewise."""

    @property
    def exceeds_noise(self) -> bool:
        """Whether the interval leaves 1 out: chance alone would not make the difference."""
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

    Halves are the first and the last repeats, and every other one: the larger
    difference counts. Of a single repeat its own samples are halved. None with fewer
    than two samples.
    """
    parts: list[Sequence[float]] = [repeat for repeat in samples if repeat]
    if len(parts) == 1:
        parts = [(value,) for value in parts[0]]
    if len(parts) < 2:
        return None
    middle = len(parts) // 2
    halves = ((parts[:middle], parts[-middle:]), (parts[::2], parts[1::2]))
    return max(_spread(_median(one), _median(other)) for one, other in halves)


def compare_samples(baseline: Samples, candidate: Samples, *, figure: str = "p50") -> Change | None:
    """A figure of ``FIGURES`` of both, with the interval of their ratio.

    None without samples, or for a baseline of 0. The interval is a percentile bootstrap
    (Efron, 1979) of whole repeats first and samples within them second, since the calls
    of one repeat are alike; the draws are seeded.
    """
    own = _arrays(baseline)
    other = _arrays(candidate)
    if not own or not other:
        return None
    find = FIGURES[figure]
    first, second = (float(find(np.concatenate(arrays)[None])[0]) for arrays in (own, other))
    if first <= 0:
        return None
    low = high = None
    if sum(map(len, own)) > 1 and sum(map(len, other)) > 1:
        random = np.random.default_rng(_SEED)
        ratios = _draw(other, random, find) / np.maximum(_draw(own, random, find), 1e-12)
        tail = 50 * (1 - _CONFIDENCE)
        low, high = (float(value) for value in np.percentile(ratios, [tail, 100 - tail]))
    return Change(first, second, second / first, low, high)


def _draw(
    repeats: list[Values], random: np.random.Generator, find: Callable[[Values], Values]
) -> Values:
    """The figure of each draw.

    Repeats longer than the shortest are thinned to it, so that draws are arrays.
    """
    length = min(map(len, repeats))
    table = np.stack(
        [values[np.linspace(0, len(values) - 1, length).round().astype(int)] for values in repeats]
    )
    count = len(table)
    found = []
    block = max(_BLOCK // table.size, 1)
    for begun in range(0, _DRAWS, block):
        draws = min(block, _DRAWS - begun)
        chosen = random.integers(0, count, (draws, count, 1))
        inner = random.integers(0, length, (draws, count, length))
        found.append(find(table[chosen, inner].reshape(draws, -1)))
    return np.concatenate(found)


def _arrays(samples: Samples) -> list[Values]:
    return [np.asarray(repeat, np.float64) for repeat in samples if repeat]


def _median(parts: Sequence[Sequence[float]]) -> float:
    return float(np.median([value for part in parts for value in part]))


def _spread(one: float, other: float) -> float:
    low, high = sorted((one, other))
    return high / max(low, 1e-12) - 1


def format_seconds(value: float) -> str:
    """Seconds, or milliseconds below one."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def format_bytes(count: float) -> str:
    """Bytes in the decimal unit that suits them."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:g} bytes"
