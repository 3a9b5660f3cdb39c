"""What changes from frame to frame: flicker, and drift from the first second to the last."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from echoexport.profiles.quality.pictures import Mask, Match, Pictures, compare_pictures
from echoexport.runtime.errors import InputError

__all__ = ["Drift", "drift", "flicker", "measure_changes"]


@dataclass(frozen=True)
class Drift:
    """How close the first and the last frames of a clip are to what they should look like."""

    first: Match
    last: Match


def flicker(frames: NDArray[np.uint8], mask: Mask | None = None) -> float:
    """The mean absolute difference of neighbouring frames (n, H, W, 3), in levels.

    It is taken over the mask's pixels. Motion counts as well: compare with the same of
    a clip that moves rightly. Raises InputError for fewer than two.
    """
    return float(measure_changes(frames, mask).mean())


def measure_changes(frames: NDArray[np.uint8], mask: Mask | None = None) -> NDArray[np.float64]:
    """The mean absolute difference of each frame (n, H, W, 3) to the one before, (n - 1,).

    As :func:`flicker`, which is the mean of them.
    """
    if frames.ndim != 4 or frames.dtype != np.uint8 or len(frames) < 2:
        raise InputError(
            f"frames {frames.shape} of {frames.dtype}: wanted two or more, uint8 (n, H, W, 3)"
        )
    flat = frames.reshape(len(frames), -1, 3)
    where = np.arange(flat.shape[1]) if mask is None else np.flatnonzero(mask)
    if not len(where):
        raise InputError("a mask without a pixel leaves nothing to measure")
    return np.array([_mean_change(before[where], after[where]) for before, after in pairwise(flat)])


def drift(frames: Pictures, reference: Pictures, mask: Mask | None = None, *, span: int) -> Drift:
    """How close the first and the last ``span`` frames of a clip are to the reference.

    Frames are (n, H, W, 3). ``reference`` is one picture, or a frame for each frame
    where rightful motion is not to count. Raises InputError for a clip of fewer than
    two spans.
    """
    if span < 1 or len(frames) < 2 * span:
        raise InputError(f"{len(frames)} frames have no first and last {span}")
    ends = (slice(None, span), slice(-span, None))
    first, last = (compare_pictures(frames[end], _cut(reference, end), mask) for end in ends)
    return Drift(first, last)


def _cut(reference: Pictures, end: slice) -> Pictures:
    return reference[end] if reference.ndim == 4 else reference


def _mean_change(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    """Unsigned levels would wrap: the larger minus the smaller does not."""
    return float((np.maximum(before, after) - np.minimum(before, after)).mean(dtype=np.float64))
