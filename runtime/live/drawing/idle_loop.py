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

    The first is amid a blink, the last at rest.
    """

    frames: tuple[IdleFrame, ...]
    """At least one."""
    rest: StreamState
    """The stream's state after the last frame."""

    def at(self, place: int) -> IdleFrame:
        """The frame at a place of the endless loop: 0 is rest, from which it goes backwards."""
        turn = max(1, 2 * (len(self.frames) - 1))
        step = place % turn
        last = len(self.frames) - 1
        # From the last frame back to the first, and forwards again.
        return self.frames[last - step] if step <= last else self.frames[step - last]

    def state_at(self, place: int, *, keep: int) -> StreamState:
        """The stream's state after the frame at ``place``, as if the loop had been drawn.

        Motion features are those of rest: silent frames have nearly the same.
        """
        shown = [self.at(place - back).past for back in range(keep - 1, -1, -1)]
        after = replace(self.rest, past=(), features=None).follow(shown, keep=keep)
        return replace(after, next_number=self.rest.next_number, features=self.rest.features)


@dataclass(frozen=True)
class IdleOrder:
    """What a portrait's loop is drawn from."""

    sitter: Sitter
    """Whose face."""
    silence: NDArray[np.float32]
    """A silent frame's tokens, (tokens, width)."""
    spoken: tuple[NDArray[np.float32], ...]
    """Tokens of a short phrase and the first moments after it, in which a face blinks."""
    shut: int
    """How many of the last of these are silent, their mouths shut."""
    frames: int
    """Of the loop, at least."""
    block: int
    """How many are drawn at once."""
    steps: int
    """Of the sampling loop."""


def draw_idle(
    sampler: CausalSampler,
    order: IdleOrder,
    *,
    decode: Callable[[NDArray[np.float32]], NDArray[np.uint8]],
) -> IdleLoop:
    """Draw a portrait's loop: silence, the phrase, and the silence after it.

    Raises:
        BackendError: an engine failed.
    """
    window = (order.silence,) * sampler.window
    state = sampler.begin(BlockOrder(order.sitter, window, order.steps))
    drawn = list[PastFrame]()
    heard = [*order.spoken, *[order.silence] * order.frames]
    heard += [order.silence] * (-len(heard) % order.block)
    for start in range(0, len(heard), order.block):
        tokens = tuple(heard[start : start + order.block])
        state = sampler.draw(state, BlockOrder(order.sitter, tokens, order.steps))
        drawn += state.past[-order.block :]
    shut = drawn[len(order.spoken) - order.shut :]
    frames = [IdleFrame(decode(past.latents), past) for past in shut]
    turn = find_turn([frame.picture for frame in frames[: order.shut]], rest=frames[-1].picture)
    return IdleLoop(tuple(frames[turn:]), state)


def find_turn(pictures: list[NDArray[np.uint8]], *, rest: NDArray[np.uint8]) -> int:
    """Where the loop turns: the picture that is furthest from rest, its eyes shut in a blink.

    Played backwards to there and forwards again, eyes close and open once.
    """
    if not pictures:
        return 0
    far = [float(np.abs(one.astype(np.int16) - rest).mean()) for one in pictures]
    return int(np.argmax(far))
