"""What is drawn next: which frames a stream still owes its sound, and when it may rest.

Everything here depends on the sound alone, never on the time or on how it was cut into
chunks; only :meth:`Script.ease` is asked for when somebody waits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from echoexport.runtime.live.frames import EASING, IDLE, SPEAKING
from echoexport.runtime.live.listening.hearing import Hearing, HearingSettings
from echoexport.runtime.live.listening.sound_stream import PcmReader, check_rate

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
        self._pcm = PcmReader()
        self._unflushed = False  # sound has come since the last flush
        self.owes_end = False
        """Whether the next frame must say that an utterance ended whose last frame is out."""
        self.speaking = False
        """Whether the face is anywhere but at rest."""
        self.paced = True
        """Whether sound comes at its own pace: no more of it has waited than a second."""

    @property
    def pending(self) -> float:
        """Seconds of sound that no cue has taken yet."""
        if not self._utterances:
            return 0.0
        first, *others = (one.seconds for one in self._utterances)
        left = max(Fraction(0), first - self._frame / self.settings.fps)
        return float(sum(others, start=left))

    @property
    def ended(self) -> bool:
        """Whether all that was pushed has been flushed."""
        return all(one.ended for one in self._utterances)

    def hear(self, pcm: bytes | ArrayLike, sample_rate: int) -> None:
        """Take a chunk; see :class:`PcmReader` for what it may be. An empty one does nothing.

        Raises:
            AudioError: it holds no sound. SettingError: no such rate. Nothing of it is
                taken.
        """
        rate = check_rate(sample_rate)
        samples = self._pcm.read(pcm)
        if not samples.size:
            return
        if not self._utterances or self._utterances[-1].ended:
            self.paced = True
            self._utterances.append(Hearing(self.settings))
        self._utterances[-1].hear(samples, rate)
        self._unflushed = True
        self.paced = self.paced and self.pending <= _OWN_PACE

    def flush(self) -> None:
        """The utterance ends here; its last frame will say so."""
        self._pcm.end()
        if not self._unflushed:
            return
        self._unflushed = False
        # Its last frame may be out already, where the sound failed to come for a while.
        out = True
        if self._utterances:
            last = self._utterances[-1]
            last.end(flushed=True)
            out = last is self._utterances[0] and self._is_over(last)
        self.owes_end = self.owes_end or out

    def take_owed_end(self) -> bool:
        """What :attr:`owes_end` says, once: whoever makes the next frame asks."""
        owed = self.owes_end
        self.owes_end = False
        return owed

    def forget(self) -> None:
        """Drop all sound; a face that speaks comes to rest from where it is."""
        self._utterances.clear()
        self._frame = 0
        self._shut = 0
        self._pcm.end()
        self._unflushed = False
        self.owes_end = False

    def next(self, block: int) -> Cue | None:
        """The next cue, of ``block`` frames where it is drawn; None until more is heard."""
        hearing = self._find_hearing(block)
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

        Sound that is being spoken and does not go on ends here, as if it had been flushed;
        an utterance that comes after it waits until its first block is heard.
        """
        if not self.speaking:
            return None
        hearing = self._find_hearing(block)
        if hearing is not None:
            hearing.end(flushed=False)
            return self.next(block)
        if self._utterances:
            return self._draw(self._utterances[0], block)
        silent = Hearing(self.settings)
        silent.end(flushed=False)
        return self._draw(silent, block, carried=False)

    def _find_hearing(self, block: int) -> Hearing | None:
        """The utterance that is next; one that is over gives way to the one after it.

        While the face speaks it does so once the next one's first block is heard: what
        eases it until then hears how it ended.
        """
        while self._utterances:
            if not self._is_over(self._utterances[0]):
                return self._utterances[0]
            if self.speaking and not (
                len(self._utterances) > 1 and self._utterances[1].is_heard(block - 1)
            ):
                return None
            self._utterances.popleft()
            self._frame = 0
        return None

    def _is_over(self, utterance: Hearing) -> bool:
        """Whether every frame of the first utterance is out."""
        count = utterance.count_frames()
        return count is not None and self._frame >= count

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
        owed = self.take_owed_end()
        spoken = SPEAKING if samples.size else EASING
        return CueFrame(
            samples,
            spoken if drawn else IDLE,
            hearing.cut_columns(frame) if drawn else None,
            end_of_utterance=owed or (hearing.flushed and count is not None and frame == count - 1),
        )
