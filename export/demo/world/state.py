"""What a face does in each frame of a clip.

Mouth, eyes and small head motion, the same for every person.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echoexport.runtime.errors import SettingError

__all__ = ["STATE_WIDTH", "FaceState"]

_Curve = NDArray[np.float32]


@dataclass(frozen=True)
class FaceState:
    """Eight curves of equal length, one value a frame, float32 (n,); all 0 is a neutral face.

    Raises SettingError where the curves differ in length or are not one-dimensional.
    """

    openness: _Curve
    """[0,1]: 0 is closed lips, 1 the jaw fully down."""
    width: _Curve
    """[-1,1]: -1 narrow, 1 spread."""
    rounding: _Curve
    """[0,1]: lips pursed."""
    lids: _Curve
    """[0,1]: 1 is eyes closed."""
    brows: _Curve
    """[-1,1]: 1 is raised."""
    nod: _Curve
    """[-1,1]: 1 moves the face down by 0.6 % of the picture's side."""
    sway: _Curve
    """[-1,1]: the same to the right."""
    tilt: _Curve
    """[-1,1]: 1 rolls the head by one degree, clockwise as seen."""

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, np.asarray(getattr(self, field.name), np.float32))
        shapes = {field.name: getattr(self, field.name).shape for field in fields(self)}
        odd = {
            name: shape
            for name, shape in shapes.items()
            if len(shape) != 1 or shape != self.openness.shape
        }
        if odd:
            raise SettingError(
                f"curves of a face state need one length: openness is {self.openness.shape}, but "
                + ", ".join(f"{name} is {shape}" for name, shape in odd.items())
                + "; give every curve as an array of one value a frame"
            )

    @classmethod
    def rest(cls, n: int) -> FaceState:
        """A neutral face with closed lips and open eyes for ``n`` frames."""
        return cls.from_matrix(np.zeros((n, STATE_WIDTH), np.float32))

    @classmethod
    def from_matrix(cls, matrix: NDArray[Any]) -> FaceState:
        """The inverse of ``as_matrix``: (n,8) columns in the order of the fields.

        Raises SettingError.
        """
        if matrix.ndim != 2 or matrix.shape[1] != STATE_WIDTH:
            raise SettingError(
                f"a face state's matrix has shape (n, {STATE_WIDTH}), not {tuple(matrix.shape)}"
            )
        return cls(*np.asarray(matrix, np.float32).T.copy())

    def as_matrix(self) -> NDArray[np.float32]:
        """All curves as (n,8) float32, one column a field, in their order."""
        return np.stack(astuple(self), axis=1)

    def take(self, indices: ArrayLike | slice) -> FaceState:
        """The frames at ``indices`` (integers, a slice or a boolean mask), in that order."""
        return FaceState.from_matrix(
            self.as_matrix()[indices if isinstance(indices, slice) else np.asarray(indices)]
        )

    def __len__(self) -> int:
        return len(self.openness)


STATE_WIDTH = len(fields(FaceState))
"""Curves of a face state."""
