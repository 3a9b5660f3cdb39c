"""A clip rendered in one way, against the reference's frames of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.profiles.quality.clips import ComparisonClip
from echoexport.profiles.tuning.choices import TuningChoice
from echoexport.profiles.tuning.trials import TimedFrames, measure_trial, render_timed
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.errors import BackendError
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.rendering.settings import RenderSettings

Speaker = Callable[..., ComparisonClip]
CHOICE = TuningChoice("fp32", 2, 1)


def take(frames: np.ndarray) -> TimedFrames:
    return TimedFrames(frames, 2.0, 1.0, 3.0)


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, (4, 32, 32, 3), dtype=np.uint8)


def test_a_rendering_has_every_frame_and_its_time(null_bundle: Path, make_speaker: Speaker) -> None:
    with open_bundle(null_bundle) as bundle, Session(bundle) as session:
        found = render_timed(session, make_speaker(), CHOICE, RenderSettings())
        assert session.networks.calls()["denoising_unet"] == 2
    assert found.frames.shape == (4, 32, 32, 3)
    assert 0 < found.first <= found.seconds


def test_latents_that_are_not_finite_name_clip_and_choice(
    null_bundle: Path, make_speaker: Speaker
) -> None:
    clip = make_speaker()
    noise = np.full((1, 4, 4, 4, 4), np.nan, np.float32)
    broken = replace(clip, inputs=replace(clip.inputs, noise=noise))
    told = r"clip 'one' with 2 steps, overlap 1, fp32 ends in latents that are NaN"
    with (
        open_bundle(null_bundle) as bundle,
        Session(bundle) as session,
        pytest.raises(BackendError, match=told),
    ):
        render_timed(session, broken, CHOICE, RenderSettings())


def test_equal_frames_are_as_close_as_can_be(make_speaker: Speaker, frames: np.ndarray) -> None:
    found = measure_trial(make_speaker(), frames, [take(frames)])
    assert (found.psnr, found.ssim, found.flicker) == (60.0, 1.0, found.reference_flicker)
    assert found.flicker > 0


def test_the_worst_frame_is_told(make_speaker: Speaker, frames: np.ndarray) -> None:
    other = frames.copy()
    other[2] += 40
    found = measure_trial(make_speaker(), frames, [take(other)])
    assert found.psnr_worst == pytest.approx(20 * np.log10(255 / 40), abs=1e-3)
    assert found.psnr > found.psnr_worst and found.ssim_worst < found.ssim < 1


def test_a_mouth_that_moves_is_no_flicker(make_speaker: Speaker, frames: np.ndarray) -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[2:30, 4:28] = 255
    clip = make_speaker()
    clip = replace(clip, inputs=replace(clip.inputs, mask=mask))
    moved = frames.copy()
    moved[::2, 22:26, 12:20] += 50
    found = measure_trial(clip, frames, [take(moved)])
    assert found.flicker == found.reference_flicker


def test_one_frame_does_not_flicker(make_speaker: Speaker, frames: np.ndarray) -> None:
    found = measure_trial(make_speaker(), frames[:1], [take(frames[:1])])
    assert (found.flicker, found.reference_flicker) == (0.0, 0.0)


def test_scores_and_times_of_every_rendering_are_kept(
    make_speaker: Speaker, frames: np.ndarray
) -> None:
    def score(one: Any, other: Any) -> dict[str, float]:
        return {"likeness": float((one == other).mean())}

    clip = make_speaker(score=score)
    found = measure_trial(clip, frames, [take(255 - frames), take(frames)])
    assert found.scores["likeness"] < 0.1 and found.reference_scores == {"likeness": 1.0}
    assert (found.seconds, found.first, found.cpu) == ((2.0, 2.0), (1.0, 1.0), (3.0, 3.0))
    assert parse(type(found), dump(found), where="trial") == found
