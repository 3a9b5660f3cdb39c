"""What a build is asked for, and a target's defaults for what it is not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from echoexport.runtime.contract.spec import PRECISIONS
from echoexport.runtime.errors import SettingError
from echoexport.targets.spec import TargetSpec

CHECKS = ("auto", "all", "none")
"""Which networks a build lets prove themselves: what fits 4 GB, everything, nothing."""


SMALL = ("int8", "auto")
"""Precisions that need a calibration set, and a choice network by network."""

CALIBRATED = ("fp16", *SMALL)
"""Precisions that take a calibration set or a plan."""


@dataclass(frozen=True)
class BuildSettings:
    """What a build is asked for; None takes the target's default."""

    variant: str = "acc"
    """Which of a checkpoint's models: "base", "acc", "pose" or "pose_acc"."""
    size: tuple[int, int] | None = None
    """(width, height) of the pictures in pixels."""
    frames: int | None = None
    """Length of a window."""
    precision: str | None = None
    """"fp32", "fp16", "int8", or "auto": the fastest of them on this machine."""
    steps: int | None = None
    """Default number of sampling steps of the bundle."""
    live_steps: int | None = None
    """The same of its live sessions, None for ``steps``."""
    traces: Path | None = None
    """Folder of the trace cache, None for none."""
    check: str = "auto"
    """Which networks prove themselves before the bundle is put in place, see
    :func:`echoexport.export.build.checks.check_bundle`."""
    calibration: Path | None = None
    """A set that ``echoexport calibrate`` recorded, for int8 and auto, and for fp16 to
    find what overflows."""
    quality: float = 35.0
    """For int8 and auto: PSNR in dB of final frames against fp32 that must be kept."""
    plan: Path | None = None
    """A plan to follow in place of making one, for int8, auto and fp16."""
    sensitivity: bool = False
    """Measure what each layer of the denoiser costs, even where all may be int8."""
    own_graphs: bool = True
    """Add graphs in the form that single backends run quickest."""
    live: bool = False
    """Add the two networks for live."""
    progress: Path | None = None
    """Folder where what was found is kept until the bundle is in place, None for none."""


def settle(settings: BuildSettings, *, target: TargetSpec) -> BuildSettings:
    """The settings with the target's defaults filled in.

    Raises:
        SettingError: a precision or a check that nobody knows.
        UnknownNameError: no such variant.
    """
    if settings.check not in CHECKS:
        raise SettingError(f"check {settings.check!r}; known: {', '.join(CHECKS)}")
    precision = settle_precision(settings, target=target)
    known = (*PRECISIONS, *SMALL)
    if precision not in known:
        raise SettingError(f"precision {precision!r}; known: {', '.join(known)}")
    if precision not in CALIBRATED:
        for name in ("calibration", "plan"):
            if getattr(settings, name) is not None:
                raise SettingError(
                    f"--{name} belongs to --precision fp16, int8 or auto, not to {precision}"
                )
    if not 0 < settings.quality <= 100:
        raise SettingError(f"quality {settings.quality:g} dB: above 0 and at most 100 is wanted")
    return replace(
        settings,
        precision=precision,
        size=settings.size or target.build.size,
        frames=target.build.frames if settings.frames is None else settings.frames,
        steps=target.build.steps_for(settings.variant)
        if settings.steps is None
        else settings.steps,
    )


def settle_precision(settings: BuildSettings, *, target: TargetSpec) -> str:
    """The precision asked for, else the target's own; whether it is known is not looked at."""
    return settings.precision or target.build.precision
