"""Clips that two bundles are compared on: rendered, measured, scored and drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from echoexport.profiles.quality.networks import is_large
from echoexport.profiles.quality.pictures import psnr, ssim
from echoexport.profiles.quality.report import ClipQuality, Score, Strip
from echoexport.profiles.quality.signals import measure_closeness
from echoexport.profiles.quality.strips import (
    StripSettings,
    choose_frames,
    draw_closely,
    draw_strip,
)
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.errors import BackendError, InputError
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.rendering.settings import RenderInputs, RenderSettings

__all__ = [
    "ComparisonClip",
    "Rendered",
    "ScoreFrames",
    "check_clips",
    "draw_clip",
    "measure_clip",
    "pair_scores",
    "render_clip",
]

Frames = NDArray[np.uint8]

ScoreFrames = Callable[[Frames, Frames], Mapping[str, float]]
"""Gives figures of a clip's frames (n, H, W, 3), higher is better. Second come the
reference's frames of the same clip."""


@dataclass(frozen=True, eq=False)
class ComparisonClip:
    """What both bundles render."""

    name: str
    inputs: RenderInputs
    """At the bundles' size."""
    frames: int | None = None
    """At most; None takes all that the voice lasts."""
    score: ScoreFrames | None = None
    """Asked once for the reference's frames, against themselves, and once for the
    candidate's."""


def check_clips(clips: Sequence[ComparisonClip]) -> None:
    """Refuse what cannot be compared on.

    Raises:
        InputError: no clips, or two of one name.
    """
    names = [clip.name for clip in clips]
    if not names:
        raise InputError("no clips to compare bundles on: give one or more")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two clips are called {twice[0]!r}: give each a name of its own")


@dataclass(frozen=True, eq=False)
class Rendered:
    """A clip in one bundle: final latents (1, 4, n, h, w), and frames (n, H, W, 3)."""

    latents: NDArray[np.float32]
    frames: Frames


def render_clip(bundle: Bundle, clip: ComparisonClip, how: RenderSettings) -> Rendered:
    """Render and decode a clip; ``how`` is the same for every bundle.

    Raises:
        BackendError: the latents are NaN or infinite.
    """
    rendering = Session(bundle, frugal=is_large(bundle)).render(
        clip.inputs, replace(how, frames=clip.frames)
    )
    latents = rendering.latents
    if not np.isfinite(latents).all():
        raise BackendError(
            f"{bundle.folder.name}: clip {clip.name!r} ends in latents that are NaN or "
            "infinite: its denoiser overflows"
        )
    frames = [rendering.decode(latents[:, :, index]) for index in range(rendering.frames)]
    return Rendered(latents, np.stack(frames))


def measure_clip(clip: ComparisonClip, reference: Rendered, candidate: Rendered) -> ClipQuality:
    """How close the candidate's latents and frames are to the reference's."""
    decibels = psnr(candidate.frames, reference.frames)
    likeness = ssim(candidate.frames, reference.frames)
    return ClipQuality(
        name=clip.name,
        frames=len(reference.frames),
        latents=measure_closeness(candidate.latents, reference.latents),
        psnr=round(float(decibels.mean()), 3),
        psnr_worst=round(float(decibels.min()), 3),
        worst_frame=int(decibels.argmin()),
        ssim=round(float(likeness.mean()), 5),
        ssim_worst=round(float(likeness.min()), 5),
        scores=_score(clip, reference.frames, candidate.frames),
        psnr_frames=tuple(round(float(value), 2) for value in decibels),
    )


def _score(clip: ComparisonClip, reference: Frames, candidate: Frames) -> tuple[Score, ...]:
    if clip.score is None:
        return ()
    own = clip.score(reference, reference)
    other = clip.score(candidate, reference)
    if own.keys() != other.keys():
        raise InputError(
            f"clip {clip.name!r}: its score gave {', '.join(own)} and then {', '.join(other)}"
        )
    return tuple(pair_scores(name, float(own[name]), float(other[name])) for name in own)


def pair_scores(name: str, reference: float, candidate: float) -> Score:
    """A score of both, rounded to what is worth writing down."""
    return Score(name, round(reference, 5), round(candidate, 5), round(candidate - reference, 5))


def draw_clip(
    result: ClipQuality,
    frames: Mapping[str, Frames],
    *,
    settings: StripSettings,
    closely: bool,
) -> Iterator[Strip]:
    """A strip of every label's frames, and with ``closely`` one of the worst frame, large."""
    numbers = choose_frames(result.frames, wanted=settings.frames)
    yield draw_strip(result.name, frames, numbers=numbers, settings=settings)
    if closely:
        title = f"{result.name}, frame {result.worst_frame}: its worst"
        yield draw_closely(title, frames, number=result.worst_frame, settings=settings)
