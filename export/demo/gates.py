"""The quality gates of a talking portrait.

Held-out people say held-out sentences, and every figure has its limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoexport.export.demo.gate_clips import (
    LONGEST_LAG,
    ClipResult,
    GateCase,
    Renderer,
    join_clips,
    measure_case,
    measure_drift,
    pair_up,
)
from echoexport.export.demo.held_out import HeldOutClip
from echoexport.profiles.measuring.conditions import Conditions, describe_conditions
from echoexport.profiles.quality.lipsync import correlate, worst_decile
from echoexport.profiles.quality.motion import Drift
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.spec import describe_arithmetic
from echoexport.runtime.errors import InputError, SettingError
from echoexport.runtime.inputs.voice import voice_from_samples
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.rendering.settings import RenderInputs, RenderSettings

__all__ = [
    "GATES",
    "Gate",
    "GateLine",
    "GateReport",
    "GateSettings",
    "describe_bundle",
    "format_report",
    "list_cases",
    "render_with",
    "run_gates",
]

OnClip = Callable[[ClipResult, NDArray[np.uint8], GateCase], None]
"""Told of every clip that was measured: its figures, the frames, and what they should be."""


@dataclass(frozen=True)
class Gate:
    """One line of the table: a figure's name, what it is, and its limit.

    At least or at most so much.
    """

    name: str
    what: str
    limit: float | None
    at_least: bool = True

    def passes(self, value: float) -> bool:
        """Whether a value keeps the limit; without one, all do."""
        return self.limit is None or (value >= self.limit if self.at_least else value <= self.limit)


GATES = (
    Gate("measure", "openness measure on true frames: correlation, mean", 0.98),
    Gate("correlation", "mouth openness with the truth, within a clip: correlation, mean", 0.85),
    Gate("correlation_worst", "the same, worst tenth", 0.65),
    Gate("lag", "best lag of all clips together, frames either way", 1, at_least=False),
    Gate("lag_share", "clips whose own best lag is within a frame, share", 0.9),
    Gate(
        "shuffled", "openness with the truth of other clips: correlation, mean", 0.2, at_least=False
    ),
    Gate(
        "silence", "mouth closed where the truth is silent for 0.2 s or more, share of frames", 0.95
    ),
    Gate("ssim", "outside mouth and eyes against the portrait: SSIM, mean", 0.95),
    Gate("ssim_worst", "the same, worst tenth", None),
    Gate("ssim_truth", "the same of the true frames, mean", None),
    Gate("psnr", "outside mouth and eyes against the portrait: PSNR, dB, mean", 28.0),
    Gate("psnr_worst", "the same, worst tenth", None),
    Gate("psnr_truth", "the same of the true frames, mean", None),
    Gate(
        "delta_e",
        "outside mouth and eyes against the portrait: CIEDE2000, mean",
        4.0,
        at_least=False,
    ),
    Gate("delta_e_worst", "the same, worst tenth", None, at_least=False),
    Gate("drift_ssim", "last second less the first, against true frames: SSIM", -0.01),
    Gate("drift_psnr", "the same: PSNR, dB", -1.0),
    Gate("drift_delta_e", "the same: CIEDE2000", 0.5, at_least=False),
    Gate(
        "flicker",
        "change from frame to frame outside the mouth, over that of the true frames",
        1.5,
        at_least=False,
    ),
)
"""Every figure and its limit; those without a limit are for reading. "Worst tenth" is
the mean of it."""


@dataclass(frozen=True)
class GateSettings:
    """What is run."""

    clips: int = 40
    """That speak, each by a person of its own; silent ones come on top."""
    silent: int = 3
    seconds: float | None = None
    """Of a clip at most."""
    steps: int | None = 6
    """Of the sampler, None for the bundle's."""
    fps: float = 25.0
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
class GateLine:
    """A gate with the value that was measured."""

    name: str
    what: str
    value: float
    limit: float | None
    at_least: bool
    passed: bool


@dataclass(frozen=True)
class GateReport:
    """All figures with their conditions."""

    passed: bool
    lines: tuple[GateLine, ...]
    settings: GateSettings
    bundle: Mapping[str, str]
    """Which one, in words; empty for another renderer."""
    conditions: Conditions
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
        passed, lines, settings, bundle or {}, describe_conditions(), tuple(results), drift
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


def describe_bundle(bundle: Bundle) -> dict[str, str]:
    """Which bundle was judged.

    Variant, target, precision, what computes, and the hashes of what draws.
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


def judge(results: Sequence[ClipResult], drift: Drift | None) -> tuple[GateLine, ...]:
    """Every gate's line, but for those of a drift that was not measured."""
    values = gather_values(results) | gather_drift(drift)
    return tuple(
        GateLine(
            gate.name,
            gate.what,
            round(values[gate.name], 4),
            gate.limit,
            gate.at_least,
            gate.passes(values[gate.name]),
        )
        for gate in GATES
        if gate.name in values
    )


def gather_values(results: Sequence[ClipResult]) -> dict[str, float]:
    """The figures of all clips together."""
    pictures = {
        name: [getattr(result.picture, name) for result in results]
        for name in ("ssim", "psnr", "delta_e")
    }
    values = {name: float(np.mean(found)) for name, found in pictures.items()}
    values |= {
        f"{name}_worst": worst_decile(found, high_is_good=name != "delta_e")
        for name, found in pictures.items()
    }
    return (
        values
        | gather_speech([result for result in results if result.correlation is not None])
        | {
            "ssim_truth": float(np.mean([result.truth_picture.ssim for result in results])),
            "psnr_truth": float(np.mean([result.truth_picture.psnr for result in results])),
            "silence": sum(r.closed_frames for r in results)
            / max(sum(r.silent_frames for r in results), 1),
            "flicker": sum(r.flicker for r in results)
            / max(sum(r.truth_flicker for r in results), 1e-6),
        }
    )


def gather_speech(speaking: Sequence[ClipResult]) -> dict[str, float]:
    """The figures of the clips in which somebody speaks."""
    correlations = [result.correlation or 0.0 for result in speaking]
    together = np.mean([result.lags or (0.0,) for result in speaking], axis=0)
    return {
        "measure": float(np.mean([result.truth_correlation or 0.0 for result in speaking])),
        "correlation": float(np.mean(correlations)),
        "correlation_worst": worst_decile(correlations),
        "lag": float(abs(int(together.argmax()) - LONGEST_LAG)),
        "lag_share": float(np.mean([abs(result.lag or 0) <= 1 for result in speaking])),
        "shuffled": correlate_shuffled(speaking),
    }


def correlate_shuffled(speaking: Sequence[ClipResult]) -> float:
    """The mean correlation of each clip's measured openness with the truth of every other, as far as both go."""
    found = []
    for one in speaking:
        for other in speaking:
            frames = min(one.frames, other.frames)
            if one is not other:
                found.append(correlate(other.truth[:frames], one.measured[:frames]))
    return float(np.mean(found)) if found else 0.0


def gather_drift(drift: Drift | None) -> dict[str, float]:
    """By how much the last second differs from the first."""
    if drift is None:
        return {}
    return {
        f"drift_{k}": getattr(drift.last, k) - getattr(drift.first, k)
        for k in ("ssim", "psnr", "delta_e")
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
