"""Clips of a comparison: rendered alike, measured, scored, and refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from echoexport.profiles.quality.clips import ComparisonClip
from echoexport.profiles.quality.comparison import ComparisonSettings, compare_bundles
from echoexport.profiles.quality.report import QualityBudget, QualityReport
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.manifest import read_manifest, write_manifest
from echoexport.runtime.errors import (
    BackendError,
    InputError,
)
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.rendering.settings import RenderSettings


def test_small_changes_are_not_held_while_frames_are_compared(
    null_bundle: Path,
    open_waves: Callable[..., Bundle],
    make_clip: Callable[..., ComparisonClip],
    compare: Callable[..., QualityReport],
) -> None:
    manifest = read_manifest(null_bundle)
    write_manifest(
        dataclasses.replace(manifest, picture=dataclasses.replace(manifest.picture, hold=255)),
        null_bundle,
    )
    seen = []
    with open_waves(null_bundle) as one, open_waves(null_bundle) as other:
        compare(one, other, make_clip(score=lambda frames, reference: seen.append(frames) or {}))  # type: ignore[func-returns-value]
        wanted = np.stack(
            list(Session(one).render(make_clip().inputs, RenderSettings(frames=5, hold=0)))
        )
    assert np.array_equal(seen[0], wanted)


def test_scores_are_asked_of_both_and_their_loss_is_judged(
    null_bundle: Path,
    open_waves: Callable[..., Bundle],
    make_clip: Callable[..., ComparisonClip],
    compare: Callable[..., QualityReport],
) -> None:
    def brightness(frames: np.ndarray, reference: np.ndarray) -> dict[str, float]:
        return {"brightness": float(reference.mean() - frames.mean())}

    budget = QualityBudget(losses={"brightness": 1.0})
    with open_waves(null_bundle) as one, open_waves(null_bundle, vae_decoder=0.1) as other:
        report = compare(
            one, other, make_clip(score=brightness), make_clip("unscored"), budget=budget
        )
    (score,) = report.headline.scores
    assert (score.name, score.reference) == ("brightness", 0)
    assert score.candidate == pytest.approx(score.difference) and score.difference < -5
    assert not report.holds
    assert report.misses[0].startswith("brightness lost ")
    assert report.clips[1].scores == ()


def test_nan_in_a_network_is_an_error_that_names_it(
    null_bundle: Path, open_waves: Callable[..., Bundle], compare: Callable[..., QualityReport]
) -> None:
    with (
        open_waves(null_bundle) as one,
        open_waves(null_bundle, denoising_unet=float("nan")) as other,
        pytest.raises(BackendError, match="ends in latents that are NaN"),
    ):
        compare(one, other)


def test_no_clips_and_two_of_one_name_are_refused(
    null_bundle: Path,
    open_waves: Callable[..., Bundle],
    make_clip: Callable[..., ComparisonClip],
    compare: Callable[..., QualityReport],
) -> None:
    with open_waves(null_bundle) as one, open_waves(null_bundle) as other:
        with pytest.raises(InputError, match="no clips"):
            compare_bundles(one, other, [])
        with pytest.raises(InputError, match="two clips are called 'one'"):
            compare(one, other, make_clip(), make_clip())


def test_strips_show_bundles_between_and_one_frame_large(
    null_bundle: Path,
    open_waves: Callable[..., Bundle],
    make_clip: Callable[..., ComparisonClip],
    quick: ComparisonSettings,
) -> None:
    with open_waves(null_bundle) as one, open_waves(null_bundle, vae_decoder=0.1) as other:
        found = compare_bundles(one, other, [make_clip()], settings=quick, also={"fp16": one})
    labels = [[row.label for row in strip.rows] for strip in found.strips]
    assert labels == [["reference", "fp16", "candidate", "candidate less reference, x 16"]] * 2
    assert [strip.closely for strip in found.strips] == [False, True]
    assert found.strips[1].frames == (found.clips[0].worst_frame,)
