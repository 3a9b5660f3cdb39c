"""Two bundles compared: figures worked out by hand, from engines that err by a known amount."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.profiles.quality.clips import ComparisonClip
from echoexport.profiles.quality.comparison import ComparisonSettings, compare_bundles
from echoexport.profiles.quality.report import QualityBudget, QualityReport, format_quality_json
from echoexport.profiles.quality.signals import MOST_DECIBELS
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.errors import (
    InputError,
    SettingError,
)


def test_a_bundle_against_itself_is_equal_in_everything(
    null_bundle: Path, open_waves: Callable[..., Bundle], compare: Callable[..., QualityReport]
) -> None:
    with open_waves(null_bundle) as one, open_waves(null_bundle) as other:
        report = compare(one, other)
    assert [network.name for network in report.networks] == list(FAMILY.required)
    assert {network.closeness.snr for network in report.networks} == {MOST_DECIBELS}
    assert {network.closeness.largest for network in report.networks} == {0}
    head = report.headline
    assert (head.psnr, head.ssim, head.size, head.weights) == (60, 1, 1, 1)
    assert head.latents_snr == MOST_DECIBELS
    assert (report.origin, report.holds, report.notes) == ("measured", True, ())


def test_an_error_in_one_network_is_found_there_and_in_the_frames(
    null_bundle: Path, open_waves: Callable[..., Bundle], compare: Callable[..., QualityReport]
) -> None:
    with open_waves(null_bundle) as one, open_waves(null_bundle, vae_decoder=0.1) as other:
        report = compare(one, other)
    found = {network.name: network.closeness for network in report.networks}
    assert {name for name, closeness in found.items() if closeness.snr < MOST_DECIBELS} == {
        "vae_decoder"
    }
    # A sine's mean square is a half, the error's is a hundredth.
    assert found["vae_decoder"].snr == pytest.approx(10 * np.log10(0.5 / 0.01), abs=0.05)
    assert found["vae_decoder"].largest == pytest.approx(0.1, abs=1e-4)
    assert report.headline.latents_snr == MOST_DECIBELS
    # A tenth of [-1, 1] is 12.75 of 255 levels, less where it is clipped, cut to whole
    # ones.
    assert 26 < report.headline.psnr < 28
    clip = report.clips[0]
    assert clip.psnr_worst == pytest.approx(min(clip.psnr_frames), abs=0.006)
    assert clip.psnr_frames[clip.worst_frame] == min(clip.psnr_frames)


def test_an_early_error_reaches_only_what_comes_after_it(
    null_bundle: Path, open_waves: Callable[..., Bundle], compare: Callable[..., QualityReport]
) -> None:
    with open_waves(null_bundle) as one, open_waves(null_bundle, denoising_unet=0.02) as other:
        report = compare(one, other)
    assert report.headline.latents_snr < 60
    # The decoder got the reference's latents and is not blamed.
    assert {n.name for n in report.networks if n.closeness.snr < MOST_DECIBELS} == {
        "denoising_unet"
    }


def test_the_same_inputs_give_the_same_report_but_for_time(
    null_bundle: Path, open_waves: Callable[..., Bundle], compare: Callable[..., QualityReport]
) -> None:
    def run() -> dict[str, Any]:
        with open_waves(null_bundle) as one, open_waves(null_bundle, denoising_unet=0.05) as other:
            report = compare(one, other)
        data: dict[str, Any] = json.loads(format_quality_json(report))
        del data["conditions"], data["headline"]["speed"]
        for network in data["networks"]:
            del network["speed"]
            for side in ("reference", "candidate"):
                del network[side]["median"], network[side]["p90"]
        return {**data, "strips": [row.picture for strip in report.strips for row in strip.rows]}

    assert run() == run()


def test_a_budget_is_kept_or_missed_by_what_was_measured(
    null_bundle: Path, open_waves: Callable[..., Bundle], compare: Callable[..., QualityReport]
) -> None:
    with open_waves(null_bundle) as one, open_waves(null_bundle, vae_decoder=0.1) as other:
        assert compare(one, other, budget=QualityBudget(psnr=25, ssim=0.5)).misses == ()
        misses = compare(one, other, budget=QualityBudget(psnr=35, ssim=0.9999)).misses
    assert len(misses) == 2 and "35 dB are wanted" in misses[0] and "0.9999 is wanted" in misses[1]


def test_a_budget_for_a_score_that_nobody_took_is_refused(
    null_bundle: Path, open_waves: Callable[..., Bundle], compare: Callable[..., QualityReport]
) -> None:
    with (
        open_waves(null_bundle) as one,
        open_waves(null_bundle) as other,
        pytest.raises(InputError, match="'lips'"),
    ):
        compare(one, other, budget=QualityBudget(losses={"lips": 0.1}))


@pytest.mark.parametrize(
    "spoilt", [{"calls": 0}, {"repeats": 0}, {"warmup": -1}, {"strip_clips": -1}]
)
def test_settings_that_measure_nothing_are_refused(spoilt: dict[str, int]) -> None:
    with pytest.raises(SettingError, match="are wanted"):
        ComparisonSettings(**spoilt)  # type: ignore[arg-type]


def test_progress_goes_from_nothing_to_all(
    null_bundle: Path,
    open_waves: Callable[..., Bundle],
    make_clip: Callable[..., ComparisonClip],
    quick: ComparisonSettings,
) -> None:
    told: list[tuple[str, int, int]] = []
    with open_waves(null_bundle) as one, open_waves(null_bundle) as other:
        compare_bundles(
            one, other, [make_clip()], settings=quick, report=lambda *line: told.append(line)
        )
    assert told[0] == ("rendering", 0, 1) and told[1] == ("rendering", 1, 1)
    assert told[-1] == ("networks", 6, 6)
