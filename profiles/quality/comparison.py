"""Two bundles against each other on the same clips.

Networks are held to each other on the same inputs; then latents, frames, size and
speed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoexport.profiles.measuring.conditions import describe_conditions
from echoexport.profiles.quality.networks import Timing, compare_networks, is_large
from echoexport.profiles.quality.pictures import psnr, ssim
from echoexport.profiles.quality.plan_layers import (
    LayerDamage,
    measure_storage,
    name_precision,
    read_layers,
)
from echoexport.profiles.quality.recording import RecordingBundle
from echoexport.profiles.quality.report import (
    JSON_NAME,
    PAGE_NAME,
    SCHEMA,
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
from echoexport.profiles.quality.signals import measure_closeness
from echoexport.profiles.quality.strips import (
    StripSettings,
    choose_frames,
    draw_closely,
    draw_strip,
)
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.errors import BackendError, InputError, SettingError
from echoexport.runtime.inputs.rates import Rate, exact_rate
from echoexport.runtime.progress import Progress
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.rendering.settings import RenderInputs, RenderSettings, settle_plan

__all__ = [
    "ComparisonClip",
    "ComparisonSettings",
    "ScoreFrames",
    "compare_bundles",
    "require_comparable",
]

Frames = NDArray[np.uint8]

ScoreFrames = Callable[[Frames, Frames], Mapping[str, float]]
"""Gives figures of a clip's frames (n, H, W, 3), higher is better. Second come the
reference's frames of the same clip."""

_DENOISER = "denoising_unet"


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
                f"{self.strip_clips} strips: at least "
                "1, 1 and 0, and up to 3 strips, are wanted"
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
            clip. SettingError, BackendError: what rendering raises; the latter also for
            NaN in an output.
    """
    settings = settings or ComparisonSettings()
    tell = report or (lambda phase, done, total: None)
    _check_clips(clips)
    for other in (candidate, *(also or {}).values()):
        require_comparable(
            reference.manifest, other.manifest, names=(reference.folder.name, other.folder.name)
        )
    labels = _label_both(reference, candidate)
    recording = RecordingBundle(reference, most=settings.calls, seed=settings.seed)
    how = _settle_rendering(reference, settings)
    results: list[ClipQuality] = []
    strips: list[Strip] = []
    for index, clip in enumerate(clips):
        tell("rendering", index, len(clips))
        shown = {labels[0]: _render(recording, clip, how), labels[1]: _render(candidate, clip, how)}
        results.append(_measure_clip(clip, *shown.values()))
        if index < settings.strip_clips:
            between = {label: _render(bundle, clip, how) for label, bundle in (also or {}).items()}
            ordered = {labels[0]: shown[labels[0]], **between, labels[1]: shown[labels[1]]}
            strips += _draw_clip(
                results[-1], {label: one.frames for label, one in ordered.items()}, settings, index
            )
    tell("rendering", len(clips), len(clips))
    networks = compare_networks(
        reference,
        candidate,
        recording.reservoirs,
        timing=Timing(settings.warmup, settings.repeats),
        report=tell,
    )
    sides = _describe_side(reference, labels[0]), _describe_side(candidate, labels[1])
    headline = _summarize(results, networks, sides=sides)
    return QualityReport(
        schema=SCHEMA,
        origin="measured",
        reference=sides[0],
        candidate=sides[1],
        settings=RunSettings(
            how.steps or 0,
            float(how.fps or 0),
            how.guidance or 0.0,
            how.overlap or 0,
            how.seed,
            settings.warmup,
            settings.repeats,
        ),
        budget=settings.budget,
        misses=find_misses(settings.budget, headline),
        headline=headline,
        clips=tuple(results),
        networks=tuple(networks),
        layers=read_layers(candidate, settings.damage),
        notes=_note_differences(reference.manifest, candidate.manifest),
        conditions=describe_conditions(),
        strips=tuple(strips),
    )


def require_comparable(reference: Manifest, candidate: Manifest, *, names: tuple[str, str]) -> None:
    """Refuse two bundles that do not render the same clip from the same noise.

    Raises:
        InputError: names what differs, and both values.
    """
    for what in ("variant", "face", "picture size", "window", "noise", "scheduler", "audio"):
        one = _describe_part(reference, what)
        other = _describe_part(candidate, what)
        if one != other:
            raise InputError(
                f"{names[0]} and {names[1]} differ in {what} ({one} and {other}): build both "
                "from one checkpoint with "
                "the same size and window"
            )


def _describe_part(manifest: Manifest, what: str) -> Any:
    picture = manifest.picture
    sampler = manifest.sampler
    parts = {
        "variant": manifest.variant,
        "face": manifest.face,
        "picture size": f"{picture.width}x{picture.height}, "
        f"{picture.latent_channels} x 1/{picture.downscale}",
        "window": f"{manifest.window.frames} frames moving {manifest.window.shift}",
        "noise": f"clamp {sampler.noise_clamp}, shared {sampler.shared_noise:g}",
        "scheduler": sampler.scheduler,
        "audio": manifest.audio,
    }
    return parts[what]


def _note_differences(reference: Manifest, candidate: Manifest) -> tuple[str, ...]:
    one = reference.provenance.checkpoint_files
    other = candidate.provenance.checkpoint_files
    if {name: file.sha256 for name, file in one.items()} == {
        name: file.sha256 for name, file in other.items()
    }:
        return ()
    return (
        "the bundles were built from different checkpoints: differences are not those of the "
        "precision alone",
    )


def _check_clips(clips: Sequence[ComparisonClip]) -> None:
    names = [clip.name for clip in clips]
    if not names:
        raise InputError("no clips to compare bundles on: give one or more")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two clips are called {twice[0]!r}: give each a name of its own")


def _settle_rendering(reference: Bundle, settings: ComparisonSettings) -> RenderSettings:
    """The reference's defaults filled in, so that the candidate's own do not count.

    Small changes are shown: a held pixel would add a level's error of its own to what
    is measured.
    """
    plan = settle_plan(reference, RenderSettings(steps=settings.steps))
    fps = exact_rate(reference.manifest.fps if settings.fps is None else settings.fps)
    return RenderSettings(
        fps=fps,
        steps=plan.steps,
        guidance=plan.guidance,
        overlap=plan.overlap,
        seed=settings.seed,
        hold=0,
    )


@dataclass(frozen=True, eq=False)
class _Rendered:
    latents: NDArray[np.float32]
    frames: Frames


def _render(bundle: Bundle, clip: ComparisonClip, how: RenderSettings) -> _Rendered:
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
    return _Rendered(latents, np.stack(frames))


def _measure_clip(clip: ComparisonClip, reference: _Rendered, candidate: _Rendered) -> ClipQuality:
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
    return tuple(_pair(name, float(own[name]), float(other[name])) for name in own)


def _pair(name: str, reference: float, candidate: float) -> Score:
    return Score(name, round(reference, 5), round(candidate, 5), round(candidate - reference, 5))


def _draw_clip(
    result: ClipQuality, frames: Mapping[str, Frames], settings: ComparisonSettings, index: int
) -> Iterable[Strip]:
    numbers = choose_frames(result.frames, wanted=settings.strips.frames)
    yield draw_strip(result.name, frames, numbers=numbers, settings=settings.strips)
    if not index:
        title = f"{result.name}, frame {result.worst_frame}: its worst"
        yield draw_closely(title, frames, number=result.worst_frame, settings=settings.strips)


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
        _pair(
            name,
            float(np.mean([s.reference for s in own])),
            float(np.mean([s.candidate for s in own])),
        )
        for name, own in means.items()
    )


def _label_both(reference: Bundle, candidate: Bundle) -> tuple[str, str]:
    """By precision, or by arithmetic or folder where that does not tell them apart."""
    for one, other in (
        (name_precision(reference), name_precision(candidate)),
        (_list_arithmetic(reference), _list_arithmetic(candidate)),
        (reference.folder.name, candidate.folder.name),
    ):
        if one != other:
            return one, other
    return "reference", "candidate"


def _describe_side(bundle: Bundle, label: str) -> BundleSide:
    manifest = bundle.manifest
    hashes = [
        manifest.files[file].sha256 for name in manifest.networks for file in bundle.files_of(name)
    ]
    return BundleSide(
        label=label,
        name=bundle.folder.resolve().name,
        variant=manifest.variant,
        target=manifest.target,
        precision=name_precision(bundle),
        backend=f"{bundle.backend.name}: {bundle.backend.describe()}",
        compute=_list_arithmetic(bundle),
        threads=bundle.options.threads,
        weights=sum(bundle.measure_weights(name) for name in manifest.networks),
        bytes=sum(
            file.bytes
            for name, file in manifest.files.items()
            if name not in (JSON_NAME, PAGE_NAME)
        ),
        identity=hashlib.sha256("/".join(hashes).encode()).hexdigest(),
        **measure_storage(bundle, manifest.networks),
    )


def _list_arithmetic(bundle: Bundle) -> str:
    """What its networks compute in, each way once; none is opened for it."""
    return "/".join(sorted(set(bundle.arithmetic().values())))
