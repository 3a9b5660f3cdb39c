"""What a sampling holds while it runs: frames' latents between two steps, and a step's sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.sampling.denoiser import guide
from echoexport.runtime.sampling.windows import StepWindows

__all__ = ["FrameLatents", "StepSums"]


class FrameLatents:
    """Latents of single frames, (channels, h, w) each, for as long as they are needed."""

    def __init__(self, draw: Callable[[int], NDArray[np.float32]] | None = None) -> None:
        """``draw`` gives a frame that is not there, where there is a way."""
        self._draw = draw
        self._held: dict[int, NDArray[np.float32]] = {}

    def __len__(self) -> int:
        """How many frames are held."""
        return len(self._held)

    def __contains__(self, frame: int) -> bool:
        return frame in self._held

    def put(self, frames: Sequence[int], latents: NDArray[np.float32]) -> None:
        """Hold these frames, (1, channels, len(frames), h, w)."""
        for place, frame in enumerate(frames):
            self._held[frame] = latents[0, :, place].copy()

    def gather(self, frames: Iterable[int]) -> NDArray[np.float32]:
        """Some frames together, (1, channels, n, h, w)."""
        return np.stack([self._find(frame) for frame in frames], axis=1)[None]

    def drop(self, frames: Iterable[int]) -> None:
        """Let go of frames."""
        for frame in frames:
            self._held.pop(frame, None)

    def clear(self) -> None:
        """Let go of all."""
        self._held.clear()

    def _find(self, frame: int) -> NDArray[np.float32]:
        if self._draw is not None and frame not in self._held:
            self._held[frame] = self._draw(frame)
        return self._held[frame]


class StepSums:
    """One step's windows, their velocities added up per frame, and what is left to run."""

    def __init__(self, windows: StepWindows, *, guidance: float) -> None:
        self.windows = windows
        self.left = len(windows)
        """How many windows have not run."""
        self._guidance = guidance
        self._done = bytearray(len(windows))
        self._sums: dict[int, list[NDArray[np.float32]]] = {}

    def __len__(self) -> int:
        """How many frames' velocities are held."""
        return len(self._sums)

    def find_windows(self, frames: Iterable[int]) -> list[int]:
        """The windows that must still run before these frames can be stepped, in order."""
        holders = {number for frame in frames for number in self.windows.find_holders(frame)}
        return sorted(number for number in holders if not self._done[number])

    def add(self, number: int, velocities: list[NDArray[np.float32]]) -> list[int]:
        """Add a window's velocities; returns the frames that now have all of theirs."""
        window = self.windows[number]
        for place, frame in enumerate(window):
            parts = [velocity[0, :, place] for velocity in velocities]
            if frame not in self._sums:
                self._sums[frame] = [np.zeros_like(part) for part in parts]
            for total, part in zip(self._sums[frame], parts, strict=True):
                np.add(total, part, out=total)
        self._done[number] = True
        self.left -= 1
        return [frame for frame in window if not self.find_windows([frame])]

    def combine(self, frames: Sequence[int]) -> NDArray[np.float32]:
        """The frames' velocity (1, channels, n, h, w): windows averaged, guidance applied."""
        counts = np.array(
            [[[len(self.windows.find_holders(frame))]] for frame in frames], np.float32
        )
        halves = zip(*(self._sums[frame] for frame in frames), strict=True)
        means = [np.asarray(np.stack(half, axis=1)[None] / counts, np.float32) for half in halves]
        if len(means) == 1:
            return means[0]
        conditional, unconditional = means
        return guide(conditional, unconditional, self._guidance)

    def drop(self, frames: Iterable[int]) -> None:
        """Let go of frames that have been stepped."""
        for frame in frames:
            self._sums.pop(frame, None)

    def clear(self) -> None:
        """Let go of all."""
        self._sums.clear()
