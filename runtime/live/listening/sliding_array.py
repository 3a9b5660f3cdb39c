"""An array that grows at its end and is forgotten at its start; indices stay what they were."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SMALLEST = 1024


class SlidingArray:
    """Rows of one shape, float32, addressed by their index since the beginning.

    Memory is bounded by what is held between :meth:`append` and :meth:`forget`, not by
    all that ever came.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        """``shape``: of one row, () for numbers."""
        self._rows = np.empty((_SMALLEST, *shape), np.float32)
        self._first = 0  # index of the first row that is held
        self._offset = 0  # its place in the buffer
        self._count = 0

    @property
    def start(self) -> int:
        """Index of the first row that is held."""
        return self._first

    @property
    def stop(self) -> int:
        """One beyond the last row's index: how many ever came."""
        return self._first + self._count

    def append(self, rows: NDArray[np.float32]) -> None:
        """Take rows (n, *shape)."""
        end = self._offset + self._count
        if end + len(rows) > len(self._rows):
            self._make_room(len(rows))
            end = self._count
        self._rows[end : end + len(rows)] = rows
        self._count += len(rows)

    def cut(self, start: int, stop: int) -> NDArray[np.float32]:
        """Rows ``start`` to ``stop``, all of which must be held; a view."""
        if not self.start <= start <= stop <= self.stop:
            raise IndexError(f"rows {start} to {stop}; {self.start} to {self.stop} are held")
        place = self._offset + start - self._first
        return self._rows[place : place + stop - start]

    def forget(self, index: int) -> None:
        """Rows before ``index`` are needed no more."""
        gone = min(max(0, index - self._first), self._count)
        self._first += gone
        self._offset += gone
        self._count -= gone

    def _make_room(self, more: int) -> None:
        wanted = self._count + more
        size = _SMALLEST
        # Half of the buffer free afterwards, so that moving costs little for each row; no
        # more, so that a burst leaves nothing behind.
        while size < 2 * wanted:
            size *= 2
        held = self._rows[self._offset : self._offset + self._count]
        rows = np.empty((size, *self._rows.shape[1:]), np.float32)
        rows[: self._count] = held
        self._rows = rows
        self._offset = 0
