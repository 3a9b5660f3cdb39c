"""Seams: whether a picture jumps where a block of frames that were drawn together begins."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoexport.profiles.quality.motion import measure_changes
from echoexport.profiles.quality.pictures import Mask
from echoexport.runtime.errors import InputError

__all__ = ["SeamChanges", "compare_seams", "split_changes"]


@dataclass(frozen=True)
class SeamChanges:
    """Changes from frame to frame, those into a block's first frame apart from all others.

    Sums and counts, so that clips can be put together.
    """

    at_starts: float
    """Sum of the changes into frames that begin a block, in levels."""
    starts: int
    """How many these are."""
    elsewhere: float
    """Sum of all other changes, in levels."""
    others: int
    """How many these are."""

    @property
    def ratio(self) -> float:
        """The mean change where blocks begin, over the mean change elsewhere.

        A clip may well move more where blocks happen to begin: compare with the same of
        another rendering, see :func:`compare_seams`. Raises InputError where one of both
        was never seen, or nothing ever moves elsewhere.
        """
        if not self.starts or not self.others or not self.elsewhere:
            raise InputError(
                f"{self.starts} changes at the starts of blocks, {self.others} elsewhere: wanted "
                "some of both, and motion"
            )
        return (self.at_starts / self.starts) / (self.elsewhere / self.others)


def split_changes(
    frames: NDArray[np.uint8], starts: Collection[int], mask: Mask | None = None
) -> SeamChanges:
    """The changes of a clip (n, H, W, 3), told apart by where its blocks begin.

    ``starts`` are the indices of the blocks' first frames; a 0 says nothing, since no
    frame comes before. Changes are taken over the mask's pixels, see :func:`flicker`.
    Raises InputError for a start that is no frame, and what :func:`flicker` does.
    """
    changes = measure_changes(frames, mask)
    if not all(0 <= start < len(frames) for start in starts):
        raise InputError(f"blocks that begin at {sorted(starts)} in {len(frames)} frames")
    begins = np.zeros(len(frames), bool)
    begins[list(starts)] = True
    at_starts = changes[begins[1:]]
    elsewhere = changes[~begins[1:]]
    return SeamChanges(
        float(at_starts.sum()), len(at_starts), float(elsewhere.sum()), len(elsewhere)
    )


def compare_seams(own: Iterable[SeamChanges], reference: Iterable[SeamChanges]) -> float:
    """How much more clips change where blocks begin than a reference does at the same places.

    Both give one for each clip, of the same starts. 1 is no more: motion that is in both
    is cancelled. Raises InputError where :attr:`SeamChanges.ratio` does.
    """
    return _add_up(own).ratio / _add_up(reference).ratio


def _add_up(clips: Iterable[SeamChanges]) -> SeamChanges:
    several = list(clips)
    return SeamChanges(
        sum(clip.at_starts for clip in several),
        sum(clip.starts for clip in several),
        sum(clip.elsewhere for clip in several),
        sum(clip.others for clip in several),
    )
