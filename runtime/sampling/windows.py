"""Context windows: which frames each call of the denoiser sees, as the original draws them."""

from __future__ import annotations

from echoexport.runtime.errors import SettingError

__all__ = ["Windows", "context_windows", "shifted_windows"]

Windows = tuple[tuple[int, ...], ...]


def context_windows(frames: int, *, context: int, overlap: int) -> Windows:
    """Frame indices of every window of a clip, before any shift.

    Windows of ``context`` frames start every ``context - overlap`` frames and wrap
    round to the clip's start, so that every frame is covered and the clip closes on
    itself. A clip no longer than one window gives one window of all its frames. Raises
    ``SettingError`` for values that cannot work.
    """
    if frames < 1:
        raise SettingError(f"a clip needs at least 1 frame, not {frames}")
    if context < 1:
        raise SettingError(f"a context window needs at least 1 frame, not {context}")
    if not 0 <= overlap < context:
        raise SettingError(
            f"window overlap {overlap} must be at least 0 and below the window's {context} frames"
        )
    if frames <= context:
        return (tuple(range(frames)),)
    starts = range(0, frames, context - overlap)
    return tuple(tuple((start + i) % frames for i in range(context)) for start in starts)


def shifted_windows(windows: Windows, step: int, *, shift: int, frames: int) -> Windows:
    """The windows of one sampling step.

    Every index is moved on by ``step * shift``, round the clip's end, so that seams
    between windows fall on other frames at each step. ``step`` counts from 0.
    """
    if frames < 1:
        raise SettingError(f"a clip needs at least 1 frame, not {frames}")
    return tuple(tuple((index + step * shift) % frames for index in window) for window in windows)
