"""The table of gates: every figure with its limit, and the judgement over measured clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from echoexport.export.demo.gates.clips import LONGEST_LAG, ClipResult
from echoexport.profiles.quality.lipsync import correlate, worst_decile
from echoexport.profiles.quality.motion import Drift

__all__ = ["GATES", "GateLine", "QualityGate", "gather_values", "judge"]


@dataclass(frozen=True)
class QualityGate:
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
    QualityGate("measure", "openness measure on true frames: correlation, mean", 0.98),
    QualityGate(
        "correlation", "mouth openness with the truth, within a clip: correlation, mean", 0.85
    ),
    QualityGate("correlation_worst", "the same, worst tenth", 0.65),
    QualityGate("lag", "best lag of all clips together, frames either way", 1, at_least=False),
    QualityGate("lag_share", "clips whose own best lag is within a frame, share", 0.9),
    QualityGate(
        "shuffled", "openness with the truth of other clips: correlation, mean", 0.2, at_least=False
    ),
    QualityGate(
        "silence", "mouth closed where the truth is silent for 0.2 s or more, share of frames", 0.95
    ),
    QualityGate("ssim", "outside mouth and eyes against the portrait: SSIM, mean", 0.95),
    QualityGate("ssim_worst", "the same, worst tenth", None),
    QualityGate("ssim_truth", "the same of the true frames, mean", None),
    QualityGate("psnr", "outside mouth and eyes against the portrait: PSNR, dB, mean", 28.0),
    QualityGate("psnr_worst", "the same, worst tenth", None),
    QualityGate("psnr_truth", "the same of the true frames, mean", None),
    QualityGate(
        "delta_e",
        "outside mouth and eyes against the portrait: CIEDE2000, mean",
        4.0,
        at_least=False,
    ),
    QualityGate("delta_e_worst", "the same, worst tenth", None, at_least=False),
    QualityGate("drift_ssim", "last second less the first, against true frames: SSIM", -0.01),
    QualityGate("drift_psnr", "the same: PSNR, dB", -1.0),
    QualityGate("drift_delta_e", "the same: CIEDE2000", 0.5, at_least=False),
    QualityGate(
        "flicker",
        "change from frame to frame outside the mouth, over that of the true frames",
        1.5,
        at_least=False,
    ),
)
"""Every figure and its limit; those without a limit are for reading. "Worst tenth" is
the mean of it."""


@dataclass(frozen=True)
class GateLine:
    """A gate with the value that was measured."""

    name: str
    what: str
    value: float
    limit: float | None
    at_least: bool
    passed: bool


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
    """The mean correlation of each clip's measured openness with every other clip's truth.

    Two clips are compared as far as both go.
    """
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
