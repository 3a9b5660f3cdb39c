"""Which utterance a frame belongs to: what was pushed and what is shown, counted alike.

A live session says with a frame where an utterance ends, and with its samples that one is
heard; so the n-th that was begun is the n-th that is shown, however the sound came.
"""

from __future__ import annotations

from dataclasses import dataclass

from echoexport.runtime.live.frames import IDLE, LiveFrame

_SETTLED = 50  # frames of rest in a row after which nothing can be on its way any more


@dataclass(frozen=True)
class Shown:
    """What a frame is of the utterances."""

    begins: int | None = None
    """The number of the one that is heard from this frame on."""
    ended: int = 0
    """The number of the last one that is over."""


class UtteranceCount:
    """Counts from 1 on. Not for several threads at once."""

    def __init__(self) -> None:
        self.begun = 0
        """The number of the latest one that was pushed."""
        self._open = False
        self._ended = 0
        self._heard = 0
        self._epoch = 0
        self._resting = 0

    def push(self) -> None:
        """Sound was pushed."""
        if not self._open:
            self._open = True
            self.begun += 1

    def flush(self) -> None:
        """The utterance ends here."""
        self._open = False

    def interrupt(self) -> None:
        """What was pushed will not be shown."""
        self._open = False
        self._epoch += 1
        self._ended = self._heard = self.begun

    def look_at(self, frame: LiveFrame, *, pending: float) -> Shown:
        """What begins and ends with the next frame; ``pending`` is the session's."""
        if frame.epoch < self._epoch:
            return Shown(ended=self._ended)
        begins = None
        if frame.samples.size and self._heard <= self._ended < self.begun:
            begins = self._heard = self._ended + 1
        if frame.end_of_utterance:
            self._ended = min(self._ended + 1, self.begun)
        self._settle(frame, pending=pending)
        return Shown(begins, self._ended)

    def _settle(self, frame: LiveFrame, *, pending: float) -> None:
        """Where an end was left out with the silence round it, it is told once all is quiet."""
        quiet = frame.state == IDLE and not frame.samples.size and not pending and not self._open
        self._resting = self._resting + 1 if quiet else 0
        if self._resting >= _SETTLED:
            self._ended = self.begun
