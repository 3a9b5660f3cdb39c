"""``echoexport compare`` on profiles: side by side, against limits, and never with bundles."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_profiles_are_compared_and_written(
    command: Callable[..., Any], profiled: Path, tmp_path: Path
) -> None:
    report = profiled / "report.json"
    outcome = command(
        "compare",
        report,
        report,
        "--json",
        tmp_path / "c.json",
        "--page",
        tmp_path / "c.html",
        "--markdown",
        tmp_path / "c.md",
    )
    assert outcome.code == 0, outcome
    assert "one (2): no network differs by more than noise" in outcome.out
    assert (tmp_path / "c.md").read_text() in outcome.out
    assert json.loads((tmp_path / "c.json").read_text())["labels"] == ["one (1)", "one (2)"]
    assert (tmp_path / "c.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("limit", "code"),
    [("fps>100000", 0), ("fps<1000000", 1), ("bundle>1kB", 1), ("vae_decoder.p50>+900%", 0)],
)
def test_a_broken_limit_exits_with_one_and_names_itself(
    command: Callable[..., Any], profiled: Path, limit: str, code: int
) -> None:
    report = profiled / "report.json"
    outcome = command("compare", report, report, "--fail-if", limit)
    assert outcome.code == code
    assert len(outcome.told) == code
    assert not code or f"error: one (1): {limit}: " in outcome.told[0]


def test_one_profile_can_be_held_to_limits_but_not_to_changes(
    command: Callable[..., Any], refusal: Callable[..., str], profiled: Path
) -> None:
    report = profiled / "report.json"
    assert command("compare", report, "--fail-if", "first_frame>1000s").code == 0
    assert "needs a second profile" in refusal("compare", report, "--fail-if", "fps<-5%")
    assert "is wanted" in refusal("compare", report, "--fail-if", "fps is low")
    assert "has no 'fsp'; try fps" in refusal("compare", report, "--fail-if", "fsp<5")


def test_bundles_and_profiles_do_not_mix(
    refusal: Callable[..., str], profiled: Path, null_bundle: Path
) -> None:
    assert "not both" in refusal("compare", null_bundle, profiled / "report.json")
    assert "nothing to compare" in refusal("compare")
    assert "1 bundles: two are compared" in refusal("compare", null_bundle)
    assert "are for profiles" in refusal("compare", null_bundle, null_bundle, "--fail-if", "fps<1")
    assert "cannot be read" in refusal("compare", profiled / "none.json")
    assert "not readable JSON" in refusal("compare", profiled / "report.md")
