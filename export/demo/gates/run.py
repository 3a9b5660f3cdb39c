"""Runs the gates: held-out people say held-out sentences, and every figure is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoexport.export.demo.gates.clips import (
    ClipResult,
    GateCase,
    Renderer,
    join_clips,
    measure_case,
    measure_drift,
    pair_up,
)
from echoexport.export.demo.gates.table import GateLine, judge
from echoexport.export.demo.held_out import HeldOutClip
from echoexport.profiles.measuring.circumstances import Circumstances, describe_circumstances
from echoexport.profiles.quality.motion import Drift
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.spec import describe_arithmetic
from echoexport.runtime.errors import InputError, SettingError
from echoexport.runtime.inputs.voice import voice_from_samples
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.rendering.settings import RenderInputs, RenderSettings

__all__ = [
    "GateReport",
    "GateSettings",
    "format_report",
    "identify_bundle",
    "list_cases",
    "render_with",
    "run_gates",
]

OnClip = Callable[[ClipResult, NDArray[np.uint8], GateCase], None]
"""Told of every clip that was measured: its figures, the frames, and what they should be."""


@dataclass(frozen=True)
class GateSettings:
    """What is run."""

    clips: int = 40
    """That speak, each by a person of its own; silent ones come on top."""
    silent: int = 3
    """Clips in which nobody speaks."""
    seconds: float | None = None
    """Of a clip at most."""
    steps: int | None = 6
    """Of the sampler, None for the bundle's."""
    fps: float = 25.0
    """Frames a second."""
    seed: int = 0
    """Of the sampler's noise."""
    first_person: int = 1_000_000
    """Seed of the first one; training stays below a million."""
    drift_seconds: float = 60.0
    """Length of the long clip, 0 for none."""
    size: int = 128
    """Of the frames."""

    def __post_init__(self) -> None:
        if self.clips < 2 or self.silent < 0 or self.drift_seconds < 0:
            raise SettingError(
                f"{self.clips} speaking and {self.silent} silent clips, {self.drift_seconds} "
                "s: give two speaking ones "
                "or more, and nothing below 0"
            )


@dataclass(frozen=True)
class GateReport:
    """All figures with their circumstances."""

    passed: bool
    lines: tuple[GateLine, ...]
    settings: GateSettings
    bundle: Mapping[str, str]
    """Which one, in words; empty for another renderer."""
    conditions: Circumstances
    clips: tuple[ClipResult, ...]
    drift: Drift | None


def run_gates(
    render: Renderer,
    held_out: Sequence[HeldOutClip],
    *,
    settings: GateSettings | None = None,
    known: Iterable[ClipResult] = (),
    on_clip: OnClip | None = None,
    bundle: Mapping[str, str] | None = None,
) -> GateReport:
    """Render and measure every case, then judge.

    ``known`` are results of a run that was cut short, which are not rendered again;
    ``on_clip`` gets each new one.
    Raises InputError for too few held-out clips, or frames that are not what was asked
    for.
    """
    settings = settings or GateSettings()
    earlier = {(result.name, result.person): result for result in known}
    results = []
    for case in list_cases(held_out, settings):
        result = earlier.get((case.clip.name, case.person.seed))
        if result is None:
            result, frames = measure_case(case, render)
            if on_clip is not None:
                on_clip(result, frames, case)
        results.append(result)
    drift = (
        measure_drift(_find_long_case(held_out, settings), render)
        if settings.drift_seconds
        else None
    )
    lines = judge(results, drift)
    passed = all(line.passed for line in lines)
    return GateReport(
        passed, lines, settings, bundle or {}, describe_circumstances(), tuple(results), drift
    )


def list_cases(held_out: Sequence[HeldOutClip], settings: GateSettings) -> list[GateCase]:
    """The speaking clips, then the silent ones, each with a person of its own.

    Raises InputError for too few.
    """
    speaking = [clip for clip in held_out if not clip.is_silent][: settings.clips]
    silent = [clip for clip in held_out if clip.is_silent][: settings.silent]
    if (len(speaking), len(silent)) != (settings.clips, settings.silent):
        wanted = f"{settings.clips} speaking and {settings.silent} silent held-out clips"
        raise InputError(f"{wanted} are wanted, {len(speaking)} and {len(silent)} are there")
    return [
        pair_up(
            clip,
            person=settings.first_person + index,
            fps=settings.fps,
            size=settings.size,
            seconds=settings.seconds,
        )
        for index, clip in enumerate([*speaking, *silent])
    ]


def render_with(bundle: Bundle, settings: GateSettings) -> Renderer:
    """A renderer that runs a bundle.

    Raises SettingError where its pictures are not of the settings' size.
    """
    picture = bundle.manifest.picture
    if (picture.width, picture.height) != (settings.size, settings.size):
        raise SettingError(
            f"size {settings.size}: this bundle renders {picture.width}x{picture.height}"
        )
    session = Session(bundle)

    def render(
        portrait: NDArray[np.uint8],
        mask: NDArray[np.uint8],
        samples: NDArray[np.int16],
        frames: int,
    ) -> NDArray[np.uint8]:
        inputs = RenderInputs(portrait, voice_from_samples(samples), mask=mask)
        how = RenderSettings(
            fps=settings.fps, steps=settings.steps, frames=frames, seed=settings.seed
        )
        return np.stack(list(session.render(inputs, how)))

    return render


def identify_bundle(bundle: Bundle) -> dict[str, str]:
    """Which bundle was judged.

    It is told by variant, target, precision, what computes, and hashes of what draws.
    """
    manifest = bundle.manifest
    return {
        "variant": manifest.variant,
        "target": manifest.target,
        "precision": manifest.precision,
        "backend": bundle.backend.name,
        "compute": describe_arithmetic(bundle.arithmetic()),
        "identity": bundle.identity(
            "audio_encoder", "reference_unet", "denoising_unet", "vae_decoder"
        ),
    }


def format_report(report: GateReport) -> str:
    """The table as text, a gate a line, with what it was measured on."""
    about: dict[str, Any] = {
        **report.bundle,
        "steps": report.settings.steps,
        "clips": len(report.clips),
    }
    rows = [", ".join(f"{key} {value}" for key, value in about.items() if key != "identity")]
    for line in report.lines:
        limit = "" if line.limit is None else f"{'>=' if line.at_least else '<='} {line.limit:g}"
        verdict = "    " if line.limit is None else ("pass" if line.passed else "FAIL")
        rows.append(f"{verdict}  {line.value:8.3f}  {limit:<9} {line.what}")
    return (
        "\n".join([*rows, "all gates are met" if report.passed else "NOT all gates are met"]) + "\n"
    )


def _find_long_case(held_out: Sequence[HeldOutClip], settings: GateSettings) -> GateCase:
    """One more person, who says the speaking clips one after the other."""
    speaking = [clip for clip in held_out if not clip.is_silent]
    joined = join_clips(speaking, seconds=settings.drift_seconds)
    person = settings.first_person + settings.clips + settings.silent
    return pair_up(joined, person=person, fps=settings.fps, size=settings.size)
