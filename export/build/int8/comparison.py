"""An int8 bundle's frames against those of the same networks in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from echoexport.calibration.choosing.sensitivity import Damage
from echoexport.export.build.job import BundleJob
from echoexport.profiles.quality.clips import ComparisonClip
from echoexport.profiles.quality.comparison import ComparisonSettings, compare_bundles
from echoexport.profiles.quality.networks import is_large
from echoexport.profiles.quality.report import QualityBudget, QualityReport
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.engine.protocol import EngineOptions

LEAST_SSIM = 0.97
LARGEST_LOSS = 0.02
"""What a score of the mouth (a correlation, or a share of frames) may lose."""


def compare_with_fp32(
    reference: Path, candidate: Path, *, damage: Sequence[Damage], job: BundleJob
) -> QualityReport:
    """Render clips with both bundles and hold the candidate to the quality asked for.

    Args:
        reference: the bundle in fp32.
        candidate: the bundle to judge.
        damage: what layers of the denoiser were found to cost in int8, for the report.
        job: its settings' quality is the budget.
    """
    with ExitStack() as stack:
        exact = stack.enter_context(open_bundle(reference, options=EngineOptions(compute="fp32")))
        judged = stack.enter_context(open_bundle(candidate))
        budget = QualityBudget(
            job.settings.quality, LEAST_SSIM, dict.fromkeys(_list_scores(exact), LARGEST_LOSS)
        )
        costs = {name: one.snr for one in damage for name in one.layers}
        return compare_bundles(
            exact,
            judged,
            _list_clips(exact),
            settings=ComparisonSettings(budget=budget, damage={"denoising_unet": costs}),
            report=job.report,
        )


def _list_clips(reference: Bundle) -> list[ComparisonClip]:
    """Of a large model one window: a whole clip would take hours on a CPU."""
    from echoexport.export.demo.quality_clips import ClipSettings, list_quality_clips

    large = is_large(reference)
    settings = ClipSettings(people=0 if large else 3, seconds=0.5 if large else 2.0)
    clips = list_quality_clips(reference.manifest, settings, fps=reference.manifest.fps)
    if large:
        frames = reference.manifest.window.frames
        clips = [replace(clip, frames=frames) for clip in clips]
    return clips


def _list_scores(reference: Bundle) -> tuple[str, ...]:
    from echoexport.export.demo.quality_clips import is_character
    from echoexport.profiles.quality.mouth import CLOSED, FOLLOWS

    return (FOLLOWS, CLOSED) if is_character(reference.manifest) else ()
