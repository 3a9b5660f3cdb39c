"""Frames on their way: each has its place from the moment it is planned."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.live.drawing.stream_state import StreamState
from echoexport.runtime.live.frames import IDLE
from echoexport.runtime.live.script import CueFrame


@dataclass
class Slot:
    """A frame's place in the queue, taken when it is planned and filled when it is decoded."""

    cue: CueFrame
    """What it shows and sounds like."""
    epoch: int
    """Of the session, when it was planned."""
    steps: int
    """Of the sampling loop; 0 for a frame of the idle loop, or one that fades into it."""
    state: StreamState | None = None
    """The stream's after this frame, once it is drawn."""
    picture: NDArray[np.uint8] | None = None
    """(H, W, 3), once it is decoded."""
    ready: float = 0.0
    """When that was."""
    place: int = 0
    """In the idle loop, of one of its frames or one that fades into it."""
    before: Slot | None = field(default=None, repr=False)
    """The one before it until it is decoded, for pixels that hold still."""

    @property
    def resting(self) -> bool:
        """Whether it is of the idle loop."""
        return self.cue.state == IDLE


def enter_states(
    slots: list[Slot], *, before: StreamState, after: StreamState, every: int, keep: int
) -> None:
    """Give each slot of a block the state that a stream which ends with it would go on from.

    ``every``: only each so-manieth frame was drawn; those between are interpolated, from
    the last one before the block on.
    """
    drawn = after.past[len(after.past) - len(slots) // every :]
    seen = before
    for number, frame in enumerate(drawn):
        latest = seen.past[-1].latents if seen.past else frame.latents
        for place in range(every):
            share = np.float32((place + 1) / every)
            between = replace(frame, latents=latest + share * (frame.latents - latest))
            here = seen.follow([frame if place == every - 1 else between], keep=keep)
            slots[number * every + place].state = replace(here, features=after.features)
        seen = seen.follow([frame], keep=keep)
