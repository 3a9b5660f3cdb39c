"""When frames are given: on time, soon after the first word, and never silently late."""

from __future__ import annotations

from fractions import Fraction

from echoexport.runtime.live.production import Production
from echoexport.runtime.live.settings import FAST
from echoexport.runtime.live.slots import Slot

_MARGIN = 0.02  # seconds by which sound may come late once a face speaks
_AHEAD = 1.0  # seconds of sound that wait already: it does not come at its own pace
_BACKLOG = 0.16  # seconds of silence that may wait to be shown where sound comes at its own pace
_WHENEVER = 1e6  # seconds
_LOST = 1.0  # seconds after which a consumer that was away is not caught up with


class Playout:
    """One session's clock work; everything is called with the session's condition held."""

    def __init__(self, production: Production, *, fps: Fraction, pace: str) -> None:
        self.skipped = 0
        """Silent frames that were left out so that no delay builds up."""
        self._production = production
        self._frame = float(1 / fps)
        self._fast = pace == FAST
        self._due: float | None = None
        self._started: Slot | None = None  # whose moment has been set

    def find_due(self, place: int, *, now: float) -> float:
        """When the slot at this place of the queue is shown, as far as one can tell.

        What has no pace waits for what has.
        """
        if self._fast:
            return now + _WHENEVER + place * self._frame
        return (now if self._due is None else self._due) + place * self._frame

    def find_wait(self, now: float) -> float | None:
        """Seconds until :meth:`take` is to be called; None until something changes."""
        making = self._production
        head = making.slots[0] if making.slots else None
        ready = head is not None and head.picture is not None
        if self._fast:
            return 0.0 if ready else None
        if self._due is None:
            self._due = now
        if head is not None and ready and making.resting and not head.resting:
            self._start(head)
        elif not ready and not making.resting and (head is not None or making.drawing):
            return None  # late: what comes next is still being made
        return self._due - now

    def take(self, now: float) -> tuple[Slot, float]:
        """The frame to give now, and by how many seconds it is late."""
        making = self._production
        if not self._fast:
            self._skip_silence()
        head = making.slots[0] if making.slots else None
        ready = head is not None and head.picture is not None
        slot = making.take() if ready else making.make_idle()
        late = 0.0
        if not self._fast:
            due = now if self._due is None else self._due
            late = max(0.0, slot.ready - due) if ready else 0.0
            # Where it came late all that follows is later.
            self._due = due + late + self._frame
            if self._due < now - _LOST:
                self._due = now
        making.shown = slot
        self._started = None
        return slot, late

    def _start(self, head: Slot) -> None:
        """The first drawn frame after rest is shown soon, not on the grid of rest.

        Sound that comes at its own pace may come a little late later on, and the workers
        may be at another session's block; where more of it waits already, nothing is held
        back for that.
        """
        if self._started is head or self._due is None:
            return
        self._started = head
        script = self._production.script
        hurry = script.ended or script.pending > _AHEAD
        wanted = head.ready + (0.0 if hurry else _MARGIN + self._production.expect_wait())
        self._due = max(wanted, self._due - self._frame / 2)

    def _skip_silence(self) -> None:
        """Where sound comes at its own pace and waits, leave out frames that say nothing.

        One that says where an utterance ends stays.
        """
        making = self._production
        if not making.script.paced:
            return
        count = len(making.slots)
        while count * self._frame > _BACKLOG:
            count -= 1
        more = len(making.slots) - count
        if more and all(slot.resting and not slot.cue.end_of_utterance for slot in making.slots):
            making.skip(more)
            self.skipped += more
