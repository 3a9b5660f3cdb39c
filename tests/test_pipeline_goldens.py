"""The whole path, checkpoint to frames, against the original pipeline's recorded runs.

Every run on every engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime import RenderInputs, RenderSettings, Session, open_bundle
from echoexport.runtime.conditioning.audio_tokens import AudioTokens
from echoexport.runtime.conditioning.reference import encode_picture
from echoexport.runtime.conditioning.voice_features import encode_voice
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.inputs.voice import voice_from_samples
from echoexport.runtime.sampling.sampler import SamplingHooks, SamplingStep

pytestmark = pytest.mark.slow

RUNS = ("acc", "acc_cfg", "base", "pose_acc", "pose")
# acc_cfg is a clip of 9 frames, which the original denoises as one window of 9.
WINDOWS = {"acc_cfg": 9}
LATENTS = 1e-3
NETWORKS = 1e-4
ONE_THREAD = EngineOptions(threads=1)  # tests run side by side


@dataclass(frozen=True)
class Outcome:
    """What one run gave."""

    steps: list[SamplingStep]
    frames: np.ndarray
    latents: np.ndarray
    picture_latents: np.ndarray
    first_window_tokens: np.ndarray
    calls: dict[str, int]


CASES = [(run, backend) for run in RUNS for backend in ("ort", "openvino")]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def played(
    request: pytest.FixtureRequest,
    build_tiny: Callable[..., Path],
    goldens_pipeline: Any,
    echo_reference: Any,
) -> Iterator[tuple[str, Outcome]]:
    run, backend = request.param
    settings = goldens_pipeline.meta["runs"][run]
    folder = build_tiny(settings["variant"], frames=WINDOWS.get(run, 12))
    yield (
        run,
        play(run, folder, backend=backend, goldens=goldens_pipeline, reference=echo_reference),
    )


def play(run: str, folder: Path, *, backend: str, goldens: Any, reference: Any) -> Outcome:
    settings = goldens.meta["runs"][run]
    steps = []
    voice = voice_from_samples(
        goldens["pipeline/waveform_int16"] / np.float32(32768), sample_rate=16000
    )
    inputs = RenderInputs(
        picture=goldens["pipeline/ref_image_rgb"],
        voice=voice,
        mask=None if "pose_map" in settings else goldens["pipeline/face_mask"],
        poses=pose_maps(run, frames=settings["frames"], reference=reference)
        if "pose_map" in settings
        else None,
        noise=goldens[f"pipeline/{run}/initial_latents"],
    )
    chosen = RenderSettings(
        steps=settings["steps"],
        guidance=settings["guidance_scale"],
        frames=settings["frames"],
        frame_count="original",
    )
    with open_bundle(folder, backend=backend, options=ONE_THREAD) as bundle:
        session = Session(bundle)
        rendering = session.render(inputs, chosen, hooks=SamplingHooks(on_step=steps.append))
        frames = np.stack(list(rendering))
        calls = session.networks.calls()
        tokens = AudioTokens(
            encode_voice(bundle.lease(), voice), rendering.fps, frames=rendering.frames
        )
        return Outcome(
            steps,
            frames,
            rendering.latents,
            picture_latents=encode_picture(bundle.lease(), inputs.picture),
            first_window_tokens=tokens.window(steps[0].windows[0]),
            calls=calls,
        )


def pose_maps(run: str, *, frames: int, reference: Any) -> np.ndarray:
    """The recorded runs' pose maps, as the goldens' meta describes them: (frames, 3, 128, 128)."""
    noise = reference.reference_input(f"pipeline_{run}_pose", (1, 3, frames, 128, 128))
    return np.asarray(np.clip(0.5 + 0.25 * noise, 0, 1)[0].swapaxes(0, 1), np.float32)


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def test_timesteps_and_windows_are_exactly_the_originals(
    played: tuple[str, Outcome], goldens_pipeline: Any
) -> None:
    run, outcome = played
    assert [step.timestep for step in outcome.steps] == goldens_pipeline[
        f"pipeline/{run}/timesteps"
    ].tolist()
    assert [list(map(list, s.windows)) for s in outcome.steps] == goldens_pipeline[
        f"pipeline/{run}/windows"
    ].tolist()


def test_velocities_and_latents_follow_the_original_step_by_step(
    played: tuple[str, Outcome], goldens_pipeline: Any
) -> None:
    run, outcome = played
    for step in outcome.steps:
        recorded = f"pipeline/{run}/step{step.index}"
        assert (
            relative_error(step.velocity, goldens_pipeline[f"{recorded}/model_output"]) <= LATENTS
        )
        assert relative_error(step.latents, goldens_pipeline[f"{recorded}/latents"]) <= LATENTS
    np.testing.assert_array_equal(outcome.latents, outcome.steps[-1].latents)


def test_frames_are_the_originals_to_the_grey_level(
    played: tuple[str, Outcome], goldens_pipeline: Any
) -> None:
    run, outcome = played
    wanted = goldens_pipeline[f"pipeline/{run}/frames_uint8"]
    assert outcome.frames.dtype == np.uint8
    assert outcome.frames.shape == wanted.shape
    difference = np.abs(outcome.frames.astype(int) - wanted)
    psnr = 10 * np.log10(255**2 / max(np.mean(difference.astype(float) ** 2), 1e-12))
    assert psnr >= 50
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 0.01


def test_the_portrait_and_the_voice_reach_the_denoiser_as_in_the_original(
    played: tuple[str, Outcome], goldens_pipeline: Any
) -> None:
    run, outcome = played
    assert (
        relative_error(outcome.picture_latents, goldens_pipeline[f"pipeline/{run}/ref_latents"])
        <= NETWORKS
    )
    tokens = outcome.first_window_tokens[0][:, [0, 24, 49], :8]
    assert (
        relative_error(tokens, goldens_pipeline[f"pipeline/{run}/audio_window0_checks"]) <= NETWORKS
    )


def test_each_network_runs_no_more_often_than_needed(
    played: tuple[str, Outcome], goldens_pipeline: Any
) -> None:
    run, outcome = played
    settings = goldens_pipeline.meta["runs"][run]
    windows = goldens_pipeline[f"pipeline/{run}/windows"]
    halves = 2 if settings["guidance_scale"] > 1 else 1
    assert outcome.calls == {
        "vae_encoder": 1,
        "reference_unet": 1,
        "landmark_encoder": settings["frames"] if "pose_map" in settings else 1,
        "audio_encoder": 1,
        "denoising_unet": halves * windows.shape[0] * windows.shape[1],
        "vae_decoder": settings["frames"],
    }
