"""What is drawn next: which frames a stream still owes its sound, and when it may rest.

Everything here depends on the sound alone, never on the time or on how it was cut into
chunks; only :meth:`Script.ease` is asked for when somebody waits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echoexport.runtime.live.frames import EASING, IDLE, SPEAKING
from echoexport.runtime.live.listening.hearing import Hearing, HearingSettings

ONSET = 2
"""Frames that are drawn before the one in which speech begins."""

SHUT = 10
"""Silent frames that are drawn before the face may rest: after them the loop is entered
without a jump (measured: as at 5 frames a blink may be under way)."""

_OWN_PACE = 1.0  # seconds


@dataclass(frozen=True)
class CueFrame:
    """One frame that is wanted."""

    samples: NDArray[np.float32]
    """Its sound, (0,) where there is none."""
    state: str
    """Of ``frames.STATES``."""
    columns: NDArray[np.float32] | None
    """The mel columns that it is drawn from; None for the idle loop's."""
    end_of_utterance: bool


@dataclass(frozen=True)
class Cue:
    """What comes next: one frame of the idle loop, or a block that is to be drawn."""

    frames: tuple[CueFrame, ...]

    @property
    def drawn(self) -> bool:
        """Whether the denoiser draws it."""
        return self.frames[0].columns is not None


class Script:
    """One session's sound, turned into cues. Not for several threads at once."""

    def __init__(self, settings: HearingSettings) -> None:
        self.settings = settings
        self._utterances = deque[Hearing]()
        self._frame = 0  # of the first utterance
        self._shut = 0  # silent frames drawn in a row
        self._owes_end = False
        self.speaking = False
        """Whether the face is anywhere but at rest."""
        self.paced = True
        """Whether sound comes at its own pace: no more of it has waited than a second."""

    @property
    def pending(self) -> float:
        """Seconds of sound that no cue has taken yet."""
        heard = float(sum(one.seconds for one in self._utterances))
        return max(0.0, heard - float(self._frame / self.settings.fps))

    @property
    def ended(self) -> bool:
        """Whether all that was pushed has been flushed."""
        return all(one.ended for one in self._utterances)

    def hear(self, pcm: bytes | ArrayLike, sample_rate: int) -> None:
        """Take a chunk; see :meth:`Hearing.hear`."""
        if not self._utterances or self._utterances[-1].ended:
            self.paced = True
            # Kept only once it has taken the chunk: a bad one begins nothing.
            begun = Hearing(self.settings)
            begun.hear(pcm, sample_rate)
            self._utterances.append(begun)
        else:
            self._utterances[-1].hear(pcm, sample_rate)
        self.paced = self.paced and self.pending <= _OWN_PACE

    def flush(self) -> None:
        """The utterance ends here; its last frame will say so."""
        if not self._utterances:
            return
        last = self._utterances[-1]
        told = last.flushed
        last.end(flushed=True)
        # Its last frame may be out already, where the sound failed to come for a while.
        count = last.count_frames() or 0
        self._owes_end = not told and len(self._utterances) == 1 and self._frame >= count > 0

    def take_owed_end(self) -> bool:
        """Whether the next frame must say that an utterance ended; asked once for each."""
        owed = self._owes_end
        self._owes_end = False
        return owed

    def forget(self) -> None:
        """Drop all sound; a face that speaks comes to rest from where it is."""
        self._utterances.clear()
        self._frame = 0
        self._shut = 0
        self._owes_end = False

    def next(self, block: int) -> Cue | None:
        """The next cue, of ``block`` frames where it is drawn; None until more is heard."""
        hearing = self._find_hearing()
        if hearing is None:
            return None
        if not self.speaking:
            onset = range(self._frame, self._frame + ONSET + 1)
            if not hearing.knows_quiet(onset[-1]) or not hearing.has_samples(self._frame):
                return None
            if all(hearing.is_quiet(frame) for frame in onset):
                return self._rest(hearing)
            self._shut = 0
        if not hearing.is_heard(self._frame + block - 1):
            return None
        return self._draw(hearing, block)

    def ease(self, block: int) -> Cue | None:
        """A block of silence for a face that has nothing to say; None once it may rest.

        Sound that has begun and does not go on ends here, as if it had been flushed.
        """
        if not self.speaking:
            return None
        if self._utterances:
            self._utterances[0].end(flushed=False)
            found = self.next(block)
            return found or self._draw(self._utterances[0], block)
        silent = Hearing(self.settings)
        silent.end(flushed=False)
        return self._draw(silent, block, carried=False)

    def _find_hearing(self) -> Hearing | None:
        """The utterance that is next; those that are over give way to those after them."""
        while self._utterances:
            first = self._utterances[0]
            count = first.count_frames()
            if count is None or self._frame < count:
                return first
            if len(self._utterances) == 1 and self.speaking:
                return None  # kept: what eases it hears how it ended
            self._utterances.popleft()
            self._frame = 0
        return None

    def _rest(self, hearing: Hearing) -> Cue:
        frame = self._describe(hearing, self._frame, drawn=False)
        self._frame += 1
        hearing.forget(self._frame)
        return Cue((frame,))

    def _draw(self, hearing: Hearing, block: int, *, carried: bool = True) -> Cue:
        self.speaking = True
        frames = range(self._frame, self._frame + block)
        cue = Cue(tuple(self._describe(hearing, frame, drawn=True) for frame in frames))
        for frame in frames:
            self._shut = self._shut + 1 if hearing.is_quiet(frame) else 0
        if carried:
            self._frame += block
            hearing.forget(self._frame)
        if self._shut >= SHUT:
            self.speaking = False
        return cue

    def _describe(self, hearing: Hearing, frame: int, *, drawn: bool) -> CueFrame:
        samples = hearing.cut_samples(frame)
        count = hearing.count_frames()
        spoken = SPEAKING if samples.size else EASING
        return CueFrame(
            samples,
            spoken if drawn else IDLE,
            hearing.cut_columns(frame) if drawn else None,
            end_of_utterance=hearing.flushed and count is not None and frame == count - 1,
        )
