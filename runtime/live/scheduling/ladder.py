"""What a session does without when its device falls behind, and when it takes it up again."""

from __future__ import annotations

from dataclasses import dataclass

_BETWEEN = 1.0  # seconds: at most one change
_CALM = 2.0  # seconds of ease before a step up
_ENOUGH = 0.75  # of the workers' time, that the rung above may take: as much as is let in


@dataclass(frozen=True)
class Rung:
    """One way to draw."""

    steps: int
    """Of the sampling loop."""
    every: int = 1
    """Frames from one that is drawn to the next; those between are interpolated."""

    @property
    def work(self) -> float:
        """Denoiser calls, as a share of one step for every frame."""
        return self.steps / self.every


def list_rungs(steps: int) -> tuple[Rung, ...]:
    """From the best down: fewer steps, then every second frame."""
    return (*(Rung(count) for count in range(steps, 0, -1)), Rung(1, every=2))


class Ladder:
    """Where a session stands; moved by what was measured, at most one rung a second."""

    def __init__(self, rungs: tuple[Rung, ...], *, fixed: bool) -> None:
        """``fixed``: stay on the first rung, whatever comes."""
        self.rungs = rungs
        self.place = 0
        self.steps_down = 0
        self.steps_up = 0
        self._fixed = fixed
        self._changed: float | None = None
        self._calm_since: float | None = None

    @property
    def rung(self) -> Rung:
        """The one to draw by."""
        return self.rungs[self.place]

    def judge(self, now: float, *, slack: float, period: float, load: float) -> None:
        """A block is drawn: move if it must be.

        ``slack`` is how long before its first frame was due, negative where it came
        late; ``period`` is how long its frames are shown; ``load`` the share of the
        workers' time that all sessions take on their first rungs, 1 is all.
        """
        if self._fixed:
            return
        if slack < 0:
            self._calm_since = None
            self._move(now, 1)
            return
        if slack < 0.1 * period or not self._fits_above(load):
            self._calm_since = None
            return
        if self._calm_since is None:
            self._calm_since = now
        if now - self._calm_since >= _CALM:
            self._move(now, -1)

    def _fits_above(self, load: float) -> bool:
        if not self.place:
            return False
        return load * self.rungs[self.place - 1].work / self.rungs[0].work <= _ENOUGH

    def _move(self, now: float, by: int) -> None:
        place = min(max(0, self.place + by), len(self.rungs) - 1)
        if place == self.place or (self._changed is not None and now - self._changed < _BETWEEN):
            return
        self.steps_down += by > 0
        self.steps_up += by < 0
        self.place = place
        self._changed = now
        self._calm_since = None
