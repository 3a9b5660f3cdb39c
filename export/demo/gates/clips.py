"""Renders one held-out clip of one held-out person and measures it against the truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from echoexport.export.demo.gates.mouth import draw_person_frames, make_mouth_guide
from echoexport.export.demo.held_out import HELD_OUT_STATE_RATE, HeldOutClip
from echoexport.export.demo.world.geometry import eyes_mask, face_box, mouth_mask
from echoexport.export.demo.world.person import Person, draw_person, stack_people
from echoexport.export.demo.world.state import FaceState
from echoexport.profiles.quality.lipsync import best_lag, correlate, correlate_lags, is_constant
from echoexport.profiles.quality.motion import Drift, drift, flicker
from echoexport.profiles.quality.mouth import MouthGuide, mouth_closed, mouth_openness
from echoexport.profiles.quality.pictures import Mask, Match, compare_pictures, grow_mask
from echoexport.runtime.errors import InputError
from echoexport.runtime.inputs.portrait import MASK_MARGIN
from echoexport.runtime.inputs.voice import SAMPLE_RATE

__all__ = [
    "ClipResult",
    "GateCase",
    "Renderer",
    "find_silence",
    "join_clips",
    "measure_case",
    "measure_drift",
    "pair_up",
]

_Frames = NDArray[np.uint8]

Renderer = Callable[[_Frames, NDArray[np.uint8], NDArray[np.int16], int], _Frames]
"""From a portrait (H, W, 3), a face mask (H, W), samples at 16 kHz and a frame count to
frames (n, H, W, 3)."""

LONGEST_LAG = 8  # frames looked at either way
LEAST_SILENCE = 0.2  # seconds; a shorter closure belongs to a sound such as m
SILENT_BELOW = 0.02  # of the true openness
EDGE = 3  # pixels about mouth and eyes that their own edges may touch
# Frames between those compared with the portrait, which change little from one to the
# next.
PICTURE_EVERY = 5


@dataclass(frozen=True)
class ClipResult:
    """One clip's figures; see ``GATES`` for what becomes of them."""

    name: str
    """The clip's."""
    person: int
    """The seed of the one who says it."""
    voice: str
    """The speaker's espeak-ng name; empty for silence."""
    frames: int
    """So many were rendered."""
    seconds: float
    """That the rendering took."""
    correlation: float | None
    """Of the measured with the true openness; None where the mouth never opens."""
    truth_correlation: float | None
    """The same of the true frames, which says how good the measure is."""
    lag: int | None
    """Frames by which the measured openness is late, where it fits best; None as
    above."""
    lags: tuple[float, ...] | None
    """The correlation at each lag from -8 to 8 frames; None as above."""
    silent_frames: int
    """Frames in which the true mouth is closed for long enough."""
    closed_frames: int
    """Those of them in which the measured mouth is closed too."""
    picture: Match
    """The rendered frames against the portrait, outside mouth and eyes."""
    truth_picture: Match
    """The true frames against the portrait, outside mouth and eyes."""
    flicker: float
    """Change from frame to frame outside the mouth."""
    truth_flicker: float
    """The same of the true frames."""
    truth: tuple[float, ...]
    """The true openness, frame by frame."""
    measured: tuple[float, ...]
    """The measured openness, frame by frame."""


@dataclass(frozen=True, eq=False)
class GateCase:
    """A person who says a clip: what goes into the renderer, and what should come out of it."""

    person: Person
    clip: HeldOutClip
    frames: int
    fps: float
    size: int

    @cached_property
    def state(self) -> FaceState:
        """The truth, frame by frame."""
        return self.clip.face_states(self.fps, frames=self.frames)

    @cached_property
    def portrait(self) -> _Frames:
        """The person at rest (H, W, 3)."""
        portrait: _Frames = draw_person_frames(self.person, FaceState.rest(1), size=self.size)[0]
        return portrait

    @cached_property
    def truth(self) -> _Frames:
        """The frames as they should be (n, H, W, 3)."""
        return draw_person_frames(self.person, self.state, size=self.size)

    @cached_property
    def face(self) -> NDArray[np.uint8]:
        """Where the face may move (H, W).

        It is 255 in the face box grown by a tenth a side, as for any portrait.
        """
        x0, y0, x1, y1 = (
            float(edge)
            for edge in np.rint(face_box(stack_people([self.person]), size=self.size)[0])
        )
        across = MASK_MARGIN * (x1 - x0)
        down = MASK_MARGIN * (y1 - y0)
        mask = np.zeros((self.size, self.size), np.uint8)
        rows = slice(max(int(y0 - down), 0), max(int(y1 + down), 0))
        mask[rows, max(int(x0 - across), 0) : max(int(x1 + across), 0)] = 255
        return mask

    @cached_property
    def guide(self) -> MouthGuide:
        """What the person's mouth looks like."""
        return make_mouth_guide(self.person, size=self.size)

    @cached_property
    def beyond_mouth(self) -> Mask:
        """All but the mouth (H, W)."""
        return ~grow_mask(mouth_mask(stack_people([self.person]), size=self.size)[0], pixels=EDGE)

    @cached_property
    def still(self) -> Mask:
        """All but mouth and eyes (H, W)."""
        return self.beyond_mouth & ~grow_mask(
            eyes_mask(stack_people([self.person]), size=self.size)[0], pixels=EDGE
        )


def pair_up(
    clip: HeldOutClip, *, person: int, fps: float, size: int, seconds: float | None = None
) -> GateCase:
    """A case of a clip, cut to so many seconds, and the person of a seed."""
    frames = int(np.ceil(min(clip.seconds, seconds or clip.seconds) * fps - 1e-9))
    return GateCase(draw_person(person), clip, frames, fps, size)


def measure_case(case: GateCase, render: Renderer) -> tuple[ClipResult, _Frames]:
    """Render a case and measure it; the frames come along for whoever wants to look.

    Raises InputError where the renderer gives anything but uint8 frames, as many and as
    large as it was asked for.
    """
    start = time.perf_counter()
    frames = render_case(case, render)
    seconds = time.perf_counter() - start
    opened = np.asarray(case.state.openness, np.float64)
    measured = mouth_openness(frames, case.guide)
    ideal = mouth_openness(case.truth, case.guide)
    speaks = not is_constant(opened)
    silent = find_silence(opened, fps=case.fps)
    chosen = slice(None, None, PICTURE_EVERY)
    return ClipResult(
        name=case.clip.name,
        person=case.person.seed,
        voice=case.clip.voice,
        frames=case.frames,
        seconds=round(seconds, 3),
        correlation=correlate(opened, measured) if speaks else None,
        truth_correlation=correlate(opened, ideal) if speaks else None,
        lag=best_lag(opened, measured, most=LONGEST_LAG).frames if speaks else None,
        lags=_round(correlate_lags(opened, measured, most=LONGEST_LAG)) if speaks else None,
        silent_frames=int(silent.sum()),
        closed_frames=int((mouth_closed(measured) & silent).sum()),
        picture=compare_pictures(frames[chosen], case.portrait, case.still),
        truth_picture=compare_pictures(case.truth[chosen], case.portrait, case.still),
        flicker=flicker(frames, case.beyond_mouth),
        truth_flicker=flicker(case.truth, case.beyond_mouth),
        truth=_round(opened),
        measured=_round(measured),
    ), frames


def measure_drift(case: GateCase, render: Renderer) -> Drift:
    """The first and the last second of a long clip, outside mouth and eyes.

    Against the true frames of the same moments: a head that happens to nod in the last
    second is no drift.
    """
    span = min(round(case.fps), case.frames // 2)
    ends = np.r_[:span, case.frames - span : case.frames]
    frames = render_case(case, render)[ends]
    truth = draw_person_frames(case.person, case.state.take(ends), size=case.size)
    return drift(frames, truth, case.still, span=span)


def render_case(case: GateCase, render: Renderer) -> _Frames:
    """The renderer's frames, checked. Raises InputError where they are not what was asked for."""
    samples = case.clip.samples[: round(case.frames / case.fps * SAMPLE_RATE)]
    frames = np.asarray(render(case.portrait, case.face, samples, case.frames))
    wanted = (case.frames, case.size, case.size, 3)
    if frames.shape != wanted or frames.dtype != np.uint8:
        raise InputError(
            f"{case.clip.name}: the renderer gave {frames.dtype} {frames.shape}; wanted uint8 "
            f"{wanted}"
        )
    return frames


def join_clips(
    clips: Sequence[HeldOutClip], *, seconds: float, name: str = "joined"
) -> HeldOutClip:
    """Clips one after the other, again from the first if need be, until they last so long.

    Each is cut to whole rows of states, so that sound and mouth stay together. Raises
    InputError for no clips.
    """
    if not clips:
        raise InputError("no clips to join: give one or more")
    samples = []
    states = []
    total = 0.0
    while total < seconds:
        for clip in clips:
            rows = min(int(clip.seconds * HELD_OUT_STATE_RATE), len(clip.states))
            samples.append(clip.samples[: rows * SAMPLE_RATE // HELD_OUT_STATE_RATE])
            states.append(clip.states[:rows])
            total += rows / HELD_OUT_STATE_RATE
    count = round(seconds * SAMPLE_RATE)
    return HeldOutClip(
        name, clips[0].voice, "", np.concatenate(samples)[:count], np.concatenate(states)
    )


def find_silence(openness: NDArray[np.float64], *, fps: float) -> NDArray[np.bool_]:
    """The frames (n,) in which the true mouth is closed for 0.2 s or longer on end."""
    closed = openness < SILENT_BELOW
    edges = np.flatnonzero(np.diff(np.r_[False, closed, False].astype(np.int8)))
    silent = np.zeros(len(openness), bool)
    for start, end in edges.reshape(-1, 2):
        silent[start:end] = (end - start) / fps >= LEAST_SILENCE
    return silent


def _round(curve: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in curve)
