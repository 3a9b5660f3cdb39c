"""Arrays that cannot change any more.

What was made of one for a device need not be made again.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray


def is_frozen(array: NDArray[Any]) -> bool:
    """Whether nobody can write to it, be it through an array that it is a view of."""
    owner = array
    while not owner.flags.writeable:
        if not isinstance(owner.base, np.ndarray):
            return owner.base is None
        owner = owner.base
    return False


def freeze(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself where it is C-contiguous and nobody can write to it, else such a copy."""
    if array.flags.c_contiguous and is_frozen(array):
        return array
    copy: NDArray[Any] = np.array(array, order="C")
    copy.setflags(write=False)
    view: NDArray[Any] = copy.view()  # the owner itself could be made writeable again
    return view


class Held:
    """Knows a frozen array again without keeping it in memory."""

    def __init__(self) -> None:
        self._array: weakref.ref[NDArray[Any]] | None = None

    def hold(self, array: NDArray[Any]) -> None:
        """Remember this array where it is frozen, none where it is not."""
        self._array = weakref.ref(array) if is_frozen(array) else None

    def is_same(self, array: NDArray[Any]) -> bool:
        """Whether it is the array that was remembered last."""
        return self._array is not None and self._array() is array

    def forget(self) -> None:
        """Know no array."""
        self._array = None
