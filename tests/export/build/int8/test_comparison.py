"""An int8 bundle against fp32: which clips are rendered, and what budget they are held to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from echoexport.calibration.choosing.sensitivity import Damage
from echoexport.export.build.int8 import comparison
from echoexport.export.build.int8.comparison import compare_with_fp32
from echoexport.export.build.job import BundleJob
from echoexport.export.build.settings import BuildSettings
from echoexport.export.checkpoint.reader import Checkpoint
from echoexport.export.demo import quality_clips
from echoexport.profiles.quality.mouth import CLOSED, FOLLOWS
from echoexport.profiles.quality.report import QualityReport
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.targets.spec import load_target


@dataclass(frozen=True)
class Clip:
    """A clip of which only its length is asked."""

    frames: int | None = None


@pytest.fixture
def compared(
    monkeypatch: pytest.MonkeyPatch,
    make_null_bundle: Callable[..., Path],
    make_report: Callable[..., QualityReport],
) -> Callable[..., dict[str, Any]]:
    """A function that compares two stand-in bundles, and gives what was asked of the comparison."""

    def run(*, large: bool = False, character: bool = False) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def list_clips(manifest: Any, plan: Any, *, fps: float) -> list[Clip]:
            seen["plan"] = plan
            return [Clip(), Clip()]

        def compare(reference: Any, candidate: Any, clips: Any, **rest: Any) -> QualityReport:
            seen.update(reference=reference, candidate=candidate, clips=clips, **rest)
            return make_report(dict.fromkeys(FAMILY.required, "int8+fp32"))

        monkeypatch.setattr(quality_clips, "list_quality_clips", list_clips)
        monkeypatch.setattr(quality_clips, "is_character", lambda manifest: character)
        monkeypatch.setattr(comparison, "is_large", lambda bundle: large)
        monkeypatch.setattr(comparison, "compare_bundles", compare)
        settings = BuildSettings(precision="int8", quality=42.0)
        job = BundleJob(cast(Checkpoint, None), load_target("cpu"), settings, print)
        folders = [make_null_bundle(name) for name in ("exact", "judged")]
        damage = [Damage(("one", "two"), 0.1)]
        compare_with_fp32(folders[0], folders[1], damage=damage, job=job)
        return seen

    return run


def test_the_budget_is_the_quality_that_was_asked_for(compared: Callable[..., Any]) -> None:
    budget = compared()["settings"].budget
    assert (budget.psnr, budget.ssim) == (42.0, 0.97)
    assert budget.losses == {}


def test_the_characters_mouth_may_lose_a_fiftieth(compared: Callable[..., Any]) -> None:
    assert compared(character=True)["settings"].budget.losses == {FOLLOWS: 0.02, CLOSED: 0.02}


def test_a_small_models_clips_are_whole(compared: Callable[..., Any]) -> None:
    seen = compared()
    assert (seen["plan"].people, seen["plan"].seconds) == (3, 2.0)
    assert [clip.frames for clip in seen["clips"]] == [None, None]


def test_a_large_models_clips_are_a_window_long(
    compared: Callable[..., Any], null_bundle: Path
) -> None:
    seen = compared(large=True)
    assert (seen["plan"].people, seen["plan"].seconds) == (0, 0.5)
    window = read_manifest(null_bundle).window.frames
    assert [clip.frames for clip in seen["clips"]] == [window, window]


def test_the_reference_computes_in_fp32_and_the_candidate_as_it_says(
    compared: Callable[..., Any],
) -> None:
    seen = compared()
    assert seen["reference"].folder.name == "exact"
    assert seen["candidate"].folder.name == "judged"
    assert seen["reference"].options.compute == "fp32"
    assert seen["candidate"].options.compute == ""


def test_the_report_says_what_each_layer_of_the_denoiser_cost(compared: Callable[..., Any]) -> None:
    (costs,) = compared()["settings"].damage.values()
    assert list(costs) == ["one", "two"]
    assert costs["one"] == costs["two"] == Damage(("one",), 0.1).snr
