"""How far a mouth is open, read from the pixels of a frame alone by likeness to examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.errors import InputError

__all__ = [
    "CLOSED",
    "CLOSED_BELOW",
    "FOLLOWS",
    "SOUND",
    "MouthGuide",
    "mouth_closed",
    "mouth_openness",
]

FOLLOWS = "mouth like the reference's"
SOUND = "mouth with the sound"
CLOSED = "mouth closed in silence"
"""Names of scores: correlation of both mouths' openness; of the openness and the
loudness; share of frames closed."""

CLOSED_BELOW = 0.08
"""A mouth that measures less is closed: at 128 pixels its lips are less than one pixel
apart."""

_SHIFTS = (-1, 0, 1)  # rows by which the head may have nodded
_FLOOR = 12.0  # squared levels; examples this much less alike than the best still have a say
_SHARE = 0.08  # and so much more for a frame that is like none of them


@dataclass(frozen=True, eq=False)
class MouthGuide:
    """What one person's mouth looks like.

    Examples should cover all shapes at each openness, close enough to each other for
    values between them to be told: steps of 0.1, and finer near 0.
    """

    top: int
    """Row of the frames that examples were cut out at."""
    left: int
    """Column of the same."""
    examples: NDArray[np.uint8]
    """(k, h, w, 3) uint8."""
    openness: NDArray[np.float64]
    """(k,), how far the mouth is open in each example, 0 to 1."""

    def __post_init__(self) -> None:
        if (
            self.examples.ndim != 4
            or self.examples.shape[3] != 3
            or self.examples.dtype != np.uint8
        ):
            raise InputError(
                f"examples {self.examples.shape} of {self.examples.dtype}: wanted uint8 (k, h, "
                "w, 3)"
            )
        if self.openness.shape != self.examples.shape[:1] or not len(self.openness):
            raise InputError(
                f"{len(self.openness)} values of openness for {len(self.examples)} examples"
            )


def mouth_openness(frames: NDArray[np.uint8], guide: MouthGuide) -> NDArray[np.float64]:
    """How far the mouth is open in each of the frames (n, H, W, 3): (n,), from 0 to 1.

    It is the mean openness of the examples, each by its likeness: exp of minus its mean
    squared difference, both softened, above that of the best. So teeth, tongues and
    beards need no rules, and blur or a wrong tint hardly matter. Raises InputError for
    other shapes or a guide that reaches over the frames' edge.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise InputError(f"frames {frames.shape} of {frames.dtype}: wanted uint8 (n, H, W, 3)")
    height, width = guide.examples.shape[1:3]
    if (
        not 1 <= guide.top <= frames.shape[1] - height - 1
        or not 0 <= guide.left <= frames.shape[2] - width
    ):
        raise InputError(
            f"a mouth of {height} x {width} at {guide.top}, {guide.left} leaves frames "
            f"{frames.shape}"
        )
    across = slice(guide.left, guide.left + width)
    examples = _soften(guide.examples)
    differences = np.stack(
        [
            _differ(_soften(frames[:, guide.top + s : guide.top + s + height, across]), examples)
            for s in _SHIFTS
        ]
    ).min(axis=0)
    best = differences.min(axis=1, keepdims=True)
    weights = np.exp(-(differences - best) / (_FLOOR + _SHARE * best))
    return np.asarray(weights @ guide.openness / weights.sum(axis=1))


def mouth_closed(openness: NDArray[np.float64]) -> NDArray[np.bool_]:
    """In which frames a mouth measured so is closed (n,)."""
    return np.asarray(openness < CLOSED_BELOW)


def _soften(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Flattened pictures (n, h * w * 3) after a 1-2-1 blur both ways.

    The blur forgives what lies half a pixel off.
    """
    soft = pictures.astype(np.float64)
    for axis in (1, 2):
        padding = [(1, 1) if axis == place else (0, 0) for place in range(4)]
        padded = np.pad(soft, padding, mode="edge")
        size = soft.shape[axis]
        before, here, after = (
            np.take(padded, np.arange(size) + shift, axis=axis) for shift in range(3)
        )
        soft = (before + 2 * here + after) / 4
    return soft.reshape(len(soft), -1)


def _differ(frames: NDArray[np.float64], examples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean squared differences of every frame and every example, (n, k)."""
    squares = (frames**2).sum(axis=1)[:, None] + (examples**2).sum(axis=1)[None]
    return np.asarray(np.maximum(squares - 2 * frames @ examples.T, 0) / frames.shape[1])
