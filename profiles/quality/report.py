"""The quality report: two bundles compared, as data, as JSON, and with a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from echoexport.profiles.measuring.conditions import Conditions
from echoexport.profiles.measuring.latency import format_json
from echoexport.profiles.quality.signals import Closeness
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.errors import InputError

__all__ = [
    "JSON_NAME",
    "PAGE_NAME",
    "SCHEMA",
    "BundleSide",
    "ClipQuality",
    "Headline",
    "LayerQuality",
    "NetworkQuality",
    "NetworkSide",
    "QualityBudget",
    "QualityReport",
    "RunSettings",
    "Score",
    "Strip",
    "StripRow",
    "describe_verdict",
    "find_misses",
    "format_quality_json",
    "read_quality_report",
]

SCHEMA = 1
JSON_NAME = "quality.json"
PAGE_NAME = "quality.html"


@dataclass(frozen=True)
class QualityBudget:
    """What a candidate may cost; None asks nothing."""

    psnr: float | None = None
    """Least mean over all frames, dB."""
    ssim: float | None = None
    """Least mean."""
    losses: Mapping[str, float] = field(default_factory=dict)
    """Score to the most that the candidate's may lie below the reference's."""

    @property
    def asks(self) -> bool:
        """Whether it asks for anything."""
        return self.psnr is not None or self.ssim is not None or bool(self.losses)


@dataclass(frozen=True)
class Score:
    """A figure of both bundles' frames that a caller wanted."""

    name: str
    reference: float
    candidate: float
    difference: float
    """The candidate's less the reference's."""


@dataclass(frozen=True)
class ClipQuality:
    """One clip rendered by both from the same noise."""

    name: str
    frames: int
    latents: Closeness
    """At the end of the trajectory. psnr (dB) and ssim: means over frames, and of the
    worst frame, which ``worst_frame`` is by PSNR."""
    psnr: float
    psnr_worst: float
    worst_frame: int
    ssim: float
    ssim_worst: float
    scores: tuple[Score, ...]
    psnr_frames: tuple[float, ...]
    """One a frame."""


@dataclass(frozen=True)
class NetworkSide:
    """One bundle's network."""

    precision: str
    compute: str
    """The engine's arithmetic."""
    weights: int
    """Bytes."""
    median: float
    p90: float
    """median and p90: seconds a call."""
    int8_share: float | None = 0.0
    """Of its values, how many are stored in int8, 0 to 1; None where the bundle does
    not say."""
    of_fp32: float = 1.0
    """Bytes of the weights over those of as many values in fp32."""


@dataclass(frozen=True)
class NetworkQuality:
    """One network of both on the same inputs, which the reference met while it rendered."""

    name: str
    reference: NetworkSide
    candidate: NetworkSide
    calls: int
    """Compared, of ``seen``."""
    seen: int
    closeness: Closeness
    """Of all outputs together."""
    worst_output: str
    """The one with the least SNR."""
    worst_output_snr: float
    size: float
    """The candidate's weights over the reference's."""
    speed: float
    """The reference's median over the candidate's, so that above 1 is faster."""


@dataclass(frozen=True)
class LayerQuality:
    """One layer as the candidate's plan has it."""

    network: str
    layer: str
    mode: str
    reason: str
    damage: float | None
    """DB that this layer alone costs, where that was measured."""


@dataclass(frozen=True)
class BundleSide:
    """One of the bundles."""

    label: str
    """What it is called here."""
    name: str
    variant: str
    target: str
    precision: str
    backend: str
    compute: str
    threads: int
    weights: int
    bytes: int
    """weights and bytes: of all networks, and of all files but reports."""
    identity: str
    """A hash over the hashes of its networks' files."""
    int8_share: float | None = 0.0
    of_fp32: float = 1.0
    """int8_share and of_fp32: of the weights of all networks, as in ``NetworkSide``."""


@dataclass(frozen=True)
class RunSettings:
    """What both rendered with; the reference's own where nothing was asked for."""

    steps: int
    fps: float
    guidance: float
    overlap: int
    seed: int
    warmup: int
    repeats: int
    """Timed calls after warm-up."""


@dataclass(frozen=True)
class Headline:
    """The figures of all clips together, by frame; worst: of any clip or frame."""

    latents_snr: float
    latents_snr_worst: float
    psnr: float
    psnr_worst: float
    ssim: float
    ssim_worst: float
    size: float
    """The candidate's bundle over the reference's."""
    weights: float
    """The same of the networks' weights alone."""
    speed: float
    """The denoiser's, above 1 is faster."""
    scores: tuple[Score, ...]
    """Means over the clips that have them."""


@dataclass(frozen=True)
class StripRow:
    """Frames side by side as one picture, a data URI."""

    label: str
    picture: str
    width: int
    height: int
    """width and height: pixels."""


@dataclass(frozen=True)
class Strip:
    """What a clip looks like in each bundle."""

    title: str
    frames: tuple[int, ...]
    closely: bool
    """Rows of one frame, large; else of several."""
    rows: tuple[StripRow, ...]


@dataclass(frozen=True)
class QualityReport:
    """A candidate against a reference.

    ``origin`` says that all of it was measured; strips are for the page alone.
    """

    schema: int
    origin: str
    reference: BundleSide
    candidate: BundleSide
    settings: RunSettings
    budget: QualityBudget
    misses: tuple[str, ...]
    headline: Headline
    clips: tuple[ClipQuality, ...]
    networks: tuple[NetworkQuality, ...]
    layers: tuple[LayerQuality, ...]
    notes: tuple[str, ...]
    conditions: Conditions
    strips: tuple[Strip, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the candidate keeps its budget; so does one that was given none."""
        return not self.misses


def describe_verdict(report: QualityReport) -> str:
    """One line: whether the candidate keeps its budget, and the figures that say what it costs and brings."""
    head = report.headline
    label = report.candidate.label
    if report.misses:
        says = f"{label} misses its budget ({'; '.join(report.misses)})"
    else:
        says = (
            f"{label} holds" if report.budget.asks else f"{label} against {report.reference.label}"
        )
    return (
        f"{says}: {head.psnr:.1f} dB, SSIM {head.ssim:.3f}, {head.size:.2f} x the size, denoiser "
        f"{head.speed:.2f} x as fast (measured)"
    )


def find_misses(budget: QualityBudget, headline: Headline) -> tuple[str, ...]:
    """Every limit of the budget that the figures break, in words.

    Raises:
        InputError: the budget limits a score that no clip has.
    """
    found = []
    if budget.psnr is not None and headline.psnr < budget.psnr:
        found.append(f"{headline.psnr:.2f} dB, {budget.psnr:g} dB are wanted")
    if budget.ssim is not None and headline.ssim < budget.ssim:
        found.append(f"SSIM {headline.ssim:.4f}, {budget.ssim:g} is wanted")
    scores = {score.name: score for score in headline.scores}
    for name, most in budget.losses.items():
        if name not in scores:
            raise InputError(
                f"the budget limits {name!r}, which no clip was scored for; known: "
                f"{', '.join(scores)}"
            )
        if -scores[name].difference > most:
            found.append(f"{name} lost {-scores[name].difference:.4f}, {most:g} may be")
    return tuple(found)


def format_quality_json(report: QualityReport) -> str:
    """The report's JSON; strips are left to the page."""
    data: dict[str, Any] = dump(report)
    del data["strips"]
    return format_json(data)


def read_quality_report(path: Path) -> QualityReport:
    """A report that was written, without its strips.

    Raises:
        InputError: no such file, another schema version, or not such a report.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(data, dict) and data.get("schema", SCHEMA) != SCHEMA:
            raise ValueError(f"schema {data['schema']!r}; this release reads {SCHEMA}")
        return parse(QualityReport, data, where="report")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a readable quality report: {error}") from error
