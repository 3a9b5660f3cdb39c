"""Two bundles against each other on the same clips.

Networks are held to each other on the same inputs; then latents, frames, size and
speed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from echoexport.profiles.measuring.circumstances import describe_circumstances
from echoexport.profiles.quality.clips import (
    ComparisonClip,
    Frames,
    check_clips,
    draw_clip,
    measure_clip,
    pair_scores,
    render_clip,
)
from echoexport.profiles.quality.comparable import note_differences, require_all_comparable
from echoexport.profiles.quality.networks import NetworkTiming, compare_networks
from echoexport.profiles.quality.plan_layers import LayerDamage, read_layers
from echoexport.profiles.quality.recording import RecordingBundle
from echoexport.profiles.quality.report import (
    QUALITY_SCHEMA,
    BundleSide,
    ClipQuality,
    Headline,
    NetworkQuality,
    QualityBudget,
    QualityReport,
    RunSettings,
    Score,
    Strip,
    find_misses,
)
from echoexport.profiles.quality.sides import describe_side, label_both
from echoexport.profiles.quality.strips import StripSettings
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.errors import SettingError
from echoexport.runtime.inputs.rates import Rate, exact_rate
from echoexport.runtime.progress import Progress
from echoexport.runtime.rendering.settings import RenderSettings, settle_sampling

__all__ = ["ComparisonSettings", "compare_bundles"]

_DENOISER = "denoising_unet"


@dataclass(frozen=True)
class ComparisonSettings:
    """How to compare; None takes the reference's own default."""

    steps: int | None = None
    """Of the sampling loop."""
    fps: Rate | None = None
    """Frames a second."""
    seed: int = 0
    """Of the noise and of the calls that are kept."""
    calls: int = 12
    """How many of each network are kept and run again by the candidate."""
    warmup: int = 2
    """Calls before timing, which do not count."""
    repeats: int = 11
    """Timed calls."""
    strip_clips: int = 3
    """How many clips get a strip on the page."""
    strips: StripSettings = field(default_factory=StripSettings)
    """What these look like."""
    budget: QualityBudget = field(default_factory=QualityBudget)
    """What the candidate may cost."""
    damage: LayerDamage = field(default_factory=dict)
    """In dB by network and layer, for the table."""

    def __post_init__(self) -> None:
        if self.calls < 1 or self.repeats < 1 or self.warmup < 0 or not 0 <= self.strip_clips <= 3:
            raise SettingError(
                f"{self.calls} calls, {self.repeats} repeats after {self.warmup}, "
                f"{self.strip_clips} strips: at least 1, 1 and 0, and up to 3 strips, are wanted"
            )


def compare_bundles(
    reference: Bundle,
    candidate: Bundle,
    clips: Sequence[ComparisonClip],
    *,
    settings: ComparisonSettings | None = None,
    report: Progress | None = None,
    also: Mapping[str, Bundle] | None = None,
) -> QualityReport:
    """Render the clips with both from the same noise, and measure the candidate.

    Both stay open, and every network of theirs but those of which two would be too
    large; beyond that, memory holds the kept calls and one clip's frames. ``also``
    gives more bundles by label, whose frames stand between both in the strips and are
    not measured.

    Raises:
        InputError: no clips, two of one name, or bundles that cannot render the same
            clip.
        SettingError, BackendError: what rendering raises; the latter also for NaN in an
            output.
    """
    settings = settings or ComparisonSettings()
    tell = report or (lambda phase, done, total: None)
    check_clips(clips)
    require_all_comparable(reference, (candidate, *(also or {}).values()))
    recording = RecordingBundle(reference, most=settings.calls, seed=settings.seed)
    labels = label_both(reference, candidate)
    how = _settle_rendering(reference, settings)
    shown = _Shown(dict(zip(labels, (recording, candidate), strict=True)), also or {}, settings)
    results, strips = shown.compare(clips, how, tell=tell)
    calls = recording.reservoirs
    timing = NetworkTiming(settings.warmup, settings.repeats)
    networks = compare_networks(reference, candidate, calls, timing=timing, report=tell)
    sides = (describe_side(reference, labels[0]), describe_side(candidate, labels[1]))
    headline = _summarize(results, networks, sides=sides)
    return QualityReport(
        schema=QUALITY_SCHEMA,
        origin="measured",
        reference=sides[0],
        candidate=sides[1],
        settings=_describe_run(how, settings),
        budget=settings.budget,
        misses=find_misses(settings.budget, headline),
        headline=headline,
        clips=tuple(results),
        networks=tuple(networks),
        layers=read_layers(candidate, settings.damage),
        notes=note_differences(reference.manifest, candidate.manifest),
        conditions=describe_circumstances(),
        strips=tuple(strips),
    )


@dataclass(frozen=True)
class _Shown:
    """The bundles that clips are rendered with, by label."""

    both: Mapping[str, Bundle]
    """The reference and the candidate."""
    between: Mapping[str, Bundle]
    """More for the strips, which stand between both there."""
    settings: ComparisonSettings

    def compare(
        self, clips: Sequence[ComparisonClip], how: RenderSettings, *, tell: Progress
    ) -> tuple[list[ClipQuality], list[Strip]]:
        """Every clip measured, and the strips of the first ones."""
        results: list[ClipQuality] = []
        strips: list[Strip] = []
        for index, clip in enumerate(clips):
            tell("rendering", index, len(clips))
            found = {label: render_clip(one, clip, how) for label, one in self.both.items()}
            results.append(measure_clip(clip, *found.values()))
            if index < self.settings.strip_clips:
                frames = {label: one.frames for label, one in found.items()}
                strips += self._draw(clip, how, results[-1], frames=frames, first=not index)
        tell("rendering", len(clips), len(clips))
        return results, strips

    def _draw(
        self,
        clip: ComparisonClip,
        how: RenderSettings,
        result: ClipQuality,
        *,
        frames: Mapping[str, Frames],
        first: bool,
    ) -> Iterator[Strip]:
        between = {label: render_clip(one, clip, how).frames for label, one in self.between.items()}
        reference, candidate = frames
        ordered = {reference: frames[reference], **between, candidate: frames[candidate]}
        return draw_clip(result, ordered, settings=self.settings.strips, closely=first)


def _describe_run(how: RenderSettings, settings: ComparisonSettings) -> RunSettings:
    return RunSettings(
        steps=how.steps or 0,
        fps=float(how.fps or 0),
        guidance=how.guidance or 0.0,
        overlap=how.overlap or 0,
        seed=how.seed,
        warmup=settings.warmup,
        repeats=settings.repeats,
    )


def _settle_rendering(reference: Bundle, settings: ComparisonSettings) -> RenderSettings:
    """The reference's defaults filled in, so that the candidate's own do not count.

    Small changes are shown: a held pixel would add a level's error of its own to what
    is measured.
    """
    sampling = settle_sampling(reference, RenderSettings(steps=settings.steps))
    fps = exact_rate(reference.manifest.fps if settings.fps is None else settings.fps)
    return RenderSettings(
        fps=fps,
        steps=sampling.steps,
        guidance=sampling.guidance,
        overlap=sampling.overlap,
        seed=settings.seed,
        hold=0,
    )


def _summarize(
    clips: Sequence[ClipQuality],
    networks: Sequence[NetworkQuality],
    *,
    sides: tuple[BundleSide, BundleSide],
) -> Headline:
    frames = [clip.frames for clip in clips]
    snr = [clip.latents.snr for clip in clips]
    speed = next((network.speed for network in networks if network.name == _DENOISER), 1.0)
    return Headline(
        latents_snr=round(float(np.mean(snr)), 3),
        latents_snr_worst=min(snr),
        psnr=round(float(np.average([clip.psnr for clip in clips], weights=frames)), 3),
        psnr_worst=min(clip.psnr_worst for clip in clips),
        ssim=round(float(np.average([clip.ssim for clip in clips], weights=frames)), 5),
        ssim_worst=min(clip.ssim_worst for clip in clips),
        size=round(sides[1].bytes / max(sides[0].bytes, 1), 4),
        weights=round(sides[1].weights / max(sides[0].weights, 1), 4),
        speed=speed,
        scores=_average_scores(clips),
    )


def _average_scores(clips: Sequence[ClipQuality]) -> tuple[Score, ...]:
    scores = [score for clip in clips for score in clip.scores]
    names = dict.fromkeys(score.name for score in scores)
    means = {name: [s for s in scores if s.name == name] for name in names}
    return tuple(
        pair_scores(
            name,
            float(np.mean([s.reference for s in own])),
            float(np.mean([s.candidate for s in own])),
        )
        for name, own in means.items()
    )
