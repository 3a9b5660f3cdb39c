"""What bench_live_quality measures of each clip, and what becomes of all clips together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoexport.export.demo.gates.clips import LONGEST_LAG, GateCase, find_silence
from echoexport.profiles.quality.lipsync import (
    best_lag,
    correlate,
    correlate_lags,
    is_constant,
)
from echoexport.profiles.quality.motion import flicker
from echoexport.profiles.quality.mouth import mouth_closed, mouth_openness
from echoexport.profiles.quality.pictures import Match, psnr, ssim
from echoexport.profiles.quality.seams import SeamChanges, compare_seams, split_changes

OFFLINE = "offline"
"""Name of the clips that all others are measured against."""

GATES = {
    "loss": 0.02,
    "loss_worst": 0.06,
    "loss_default": 0.02,
    "loss_default_worst": 0.06,
    "lag": 0,
    "closed": 0.95,
    "seam_mouth": 1.1,
    "seam_outside": 1.2,
    "flicker": 1.05,
}
"""What a mode of a session must keep: at most so much, of ``closed`` at least."""

_Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class ClipFigures:
    """One clip drawn in one way."""

    clip: str
    way: str
    """``OFFLINE`` or a candidate's name."""
    steps: int
    frames: int
    calls: int
    """Of the denoiser."""
    correlation: float | None
    """Of the mouth's openness with the truth; None where nobody speaks."""
    lags: tuple[float, ...] | None
    """The same at each lag from -8 to 8 frames."""
    lag: int | None
    """Frames by which the mouth is late, where it fits best."""
    silent_frames: int
    """In which the true mouth is closed for 0.2 s or longer."""
    closed_frames: int
    """Of these, with a closed mouth."""
    flicker: float
    """Change from frame to frame outside the mouth, in levels."""
    mouth: SeamChanges | None = None
    """Changes in the mouth where blocks begin and elsewhere; None of ``OFFLINE``."""
    mouth_reference: SeamChanges | None = None
    """Of the offline frames at the same places."""
    outside: SeamChanges | None = None
    """Changes outside the mouth, as above."""
    outside_reference: SeamChanges | None = None
    """Of the offline frames, as above."""
    psnr: float | None = None
    """Against the offline frames of as many steps, dB, mean."""
    psnr_worst: float | None = None
    """The same of the frame that is least like them."""
    ssim: float | None = None
    """Against the same, mean."""

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from all others of a run."""
        return (self.clip, self.way, self.steps)


def measure_offline(case: GateCase, frames: _Frames, *, steps: int, calls: int) -> ClipFigures:
    """What can be said of a clip alone."""
    opened = np.asarray(case.state.openness, np.float64)
    measured = mouth_openness(frames, case.guide)
    speaks = not is_constant(opened)
    silent = find_silence(opened, fps=case.fps)
    lags = correlate_lags(opened, measured, most=LONGEST_LAG) if speaks else None
    return ClipFigures(
        clip=case.clip.name,
        way=OFFLINE,
        steps=steps,
        frames=len(frames),
        calls=calls,
        correlation=round(correlate(opened, measured), 5) if speaks else None,
        lags=None if lags is None else tuple(round(float(lag), 4) for lag in lags),
        lag=best_lag(opened, measured, most=LONGEST_LAG).frames if speaks else None,
        silent_frames=int(silent.sum()),
        closed_frames=int((mouth_closed(measured) & silent).sum()),
        flicker=flicker(frames, case.beyond_mouth),
    )


def measure_candidate(
    case: GateCase,
    frames: _Frames,
    reference: _Frames,
    *,
    about: tuple[str, int],
    starts: Sequence[int],
    calls: int,
) -> ClipFigures:
    """A clip against the offline frames ``reference``; ``about`` is its way and steps."""
    alone = measure_offline(case, frames, steps=about[1], calls=calls)
    beyond = case.beyond_mouth
    decibels = psnr(frames, reference)
    against = {
        "way": about[0],
        "mouth": split_changes(frames, starts, ~beyond),
        "mouth_reference": split_changes(reference, starts, ~beyond),
        "outside": split_changes(frames, starts, beyond),
        "outside_reference": split_changes(reference, starts, beyond),
        "psnr": round(float(decibels.mean()), 3),
        "psnr_worst": round(float(decibels.min()), 3),
        "ssim": round(float(ssim(frames, reference).mean()), 5),
    }
    return ClipFigures(**{**vars(alone), **against})


@dataclass(frozen=True)
class DriftFigures:
    """A joined clip's first and last 10 s against the true frames, outside mouth and eyes."""

    way: str
    steps: int
    seconds: float
    """Of the whole clip."""
    first: Match
    last: Match


@dataclass(frozen=True)
class WayFigures:
    """One way of drawing, all clips together. A loss is the offline r less this one's."""

    way: str
    steps: int
    clips: int
    correlation: float
    """Mean over the clips that speak."""
    correlation_worst: float
    """Of the worst clip."""
    loss: float
    """Against offline at as many steps: mean."""
    loss_worst: float
    """The clip that loses most."""
    worst_clip: str
    """Which that is."""
    loss_default: float
    """Against offline at the bundle's own steps: mean."""
    loss_default_worst: float
    """The same, the clip that loses most."""
    lag: int
    """Frames either way, where all clips together fit best."""
    late_clips: int
    """Clips whose own best lag is another than offline's."""
    closed: float
    """Share of silent frames with a closed mouth."""
    flicker: float
    """Over offline's at as many steps."""
    calls: float
    """Of the denoiser, for each frame."""
    delay: float | None
    """Milliseconds, by the algorithm alone; None of a whole clip."""
    missed: tuple[str, ...]
    """Names of ``GATES`` that are not kept."""
    psnr: float | None
    """Against the offline frames of as many steps, dB, mean; None of those themselves."""
    psnr_worst: float | None
    """The same of the frame that is least like them."""
    ssim: float | None
    """Against the same, mean."""
    seam_mouth: float | None = None
    """See :func:`compare_seams`; None of whole clips."""
    seam_outside: float | None = None
    """The same outside the mouth."""


def sum_up(
    clips: Sequence[ClipFigures],
    offline: Mapping[str, ClipFigures],
    default: Mapping[str, ClipFigures],
    *,
    delay: float | None,
) -> WayFigures:
    """All clips of one way and number of steps, of which one speaks at least.

    ``offline`` and ``default`` are the offline clips by name, at as many steps and at the
    bundle's own.
    """
    speaking = [clip for clip in clips if clip.correlation is not None]
    losses = _find_losses(speaking, offline)
    values = {
        "correlation": float(np.mean([clip.correlation for clip in speaking])),
        "correlation_worst": min(clip.correlation or 0.0 for clip in speaking),
        **_name_losses("loss", losses),
        **_name_losses("loss_default", _find_losses(speaking, default)),
        "closed": sum(c.closed_frames for c in clips) / max(sum(c.silent_frames for c in clips), 1),
        "flicker": sum(c.flicker for c in clips) / sum(offline[c.clip].flicker for c in clips),
        **_compare_all_seams(clips),
        "calls": sum(clip.calls for clip in clips) / sum(clip.frames for clip in clips),
    }
    lag = abs(_find_lag(speaking))
    judged = {**values, "lag": lag}
    return WayFigures(
        way=clips[0].way,
        steps=clips[0].steps,
        clips=len(clips),
        worst_clip=max(losses, key=lambda name: losses[name]),
        lag=lag,
        late_clips=sum(clip.lag != offline[clip.clip].lag for clip in speaking),
        psnr=_mean([clip.psnr for clip in clips]),
        psnr_worst=_least([clip.psnr_worst for clip in clips]),
        ssim=_mean([clip.ssim for clip in clips]),
        delay=None if delay is None else round(delay, 1),
        missed=tuple(name for name in GATES if not _keeps_gate(name, judged.get(name))),
        **{name: round(value, 4) for name, value in values.items()},
    )


def _keeps_gate(name: str, value: float | None) -> bool:
    if value is None:  # offline has no seams
        return True
    return value >= GATES[name] if name == "closed" else value <= GATES[name]


def _find_losses(
    speaking: Sequence[ClipFigures], reference: Mapping[str, ClipFigures]
) -> dict[str, float]:
    return {
        clip.clip: (reference[clip.clip].correlation or 0.0) - (clip.correlation or 0.0)
        for clip in speaking
    }


def _name_losses(name: str, losses: Mapping[str, float]) -> dict[str, float]:
    return {name: float(np.mean(list(losses.values()))), f"{name}_worst": max(losses.values())}


def _find_lag(speaking: Sequence[ClipFigures]) -> int:
    together = np.mean([clip.lags or (0.0,) for clip in speaking], axis=0)
    return int(together.argmax()) - LONGEST_LAG


def _compare_all_seams(clips: Sequence[ClipFigures]) -> dict[str, float]:
    if clips[0].way == OFFLINE:
        return {}
    return {
        f"seam_{where}": compare_seams(
            [getattr(clip, where) for clip in clips],
            [getattr(clip, f"{where}_reference") for clip in clips],
        )
        for where in ("mouth", "outside")
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None


def _least(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(min(known), 2) if known else None
