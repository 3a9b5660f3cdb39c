"""What a rendering is asked for, checked and settled against a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.conditioning.audio_tokens import original_frame_count
from echoexport.runtime.conditioning.voice_features import count_columns
from echoexport.runtime.contract.noise_schedule import is_whole
from echoexport.runtime.errors import SettingError
from echoexport.runtime.inputs.rates import Rate, covering_frame_count, exact_rate
from echoexport.runtime.inputs.voice import Voice
from echoexport.runtime.sampling.ddim import DDIMScheduler
from echoexport.runtime.sampling.sampler import SamplingSettings

FRAME_COUNTS = ("cover", "original")


@dataclass(frozen=True)
class RenderSettings:
    """How to render; None takes the bundle's own default."""

    fps: Rate | None = None
    """Frames a second."""
    steps: int | None = None
    """Of the sampling loop."""
    guidance: float | None = None
    """Above 1, each window costs a second, unconditional call."""
    overlap: int | None = None
    """Frames that neighbouring windows share."""
    frames: int | None = None
    """At most so many, fewer where the voice ends before."""
    frame_count: str = "cover"
    """"cover" gives ceil(duration * fps), "original" the original's slightly larger
    count."""
    seed: int = 0
    """Of the initial noise, 0 to 2**64 - 1."""
    hold: int | None = None
    """Levels of 255 up to which a pixel's change is not shown."""


@dataclass(frozen=True)
class RenderInputs:
    """What to render, at the bundle's size."""

    picture: NDArray[np.uint8]
    """(H, W, 3) uint8 RGB."""
    voice: Voice
    """What is said."""
    mask: NDArray[np.uint8] | None = None
    """(H, W) uint8, for bundles whose drive is a mask."""
    poses: Sequence[NDArray[np.float32]] | Any = None
    """One (3, H, W) float32 map in [0, 1] for each frame, for bundles that poses
    drive; any sequence will do, and it is read map by map."""
    noise: NDArray[np.float32] | None = None
    """Initial latents (1, 4, frames, h, w) in place of seeded ones, used as they are."""


def settle_sampling(bundle: Bundle, settings: RenderSettings) -> SamplingSettings:
    """The run's numbers, the bundle's defaults filled in.

    Raises:
        SettingError: guidance is not a number from 0 up, the overlap does not fit the
            window, or there is no schedule of so many steps.
    """
    manifest = bundle.manifest
    guidance = manifest.sampler.guidance if settings.guidance is None else settings.guidance
    if (
        isinstance(guidance, bool)
        or not isinstance(guidance, (int, float))
        or not 0 <= guidance <= 100
    ):
        raise SettingError(
            f"guidance {guidance!r}: a number from 0 to 100 is wanted; 1 or less is off"
        )
    overlap = manifest.window.overlap if settings.overlap is None else settings.overlap
    if not is_whole(overlap) or not 0 <= overlap < manifest.window.frames:
        raise SettingError(
            f"overlap {overlap!r}: 0 to {manifest.window.frames - 1} frames fit this bundle's "
            "window"
        )
    steps = manifest.sampler.steps if settings.steps is None else settings.steps
    # refused now, not after the voice is encoded
    DDIMScheduler(manifest.sampler.scheduler).timesteps(steps)
    return SamplingSettings(steps, float(guidance), overlap)


def settle_hold(bundle: Bundle, settings: RenderSettings) -> int:
    """How many levels a pixel may change by without the change being shown.

    Raises:
        SettingError: not a whole number from 0 to 255.
    """
    hold = bundle.manifest.picture.hold if settings.hold is None else settings.hold
    if not is_whole(hold) or not 0 <= hold <= 255:
        raise SettingError(f"hold {hold!r}: 0 to 255 levels are wanted; 0 shows every change")
    return hold


def count_heard_columns(bundle: Bundle, settings: RenderSettings) -> int | None:
    """Mel columns that the frames asked for can hear; None for all of the voice."""
    frames = settings.frames
    if frames is None or not is_whole(frames) or frames < 1:
        return None
    fps = exact_rate(bundle.manifest.fps if settings.fps is None else settings.fps)
    return count_columns(frames, fps, context=bundle.manifest.audio.context)


def count_frames(settings: RenderSettings, voice: Voice, *, rows: int, fps: Fraction) -> int:
    """How many frames to render.

    Raises:
        SettingError: fewer than one is asked for, or a way of counting that nobody
            knows.
    """
    if settings.frame_count not in FRAME_COUNTS:
        raise SettingError(
            f"frame count {settings.frame_count!r}; known: {', '.join(FRAME_COUNTS)}"
        )
    if settings.frame_count == "original":
        count = original_frame_count(rows, fps)
    else:
        count = covering_frame_count(voice.duration, fps)
    if settings.frames is None:
        return count
    if not is_whole(settings.frames) or settings.frames < 1:
        raise SettingError(f"frames {settings.frames!r}: a whole number from 1 on is wanted")
    return min(settings.frames, count)
