"""What a live session gives: a picture and exactly its samples, and their place in time."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

IDLE = "idle"
SPEAKING = "speaking"
EASING = "easing"
STATES = (IDLE, SPEAKING, EASING)
"""Nobody speaks and the face lives on; it speaks; it comes back to rest."""


@dataclass(frozen=True)
class LiveFrame:
    """A picture, and the sound that is heard while it is shown."""

    picture: NDArray[np.uint8]
    """(H, W, 3) uint8 RGB; not to be written to."""
    samples: NDArray[np.float32]
    """(n,) in [-1, 1] at ``sample_rate``: the sound that was pushed for this frame, all of
    a frame's length. (0,) where nobody pushed any: the face idles, or is coming to rest."""
    sample_rate: int
    """Of the samples."""
    index: int
    """Counted from 0 over the session, without gaps."""
    timestamp: Fraction
    """Seconds from the session's first frame: ``index / fps``."""
    epoch: int
    """How often the session was interrupted or reset before this frame was made."""
    state: str
    """Of ``STATES``."""
    end_of_utterance: bool = False
    """Whether this frame carries the last samples before a ``flush``."""
    steps: int = 0
    """Of the sampling loop that drew it; 0 for a picture of the idle loop, or fading into it."""
    late: float = 0.0
    """Seconds by which it came too late to be shown when it was due."""


def count_frame_samples(frame: int, rate: int, fps: Fraction) -> int:
    """How many samples at ``rate`` go with the frame of this index.

    They are what lies between ``floor(frame rate / fps)`` and the next frame's, so that
    frames and samples never drift apart where a frame holds no whole number of them.
    """
    return find_first_sample(frame + 1, rate, fps) - find_first_sample(frame, rate, fps)


def find_first_sample(frame: int, rate: int, fps: Fraction) -> int:
    """The index of the first sample of a frame, counted from frame 0's."""
    return frame * rate * fps.denominator // fps.numerator
