"""Where results go: one JSON file a benchmark, which git tracks, printed in short as well."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from echoexport.profiles.measuring.circumstances import describe_circumstances
from echoexport.profiles.measuring.latency import Comparison, format_json
from echoexport.runtime.contract.schema import dump

RESULTS = Path(__file__).parent / "results"


def parse_arguments(parser: argparse.ArgumentParser, *, name: str) -> argparse.Namespace:
    """The arguments, with ``--output`` for the results file."""
    parser.add_argument(
        "--output", type=Path, default=RESULTS / f"{name}.json", help="results (JSON)"
    )
    return parser.parse_args()


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Write the results with this machine's conditions, aside and renamed."""
    text = format_json({"conditions": dump(asdict(describe_circumstances())), **results})
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
    sys.stdout.write(f"written: {path}\n")


def rank(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and worst of what was measured some times."""
    return {
        "p50": round(float(np.quantile(values, 0.5)), 1),
        "p95": round(float(np.quantile(values, 0.95)), 1),
        "worst": round(max(values), 1),
        "rounds": len(values),
    }


def summarize(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Seconds and ratio of each contestant.

    The conditions that all share stand once in the file.
    """
    return {
        label: {
            "backend": report.conditions.backend,
            "compute": report.conditions.compute,
            "p50": round(report.p50, 4),
            "p90": round(report.p90, 4),
            "min": round(report.min, 4),
            "warmup": report.warmup,
            "repeats": report.repeats,
            "times_faster": round(comparison.ratios[label], 2),
        }
        for label, report in comparison.reports.items()
    }


def show(comparison: Comparison) -> None:
    """One line a contestant on stdout."""
    for label, report in comparison.reports.items():
        ratio = comparison.ratios[label]
        sys.stdout.write(
            f"  {label:<20} median {report.p50:8.3f} s   min {report.min:8.3f} s   {ratio:5.2f} x\n"
        )
    sys.stdout.flush()
