"""What work has cost lately, from which delays and capacities are told."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections import deque
from itertools import accumulate

_KEPT = 64  # latest of each kind


class Costs:
    """Seconds by kind of work; several threads may tell and ask."""

    def __init__(self) -> None:
        self._latest: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def tell(self, kind: str, seconds: float) -> None:
        """One piece of work took so long."""
        with self._lock:
            self._latest.setdefault(kind, deque(maxlen=_KEPT)).append(seconds)

    def typical(self, kind: str, *, default: float = 0.0) -> float:
        """The median of the latest."""
        return self._rank(kind, 0.5, default)

    def bad(self, kind: str, *, default: float = 0.0) -> float:
        """The 95th percentile of the latest."""
        return self._rank(kind, 0.95, default)

    def least(self, kind: str, *, default: float = 0.0) -> float:
        """The quickest of the latest: what it costs where nothing else is at work."""
        return self._rank(kind, 0.0, default)

    def under_way(self, kind: str) -> float:
        """How long the piece is, typically, that is found under way at any moment.

        Where few long ones lie among many short ones, it is a long one. It is the median
        of the latest weighed by their own length: half of all time went into pieces no
        longer than that.
        """
        with self._lock:
            known = sorted(self._latest.get(kind, ()))
        spent = list(accumulate(known))
        return known[bisect_left(spent, spent[-1] / 2)] if known else 0.0

    def _rank(self, kind: str, share: float, default: float) -> float:
        with self._lock:
            known = sorted(self._latest.get(kind, ()))
        return known[min(len(known) - 1, math.floor(share * len(known)))] if known else default
