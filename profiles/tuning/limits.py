"""What a choice may cost in quality, and which choice is best that keeps to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from echoexport.profiles.quality.mouth import CLOSED, FOLLOWS, SOUND
from echoexport.profiles.tuning.choices import TuningChoice
from echoexport.profiles.tuning.trials import ClipTrial
from echoexport.runtime.errors import SettingError

__all__ = [
    "ChoiceFigures",
    "TuningLimits",
    "choose_quickest",
    "find_broken_limits",
    "find_front",
    "summarize_choice",
]

_ALIKE = 0.03
"""Share of the speed within which two choices are as quick as each other: medians of a
few renderings differ by that much of themselves."""

_STILL = 1e-3  # levels from frame to frame; below, nothing moves


@dataclass(frozen=True)
class TuningLimits:
    """Against the reference's frames of the same clips; None for no limit."""

    ssim: float | None = 0.95
    """At least, mean over all frames."""
    psnr: float | None = None
    """dB, at least, mean over all frames."""
    flicker: float | None = 1.05
    """At most, change from frame to frame over that of the reference."""
    lipsync_loss: float | None = 0.02
    """At most, mean over clips: by how much less the mouth moves as the reference's
    does, and by how much less with the sound, whichever is more."""
    lipsync_worst: float | None = 0.06
    """At most, the same of the worst clip."""
    closed_loss: float | None = 0.02
    """At most, share of the silent frames in which the mouth is closed less often."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and not 0 <= value <= 100:
                raise SettingError(f"limit {item.name} {value:g}: a number from 0 to 100 is wanted")


@dataclass(frozen=True)
class ChoiceFigures:
    """A choice with what was measured of it over all clips."""

    choice: TuningChoice
    frames_per_second: float
    """Median over renderings."""
    first_frame: float
    """Seconds, median: networks open, the portrait known."""
    cpu_per_frame: float
    """Seconds of all threads, median."""
    psnr: float
    """dB, mean over clips."""
    psnr_worst: float
    """Of the worst frame."""
    ssim: float
    """Mean over clips."""
    ssim_worst: float
    """Of the worst frame."""
    flicker: float
    """Change from frame to frame outside the mouth, of all clips together, over that of
    the reference."""
    lipsync_loss: float | None
    """Mean over clips, see :class:`TuningLimits`; None where no mouth was measured."""
    lipsync_worst: float | None
    """Of the worst clip."""
    closed_loss: float | None
    """Mean over clips in which nobody speaks for a while; None for no such clip."""
    misses: tuple[str, ...]
    """Limits that it breaks, in words."""
    trials: tuple[ClipTrial, ...]
    """Clip by clip."""

    @property
    def holds(self) -> bool:
        """Whether it keeps all limits."""
        return not self.misses


def summarize_choice(
    choice: TuningChoice, trials: Sequence[ClipTrial], limits: TuningLimits
) -> ChoiceFigures:
    """All clips of a choice together, judged."""
    losses = [loss for trial in trials if (loss := _lose_lipsync(trial)) is not None]
    closed = [
        trial.reference_scores[CLOSED] - trial.scores[CLOSED]
        for trial in trials
        if CLOSED in trial.scores
    ]
    found = {
        "psnr": _mean([trial.psnr for trial in trials]),
        "ssim": _mean([trial.ssim for trial in trials]),
        "flicker": _compare_flicker(trials),
        "lipsync_loss": _mean(losses) if losses else None,
        "lipsync_worst": max(losses) if losses else None,
        "closed_loss": _mean(closed) if closed else None,
    }
    rounded = {name: None if value is None else round(value, 5) for name, value in found.items()}
    rates = [trial.frames / seconds for trial in trials for seconds in trial.seconds]
    spent = [seconds / trial.frames for trial in trials for seconds in trial.cpu]
    return ChoiceFigures(
        choice=choice,
        frames_per_second=round(float(np.median(rates)), 3),
        first_frame=round(float(np.median([one for trial in trials for one in trial.first])), 4),
        cpu_per_frame=round(float(np.median(spent)), 5),
        psnr_worst=min(trial.psnr_worst for trial in trials),
        ssim_worst=min(trial.ssim_worst for trial in trials),
        misses=find_broken_limits(rounded, limits),
        trials=tuple(trials),
        **rounded,  # type: ignore[arg-type]  # None where the field takes it
    )


def find_broken_limits(found: dict[str, float | None], limits: TuningLimits) -> tuple[str, ...]:
    """Each limit that a choice breaks, with its figure; one that was not measured breaks none."""
    words = {
        "ssim": "SSIM",
        "psnr": "PSNR",
        "flicker": "flicker",
        "lipsync_loss": "lip-sync loss",
        "lipsync_worst": "lip-sync loss of the worst clip",
        "closed_loss": "mouth less often closed in silence",
    }
    misses = []
    for name, told in words.items():
        limit = getattr(limits, name)
        value = found[name]
        if limit is None or value is None:
            continue
        at_least = name in ("ssim", "psnr")
        if (value < limit) if at_least else (value > limit):
            misses.append(f"{told} {value:.4g} {'<' if at_least else '>'} {limit:g}")
    return tuple(misses)


def choose_quickest(
    results: Sequence[ChoiceFigures], *, present: TuningChoice, among: Sequence[str]
) -> ChoiceFigures:
    """The quickest that keeps all limits, on the sides of these labels; else the present default.

    Of those that are as quick as each other the one whose frames are closest to the
    reference's is taken, and the present default where it is among them.
    """
    now = next(one for one in results if one.choice == present)
    held = [one for one in results if one.choice.side in among and one.holds]
    if not held:
        return now
    quickest = max(one.frames_per_second for one in held)
    alike = [one for one in held if one.frames_per_second >= quickest * (1 - _ALIKE)]
    return now if now in alike else max(alike, key=lambda one: (one.ssim, one.psnr))


def find_front(results: Sequence[ChoiceFigures]) -> list[ChoiceFigures]:
    """The Pareto front: those that no other beats in speed and PSNR both, the quickest first.

    One that equals another in both is left out.
    """
    front: list[ChoiceFigures] = []
    for one in sorted(results, key=lambda each: (-each.frames_per_second, -each.psnr)):
        if not front or one.psnr > front[-1].psnr:
            front.append(one)
    return front


def _compare_flicker(trials: Sequence[ClipTrial]) -> float:
    """Of all clips together: of one in which nothing moves, a ratio says nothing."""
    mine = sum(trial.flicker for trial in trials)
    theirs = sum(trial.reference_flicker for trial in trials)
    return 1.0 if max(mine, theirs) < _STILL else mine / max(theirs, _STILL)


def _lose_lipsync(trial: ClipTrial) -> float | None:
    """Nothing below 0: what moves better with the sound than the reference loses nothing."""
    found = []
    if FOLLOWS in trial.scores:
        found.append(trial.reference_scores[FOLLOWS] - trial.scores[FOLLOWS])
    if SOUND in trial.scores:
        found.append(trial.reference_scores[SOUND] - trial.scores[SOUND])
    return max(*found, 0.0) if found else None


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
