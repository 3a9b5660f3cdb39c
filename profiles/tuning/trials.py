"""A clip rendered in one way: how close it is to the reference, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from echoexport.profiles.quality.clips import ComparisonClip, Frames
from echoexport.profiles.quality.motion import flicker
from echoexport.profiles.quality.pictures import psnr, ssim
from echoexport.profiles.tuning.choices import TuningChoice
from echoexport.profiles.tuning.mouth_region import MouthRegion, find_mouth_region
from echoexport.runtime.errors import BackendError
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.rendering.settings import RenderSettings

__all__ = ["ClipTrial", "TimedFrames", "measure_trial", "render_timed"]


@dataclass(frozen=True, eq=False)
class TimedFrames:
    """A clip's frames (n, H, W, 3), and the seconds that they took."""

    frames: Frames
    seconds: float
    """Wall clock, from the start of the clip to its last frame."""
    first: float
    """Wall clock, to its first frame."""
    cpu: float
    """Of all of this process's threads together."""


@dataclass(frozen=True)
class ClipTrial:
    """One clip rendered in one way, against the reference's frames of it."""

    clip: str
    """Its name."""
    frames: int
    """How many were rendered."""
    psnr: float
    """dB, mean over frames; at most 60, which is equal."""
    psnr_worst: float
    """Of the worst frame."""
    ssim: float
    """Mean over frames."""
    ssim_worst: float
    """Of the worst frame."""
    flicker: float
    """Change from frame to frame outside the mouth, in levels."""
    reference_flicker: float
    """The same of the reference's frames."""
    scores: Mapping[str, float]
    """What the clip is scored by, by name."""
    reference_scores: Mapping[str, float]
    """The same of the reference's frames."""
    seconds: tuple[float, ...]
    """Wall clock of each time that it was rendered."""
    first: tuple[float, ...]
    """Wall clock to the first frame, each time."""
    cpu: tuple[float, ...]
    """Seconds of all threads, each time."""


def render_timed(
    session: Session, clip: ComparisonClip, choice: TuningChoice, how: RenderSettings
) -> TimedFrames:
    """Render a clip, the networks open.

    Raises:
        BackendError: an engine fails, or gives latents that are NaN or infinite.
    """
    settings = replace(how, frames=clip.frames, steps=choice.steps, overlap=choice.overlap)
    cpu = time.process_time()
    start = time.perf_counter()
    first = 0.0
    frames: list[Frames] = []
    rendering = session.start(clip.inputs, settings)
    for frame in rendering:
        if not frames:
            first = time.perf_counter() - start
        frames.append(frame)
    seconds = time.perf_counter() - start
    spent = time.process_time() - cpu
    if not np.isfinite(rendering.latents).all():
        raise BackendError(
            f"{session.bundle.folder.name}: clip {clip.name!r} with {choice.describe()} ends in "
            "latents that are NaN or infinite: its denoiser overflows"
        )
    return TimedFrames(np.stack(frames), seconds, first, spent)


def measure_trial(clip: ComparisonClip, reference: Frames, found: list[TimedFrames]) -> ClipTrial:
    """The first rendering against the reference's frames (n, H, W, 3); all of them timed."""
    frames = found[0].frames
    decibels = psnr(frames, reference)
    likeness = ssim(frames, reference)
    score = clip.score or (lambda one, other: {})
    return ClipTrial(
        clip=clip.name,
        frames=len(frames),
        psnr=round(float(decibels.mean()), 3),
        psnr_worst=round(float(decibels.min()), 3),
        ssim=round(float(likeness.mean()), 5),
        ssim_worst=round(float(likeness.min()), 5),
        flicker=round(measure_flicker(clip, frames), 5),
        reference_flicker=round(measure_flicker(clip, reference), 5),
        scores=_round(score(frames, reference)),
        reference_scores=_round(score(reference, reference)),
        seconds=tuple(round(one.seconds, 4) for one in found),
        first=tuple(round(one.first, 4) for one in found),
        cpu=tuple(round(one.cpu, 4) for one in found),
    )


def measure_flicker(clip: ComparisonClip, frames: Frames) -> float:
    """Change from frame to frame outside the mouth, in levels; 0 for a clip of one frame.

    It is over the whole picture where nobody knows where the mouth is.
    """
    if len(frames) < 2:
        return 0.0
    region = None if clip.inputs.mask is None else find_mouth_region(clip.inputs.mask)
    return flicker(frames, None if region is None else _beyond(region, frames))


def _beyond(region: MouthRegion, frames: Frames) -> NDArray[np.bool_]:
    mask = np.ones(frames.shape[1:3], dtype=np.bool_)
    mask[region.rows, region.columns] = False
    return mask


def _round(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: round(float(value), 5) for name, value in scores.items()}
