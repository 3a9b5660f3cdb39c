"""A tuning as data: what was tried, what came out, and what was chosen."""

from __future__ import annotations

import json
from dataclasses import dataclass

from echoexport.profiles.measuring.circumstances import Circumstances
from echoexport.profiles.quality.report import BundleSide
from echoexport.profiles.tuning.choices import TuningChoice
from echoexport.profiles.tuning.limits import ChoiceFigures, TuningLimits
from echoexport.runtime.contract.schema import dump

__all__ = ["TUNING_SCHEMA", "TuningReport", "describe_tuning", "format_tuning_json", "name_choice"]

TUNING_SCHEMA = 1


@dataclass(frozen=True)
class TuningReport:
    """All of it, with what the figures depend on."""

    schema: int
    """``TUNING_SCHEMA`` of the release that wrote it."""
    origin: str
    """Always "measured"."""
    sides: tuple[BundleSide, ...]
    """Bundles and arithmetics, the reference's first."""
    own: tuple[str, ...]
    """Labels of those that are the tuned bundle's."""
    limits: TuningLimits
    """What choices were held to."""
    fps: float
    """Of the clips, frames a second."""
    seed: int
    """Of the noise."""
    reference: TuningChoice
    """The bundle's best, which the others are compared with."""
    present: TuningChoice
    """The bundle's default before."""
    chosen: TuningChoice
    """The quickest that keeps the limits, else the present one."""
    results: tuple[ChoiceFigures, ...]
    """Every choice."""
    front: tuple[TuningChoice, ...]
    """Those that no other beats in speed and PSNR both, the quickest first."""
    notes: tuple[str, ...]
    """What else there is to know."""
    conditions: Circumstances
    """Of the figures."""

    def find(self, choice: TuningChoice) -> ChoiceFigures:
        """What was measured of a choice."""
        return next(one for one in self.results if one.choice == choice)


def format_tuning_json(report: TuningReport) -> str:
    """The report as JSON text."""
    return json.dumps(dump(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def describe_tuning(report: TuningReport) -> list[str]:
    """The verdict: what was chosen, what it gives and costs, and what would be quicker still."""
    chosen = report.find(report.chosen)
    now = report.find(report.present)
    figures = (
        f"{chosen.frames_per_second:.1f} frames/s, SSIM {chosen.ssim:.4f}, flicker "
        f"{chosen.flicker:.2f} x"
    )
    if report.chosen == report.present:
        reason = "no choice that keeps the limits is quicker" if now.holds else _find_fault(now)
        lines = [f"kept as it is: {report.present.describe()} ({figures}): {reason}"]
    else:
        ratio = chosen.frames_per_second / now.frames_per_second
        lines = [
            f"chosen: {report.chosen.describe()} ({figures}), {ratio:.2f} x as fast as now "
            f"({report.present.describe()}, {now.frames_per_second:.1f} frames/s)"
        ]
    elsewhere = [one for one in report.results if one.choice.side not in report.own and one.holds]
    best = max(elsewhere, key=lambda one: one.frames_per_second, default=None)
    if best is not None and best.frames_per_second > chosen.frames_per_second:
        lines.append(
            f"quicker still, in another bundle: {best.choice.describe()}, "
            f"{best.frames_per_second:.1f} frames/s, SSIM {best.ssim:.4f}"
        )
    return lines


def name_choice(choice: TuningChoice) -> str:
    """Steps and overlap as charts write them: ``2/1``."""
    return f"{choice.steps}/{choice.overlap}"


def _find_fault(now: ChoiceFigures) -> str:
    return f"nothing that was tried keeps the limits, nor does it ({'; '.join(now.misses)})"
