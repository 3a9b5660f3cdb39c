"""The mouth of a face of which only the place is known: where it is, and how it moves.

A person who was drawn has examples of the mouth at each openness, see
:mod:`echoexport.profiles.quality.mouth`. Of anybody else's face there is the box, and the
reference's own frames: their principal component within the mouth's part of the face is
mostly the opening of the mouth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoexport.profiles.quality.clips import Frames
from echoexport.profiles.quality.lipsync import correlate, is_constant
from echoexport.profiles.quality.mouth import FOLLOWS, SOUND

__all__ = ["MouthRegion", "RegionScore", "find_mouth_region", "measure_movement"]


# Shares of a face box from forehead to chin, as faces are proportioned: the mouth's line
# lies at about three quarters, and it is at most half as wide as the face.
_ROWS = (0.58, 0.96)
_COLUMNS = (0.24, 0.76)
_LEAST = 2  # pixels a side
_STILL = 1e-6  # share of the movement that is told from rounding


@dataclass(frozen=True)
class MouthRegion:
    """The part of a picture that holds the mouth."""

    rows: slice
    columns: slice


@dataclass(frozen=True, eq=False)
class RegionScore:
    """Scores a clip's frames (n, H, W, 3) by the movement in the mouth's region."""

    region: MouthRegion
    loudness: NDArray[np.float64]
    """Of the sound in each frame, (m,), m >= n."""

    def __call__(self, frames: Frames, reference: Frames) -> Mapping[str, float]:
        """How far the mouth moves as the reference's does, and with the sound.

        Nothing where the reference's does not move.
        """
        mine, theirs = measure_movement(frames, reference, self.region)
        if len(theirs) < 2 or is_constant(theirs):
            return {}
        loudness = self.loudness[: len(frames)]
        scores = {FOLLOWS: correlate(theirs, mine)}
        if not is_constant(loudness):
            # which way is open is not known, but that loud sounds open mouths is
            way = 1.0 if correlate(loudness, theirs) >= 0 else -1.0
            scores[SOUND] = way * correlate(loudness, mine)
        return scores


def find_mouth_region(mask: NDArray[np.uint8]) -> MouthRegion | None:
    """Where the mouth is in a picture whose face is masked (H, W), forehead to chin.

    None where the mask covers the whole picture, so that the face may be anywhere, or
    where the face is too small for a mouth.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    if not len(rows) or bool(mask.all()):
        return None
    down = _cut(int(rows[0]), int(rows[-1]) + 1, _ROWS)
    across = _cut(int(columns[0]), int(columns[-1]) + 1, _COLUMNS)
    if min(down.stop - down.start, across.stop - across.start) < _LEAST:
        return None
    return MouthRegion(down, across)


def measure_movement(
    frames: Frames, reference: Frames, region: MouthRegion
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How the mouths of both (n, H, W, 3) move, in root mean square levels, each (n,).

    Both are projected on the first principal component of the reference's region about
    its mean: the direction in which the reference's pixels vary most.
    """
    theirs = _flatten(reference, region)
    middle = theirs.mean(axis=0)
    # of n frames, not of their pixels, which are many more (the method of snapshots)
    _, values, components = np.linalg.svd(theirs - middle, full_matrices=False)
    scale = np.sqrt(theirs.shape[1])
    if values[0] <= _STILL * scale:
        still = np.zeros(len(theirs))
        return still, still
    axis = components[0] / scale
    return (_flatten(frames, region) - middle) @ axis, (theirs - middle) @ axis


def _flatten(frames: Frames, region: MouthRegion) -> NDArray[np.float64]:
    part = frames[:, region.rows, region.columns]
    return part.reshape(len(part), -1).astype(np.float64)


def _cut(start: int, stop: int, shares: tuple[float, float]) -> slice:
    length = stop - start
    return slice(start + round(shares[0] * length), start + round(shares[1] * length))
