"""All that a stream of drawn frames carries from block to block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PastFrame:
    """A frame that was drawn, as later ones see it."""

    number: int
    """Of its noise."""
    latents: NDArray[np.float32]
    """Clean, (1, channels, h, w)."""
    tokens: NDArray[np.float32]
    """What was heard, (tokens, width)."""


Features = Mapping[int, Mapping[str, NDArray[np.float32]]]
"""Motion features of the past frames, by timestep and the denoiser's input."""


@dataclass(frozen=True)
class StreamState:
    """Everything that the next block of a stream depends on besides what it hears.

    Never changed: drawing a block gives the next one. To go back to an earlier frame,
    after an interruption or a failed call, is to go on from its state.
    """

    past: tuple[PastFrame, ...] = ()
    """The last frames, the latest last; no more than a window has room for."""
    next_number: int = 0
    """Of the noise of the next frame that is drawn."""
    features: Features | None = None
    """Where the denoiser takes them; None wherever they are not known."""

    def follow(self, frames: Sequence[PastFrame], *, keep: int) -> StreamState:
        """The state once ``frames`` have been drawn or shown; ``keep`` of them are enough.

        Features are gone: whoever knows those of the new frames puts them in.
        """
        past = (*self.past, *frames)[-keep:]
        latest = max((frame.number + 1 for frame in frames), default=0)
        return StreamState(past, max(self.next_number, latest), None)
