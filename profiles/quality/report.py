"""The quality report: two bundles compared, as data, as JSON, and with a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from echoexport.profiles.measuring.circumstances import Circumstances
from echoexport.profiles.measuring.latency import format_json
from echoexport.profiles.quality.signals import Closeness
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.errors import InputError
from echoexport.runtime.files.json_file import read_json

__all__ = [
    "JSON_NAME",
    "PAGE_NAME",
    "QUALITY_SCHEMA",
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

QUALITY_SCHEMA = 1
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
    """Of the clip."""
    frames: int
    """How many both rendered."""
    latents: Closeness
    """At the end of the trajectory."""
    psnr: float
    """Mean over frames, dB."""
    psnr_worst: float
    """Of the worst frame, dB."""
    worst_frame: int
    """The frame of least PSNR."""
    ssim: float
    """Mean over frames."""
    ssim_worst: float
    """Of the frame of least SSIM."""
    scores: tuple[Score, ...]
    """Figures that the caller asked for."""
    psnr_frames: tuple[float, ...]
    """One a frame, dB."""


@dataclass(frozen=True)
class NetworkSide:
    """One bundle's network."""

    precision: str
    compute: str
    """The engine's arithmetic."""
    weights: int
    """Bytes."""
    median: float
    """Seconds a call."""
    p90: float
    """Seconds a call."""
    int8_share: float | None = 0.0
    """The share of its values that is stored in int8, 0 to 1; None where the bundle
    does not say."""
    of_fp32: float = 1.0
    """Bytes of the weights over those of as many values in fp32."""


@dataclass(frozen=True)
class NetworkQuality:
    """One network of both on the same inputs, which the reference met while it rendered."""

    name: str
    """Of the network."""
    reference: NetworkSide
    """The reference's."""
    candidate: NetworkSide
    """The candidate's."""
    calls: int
    """How many were compared, of ``seen``."""
    seen: int
    """How many the reference made."""
    closeness: Closeness
    """Of all outputs together."""
    worst_output: str
    """The output with the least SNR."""
    worst_output_snr: float
    """Its SNR in dB."""
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
    """What one of the two bundles is."""

    label: str
    """What it is called here."""
    name: str
    """Of its folder."""
    variant: str
    """Of its checkpoint."""
    target: str
    """That it was built for."""
    precision: str
    """What it stores."""
    backend: str
    """The backend's own line on itself."""
    compute: str
    """What its networks compute in."""
    threads: int
    """Asked for, 0 where the backend chose."""
    weights: int
    """Bytes of all networks."""
    bytes: int
    """Bytes of all files but reports."""
    identity: str
    """A hash over the hashes of its networks' files."""
    int8_share: float | None = 0.0
    """Of the weights of all networks, as in ``NetworkSide``."""
    of_fp32: float = 1.0
    """The same, as in ``NetworkSide``."""


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
    """The figures of all clips together, by frame."""

    latents_snr: float
    """Mean over the clips, dB."""
    latents_snr_worst: float
    """Of the worst clip, dB."""
    psnr: float
    """Mean over all frames, dB."""
    psnr_worst: float
    """Of the worst frame, dB."""
    ssim: float
    """Mean over all frames."""
    ssim_worst: float
    """Of the worst frame."""
    size: float
    """The candidate's bundle over the reference's."""
    weights: float
    """The candidate's weights over the reference's."""
    speed: float
    """The denoiser's speed over the reference's; above 1 is faster."""
    scores: tuple[Score, ...]
    """Means over the clips that have them."""


@dataclass(frozen=True)
class StripRow:
    """One bundle's frames side by side as one picture."""

    label: str
    picture: str
    """Frames side by side, a data URI."""
    width: int
    """In pixels."""
    height: int
    """In pixels."""


@dataclass(frozen=True)
class Strip:
    """What a clip looks like in each bundle."""

    title: str
    frames: tuple[int, ...]
    closely: bool
    """Whether rows are of one frame, large, rather than of several."""
    rows: tuple[StripRow, ...]


@dataclass(frozen=True)
class QualityReport:
    """A candidate against a reference."""

    schema: int
    """``QUALITY_SCHEMA`` of the release that wrote it."""
    origin: str
    """Always "measured"."""
    reference: BundleSide
    """What the candidate is held to."""
    candidate: BundleSide
    """What is judged."""
    settings: RunSettings
    """How both rendered."""
    budget: QualityBudget
    """What the candidate may cost."""
    misses: tuple[str, ...]
    """Every limit that it breaks, in words."""
    headline: Headline
    """The figures of all clips together."""
    clips: tuple[ClipQuality, ...]
    """Every clip."""
    networks: tuple[NetworkQuality, ...]
    """Every network that was called."""
    layers: tuple[LayerQuality, ...]
    """Every layer that the candidate's plan names."""
    notes: tuple[str, ...]
    """What makes the comparison doubtful."""
    conditions: Circumstances
    """What the figures depend on."""
    strips: tuple[Strip, ...] = ()
    """Pictures for the page alone; the JSON leaves them out."""

    @property
    def holds(self) -> bool:
        """Whether the candidate keeps its budget; so does one that was given none."""
        return not self.misses


def describe_verdict(report: QualityReport) -> str:
    """One line: whether the candidate keeps its budget, and what it costs and brings."""
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
        data = read_json(path)
        if isinstance(data, dict) and data.get("schema", QUALITY_SCHEMA) != QUALITY_SCHEMA:
            raise ValueError(f"schema {data['schema']!r}; this release reads {QUALITY_SCHEMA}")
        return parse(QualityReport, data, where="report")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path}: not a readable quality report: {error}") from error
