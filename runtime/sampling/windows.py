"""Context windows: which frames each call of the denoiser sees, as the original draws them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from echoexport.runtime.errors import SettingError

__all__ = ["StepWindows", "Windows", "context_windows", "shifted_windows"]

Windows = tuple[tuple[int, ...], ...]


class StepWindows(Sequence[tuple[int, ...]]):
    """One sampling step's windows, as ``shifted_windows`` gives them, none of them held."""

    def __init__(self, frames: int, *, context: int, overlap: int, offset: int = 0) -> None:
        """``offset`` is how far all are moved on. Raises as ``context_windows``."""
        if frames < 1:
            raise SettingError(f"a clip needs at least 1 frame, not {frames}")
        if context < 1:
            raise SettingError(f"a context window needs at least 1 frame, not {context}")
        if not 0 <= overlap < context:
            raise SettingError(
                f"window overlap {overlap} must be at least 0 and below the window's {context} "
                "frames"
            )
        self._frames = frames
        self._width = min(context, frames)
        self._offset = offset
        self._starts = range(0, frames, context - overlap) if frames > context else range(1)

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, number: int) -> tuple[int, ...]: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[tuple[int, ...]]: ...
    def __getitem__(self, number: int | slice) -> Any:
        """The frames of one window, or of several."""
        if isinstance(number, slice):
            return tuple(self[one] for one in range(len(self))[number])
        start = self._starts[number] + self._offset
        return tuple((start + place) % self._frames for place in range(self._width))

    def find_holders(self, frame: int) -> list[int]:
        """The numbers of all windows that hold a frame, in order."""
        place = (frame - self._offset) % self._frames
        # those that wrap round the clip's end hold it a whole clip later
        places = {place, place + self._frames}
        return sorted(number for end in places for number in self._find_starts(end))

    def _find_starts(self, last: int) -> range:
        """Windows that begin up to ``width - 1`` frames before a place, or at it."""
        stride = self._starts.step
        first = max(0, -((self._width - 1 - last) // stride))
        return range(first, min(last // stride + 1, len(self)))


def context_windows(frames: int, *, context: int, overlap: int) -> Windows:
    """Frame indices of every window of a clip, before any shift.

    Windows of ``context`` frames start every ``context - overlap`` frames and wrap
    round to the clip's start, so that every frame is covered and the clip closes on
    itself. A clip no longer than one window gives one window of all its frames. Raises
    ``SettingError`` for values that cannot work.
    """
    return tuple(StepWindows(frames, context=context, overlap=overlap))


def shifted_windows(windows: Windows, step: int, *, shift: int, frames: int) -> Windows:
    """The windows of one sampling step.

    Every index is moved on by ``step * shift``, round the clip's end, so that seams
    between windows fall on other frames at each step. ``step`` counts from 0.
    """
    if frames < 1:
        raise SettingError(f"a clip needs at least 1 frame, not {frames}")
    return tuple(tuple((index + step * shift) % frames for index in window) for window in windows)
