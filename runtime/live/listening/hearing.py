"""What is heard of one utterance: its sound, its mel columns, and which frames can be drawn."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.conditioning.audio_tokens import ROWS_PER_SECOND
from echoexport.runtime.conditioning.mel import HOP, N_FFT
from echoexport.runtime.inputs.voice import SAMPLE_RATE
from echoexport.runtime.live.frames import count_frame_samples, find_first_sample
from echoexport.runtime.live.listening.mel_columns import QUIET, MelColumns
from echoexport.runtime.live.listening.sliding_array import SlidingArray
from echoexport.runtime.live.listening.sound_stream import StreamResampler

HEARD_COLUMNS = 451
"""The live audio encoder's: 4.5 s, and the column that its last row reads beyond its own."""

BEYOND = 12
"""Mel columns after a frame's centre that its tokens depend on: row c+5 reads to 2c+12."""

LOOK_AHEAD = Fraction(BEYOND * HOP + N_FFT // 2, SAMPLE_RATE)
"""Seconds of sound after a frame's beginning that its tokens depend on: 132.5 ms."""


@dataclass(frozen=True)
class HearingSettings:
    """How a session listens."""

    fps: Fraction
    """Frames a second."""
    mels: int
    """Channels of the log-mel."""
    sample_rate: int
    """Of the samples that go with the frames."""
    quiet_below: float
    """Log10 of power in the loudest mel channel below which a column is silence."""


class Hearing:
    """One utterance, from its first chunk to its end.

    Frames are counted from the utterance's first sample. Nothing depends on how the
    sound was cut into chunks. Before the sound lies silence, and after its end too.
    """

    def __init__(self, settings: HearingSettings) -> None:
        self.settings = settings
        self.ended = False
        """No more sound comes."""
        self.flushed = False
        """Whoever speaks said so; else the sound only failed to come."""
        self._to_ears = StreamResampler(SAMPLE_RATE)
        self._to_viewers = StreamResampler(settings.sample_rate)
        self._mel = MelColumns(settings.mels)
        self._samples = SlidingArray(())

    @property
    def seconds(self) -> Fraction:
        """Of sound that has come, to be heard with frames."""
        return Fraction(self._samples.stop, self.settings.sample_rate)

    def hear(self, samples: NDArray[np.float32], rate: int) -> None:
        """Take a chunk, (n,) in [-1, 1]."""
        self._mel.hear(self._to_ears.convert(samples, rate))
        self._samples.append(self._to_viewers.convert(samples, rate))

    def end(self, *, flushed: bool) -> None:
        """No more sound comes; what lies after it is silence. ``flushed``: it was said so."""
        self.flushed = self.flushed or flushed
        if self.ended:
            return
        self.ended = True
        self._mel.hear(self._to_ears.end())
        self._samples.append(self._to_viewers.end())
        # columns that hear the last samples and the silence after them
        self._mel.hear(np.zeros(N_FFT + HOP, np.float32))

    def count_frames(self) -> int | None:
        """Frames that carry sound, once it has ended: as many as cover it. None before."""
        if not self.ended:
            return None
        rate = self.settings.sample_rate
        fps = self.settings.fps
        count = self._samples.stop * fps.numerator // (rate * fps.denominator)
        while find_first_sample(count, rate, fps) < self._samples.stop:
            count += 1
        return count

    def is_heard(self, frame: int) -> bool:
        """Whether all the sound is there that a frame's tokens, samples and silence depend on."""
        if self.ended:
            return True
        known = len(self._mel) > _last_column(frame, self.settings.fps)
        return known and self.knows_quiet(frame) and self.has_samples(frame)

    def has_samples(self, frame: int) -> bool:
        """Whether all samples that go with a frame are there."""
        settings = self.settings
        shown = find_first_sample(frame + 1, settings.sample_rate, settings.fps)
        return self.ended or shown <= self._samples.stop

    def knows_quiet(self, frame: int) -> bool:
        """Whether enough is heard to say if a frame is silent."""
        return self.ended or len(self._mel) >= _column_of(frame + 1, self.settings.fps)

    def is_quiet(self, frame: int) -> bool:
        """Whether nobody speaks while a frame is shown. Ask once :meth:`knows_quiet`."""
        stop = min(_column_of(frame + 1, self.settings.fps), len(self._mel))
        start = min(_column_of(frame, self.settings.fps), stop)
        loudness = self._mel.loudness.cut(start, stop)
        return bool((loudness < self.settings.quiet_below).all())

    def cut_columns(self, frame: int) -> NDArray[np.float32]:
        """The mel columns that a frame's tokens are encoded from, (mels, columns).

        They begin with the sound, and are the last ``HEARD_COLUMNS`` once there are more.
        """
        stop = _last_column(frame, self.settings.fps) + 1
        start = max(0, stop - HEARD_COLUMNS)
        window = np.full((stop - start, self.settings.mels), QUIET, np.float32)
        known = min(stop, len(self._mel))
        if start < known:
            window[: known - start] = self._mel.columns.cut(start, known)
        return np.ascontiguousarray(window.T)

    def cut_samples(self, frame: int) -> NDArray[np.float32]:
        """A frame's own samples, silence after the last; (0,) beyond the sound's last frame."""
        rate = self.settings.sample_rate
        start = find_first_sample(frame, rate, self.settings.fps)
        held = self._samples.cut(
            min(start, self._samples.stop),
            min(find_first_sample(frame + 1, rate, self.settings.fps), self._samples.stop),
        )
        if not held.size:
            return np.zeros(0, np.float32)
        samples = np.zeros(count_frame_samples(frame, rate, self.settings.fps), np.float32)
        samples[: held.size] = held
        return samples

    def forget(self, frame: int) -> None:
        """Frames before this one are done with."""
        fps = self.settings.fps
        oldest = max(0, _last_column(frame, fps) + 1 - HEARD_COLUMNS)
        self._mel.columns.forget(oldest)
        self._mel.loudness.forget(oldest)
        self._samples.forget(find_first_sample(frame, self.settings.sample_rate, fps))


def _last_column(frame: int, fps: Fraction) -> int:
    """The last mel column that a frame's tokens depend on."""
    return 2 * int(frame * ROWS_PER_SECOND / fps) + BEYOND


def _column_of(frame: int, fps: Fraction) -> int:
    """The first mel column centred within a frame or after it."""
    return -(-frame * 2 * ROWS_PER_SECOND * fps.denominator // fps.numerator)
