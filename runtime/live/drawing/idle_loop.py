"""The living picture of a face at rest: frames drawn once for each portrait, played for ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.live.drawing.causal_sampling import BlockOrder, CausalSampler, Sitter
from echoexport.runtime.live.drawing.stream_state import PastFrame, StreamState


@dataclass(frozen=True)
class IdleFrame:
    """One frame of the loop."""

    picture: NDArray[np.uint8]
    """(H, W, 3) uint8 RGB."""
    past: PastFrame
    """As the frames that are drawn after it see it."""


@dataclass(frozen=True)
class IdleLoop:
    """Frames of a closed mouth, played forwards, then backwards, so that nothing jumps.

    The first is the one after a word's end, whose blink comes next; the middle is rest.
    """

    frames: tuple[IdleFrame, ...]
    """At least one."""
    rest: StreamState
    """The stream's state after the last frame."""

    def at(self, place: int) -> IdleFrame:
        """The frame at a place of the endless loop, counted from rest, see :meth:`enter`."""
        turn = max(1, 2 * (len(self.frames) - 1))
        step = place % turn
        last = len(self.frames) - 1
        # From the last frame back to the first, and forwards again.
        return self.frames[last - step] if step <= last else self.frames[step - last]

    def state_at(self, place: int, *, keep: int) -> StreamState:
        """The stream's state after the frame at ``place``, as if the loop had been drawn.

        Motion features are those of rest: silent frames have nearly the same.
        """
        shown = [self.at(place - back).past for back in range(min(keep, 64) - 1, -1, -1)]
        after = replace(self.rest, past=(), features=None).follow(shown, keep=keep)
        return replace(after, next_number=self.rest.next_number, features=self.rest.features)


@dataclass(frozen=True)
class IdleSettings:
    """How long a loop is, and what comes before it."""

    frames: int
    """Of the loop."""
    spoken: tuple[NDArray[np.float32], ...] = ()
    """Tokens of a short phrase, (tokens, width) a frame, after whose end a face blinks."""


def draw_idle(
    sampler: CausalSampler,
    sitter: Sitter,
    *,
    silence: NDArray[np.float32],
    settings: IdleSettings,
    block: int,
    steps: int,
    decode: Callable[[NDArray[np.float32]], NDArray[np.uint8]],
) -> IdleLoop:
    """Draw a portrait's loop: silence, a phrase where there is one, and the silence after it.

    ``silence`` is a silent frame's tokens, ``block`` how many frames are drawn at once.

    Raises:
        BackendError: an engine failed.
    """
    window = sampler.window
    state = sampler.begin(BlockOrder(sitter, (silence,) * window, steps))
    drawn = list[PastFrame]()
    heard = [*settings.spoken, *[silence] * settings.frames]
    heard += [silence] * (-len(heard) % block)
    for start in range(0, len(heard), block):
        state = sampler.draw(state, BlockOrder(sitter, tuple(heard[start : start + block]), steps))
        drawn += state.past[-block:]
    kept = drawn[len(settings.spoken) :]
    return IdleLoop(tuple(IdleFrame(decode(past.latents), past) for past in kept), state)
