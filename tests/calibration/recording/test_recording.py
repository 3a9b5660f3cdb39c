"""Recording: samples are what networks were given, spread as drawn.

An interrupted recording ends in the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.calibration.recording.draw import seed_noise
from echoexport.calibration.recording.recording import RecordingInput, RecordingSettings, record_set
from echoexport.calibration.recording.recording_inputs import (
    InputSettings,
    hash_crop,
    hash_voice,
    read_recording_inputs,
)
from echoexport.calibration.recording.sets import CalibrationSet
from echoexport.runtime.contract.manifest import read_manifest, write_manifest
from echoexport.runtime.errors import (
    CalibrationError,
    PortraitError,
    PoseError,
    SettingError,
)
from echoexport.runtime.inputs.portrait import FaceCrop
from echoexport.runtime.inputs.resize import Size
from echoexport.runtime.inputs.voice import Voice
from echoexport.runtime.rendering.session import Rendering, Session
from echoexport.runtime.rendering.settings import RenderInputs, RenderSettings
from echoexport.runtime.sampling.ddim import DDIMScheduler, sinusoid
from echoexport.runtime.sampling.noise import initial_latents
from echoexport.runtime.sampling.sampler import SamplingHooks, SamplingStep
from echoexport.runtime.sampling.windows import context_windows, shifted_windows

FRAMES = 12
STEPS = 2


def windows_of(step: int) -> tuple[tuple[int, ...], ...]:
    return shifted_windows(
        context_windows(FRAMES, context=4, overlap=1), step, shift=2, frames=FRAMES
    )


def test_every_network_step_and_portrait_has_samples(record: Callable[..., CalibrationSet]) -> None:
    recorded = record()
    assert dict(recorded.manifest.counts) == {
        "vae_encoder": 2,
        "reference_unet": 2,
        "landmark_encoder": 2,
        "audio_encoder": 2,
        "denoising_unet": 8,
        "vae_decoder": 8,
    }
    samples = list(recorded.samples("denoising_unet"))
    assert Counter((s.step, s.portrait) for s in samples) == Counter(
        {(step, portrait): 2 for step in range(STEPS) for portrait in ("p0", "p1")}
    )
    assert {s.voice for s in samples} == {"v0", "v1"}
    assert {s.portrait for s in recorded.samples("vae_decoder")} == {"p0", "p1"}


def test_a_sample_of_the_first_step_is_the_noise_that_its_window_started_from(
    record: Callable[..., CalibrationSet],
) -> None:
    starts = [sample for sample in record().samples("denoising_unet") if sample.step == 0]
    assert len(starts) >= 3
    for sample in starts:
        seed = seed_noise(0, sample.portrait, sample.voice)
        noise = initial_latents(seed, frames=FRAMES, shape=(4, 4, 4), clamp=1.5)
        window = list(windows_of(0)[sample.window or 0])
        np.testing.assert_array_equal(sample.inputs["latents"], noise[:, :, window])
        assert sample.inputs["reference_gate"].tolist() == [1.0]


def test_later_samples_lie_on_the_samplers_own_trajectory(
    record: Callable[..., CalibrationSet], monkeypatch: pytest.MonkeyPatch
) -> None:
    after_first: dict[int, np.ndarray] = {}

    def render(
        self: Session, inputs: RenderInputs, settings: RenderSettings, *, hooks: SamplingHooks
    ) -> Rendering:
        def keep(step: SamplingStep) -> None:
            if step.index == 0:
                after_first[settings.seed] = step.latents.copy()

        rendering = self.start(inputs, settings, hooks=SamplingHooks(keep))
        assert rendering.latents.shape == (1, 4, FRAMES, 4, 4)
        return rendering

    monkeypatch.setattr(Session, "render", render)
    later = [sample for sample in record().samples("denoising_unet") if sample.step == 1]
    assert len(later) == 4
    for sample in later:
        latents = after_first[seed_noise(0, sample.portrait, sample.voice)]
        window = list(windows_of(1)[sample.window or 0])
        np.testing.assert_array_equal(sample.inputs["latents"], latents[:, :, window])


def test_timesteps_are_those_that_the_network_was_told(
    record: Callable[..., CalibrationSet],
) -> None:
    timesteps = DDIMScheduler().timesteps(5)
    for sample in record(steps=5, samples=20).samples("denoising_unet"):
        assert (
            sample.step is not None
            and sample.timestep == int(timesteps[sample.step])
            and sample.steps == 5
        )
        np.testing.assert_array_equal(
            sample.inputs["timestep_sinusoid"], sinusoid([sample.timestep], 8)
        )


def test_inputs_have_the_shapes_and_the_dtype_of_the_networks(
    record: Callable[..., CalibrationSet], null_bundle: Path
) -> None:
    recorded = record()
    for name, entry in read_manifest(null_bundle).networks.items():
        for sample in recorded.samples(name):
            assert {k: (v.shape, v.dtype.name) for k, v in sample.inputs.items()} == {
                tensor.name: (tensor.shape, tensor.dtype) for tensor in entry.inputs
            }


def test_two_portraits_with_one_mask_are_both_seen(record: Callable[..., CalibrationSet]) -> None:
    masks = list(record().samples("landmark_encoder"))
    assert [sample.portrait for sample in masks] in (["p0", "p1"], ["p1", "p0"])
    np.testing.assert_array_equal(masks[0].inputs["face_map"], masks[1].inputs["face_map"])


def test_the_decoder_is_recorded_and_run_for_drawn_frames_only(
    record: Callable[..., CalibrationSet], backend: Any
) -> None:
    assert record(samples=4).count("vae_decoder") == backend.calls["vae_decoder"] == 4


def test_the_set_says_what_it_was_made_of(
    record: Callable[..., CalibrationSet],
    null_bundle: Path,
    voice_of: Callable[..., Voice],
    crop_of: Callable[[int], Callable[[Size], FaceCrop]],
) -> None:
    recorded = record()
    manifest = recorded.manifest
    assert manifest.portraits == {f"p{n}": hash_crop(crop_of(n)((32, 32))) for n in range(2)}
    assert manifest.voices == {f"v{n}": hash_voice(voice_of(n)) for n in range(2)}
    assert (manifest.made, manifest.sampling.seconds, recorded.steps) == ("mixes", 2.0, STEPS)
    assert manifest.megabytes == round(sum(manifest.arrays.values()) / 1e6, 3)
    recorded.require_of(read_manifest(null_bundle))


def change_bundle(folder: Path, **sampler: object) -> Path:
    manifest = read_manifest(folder)
    write_manifest(replace(manifest, sampler=replace(manifest.sampler, **sampler)), folder)  # type: ignore[arg-type]
    return folder


def test_with_guidance_the_half_without_conditions_is_recorded_too(
    record: Callable[..., CalibrationSet], null_bundle: Path
) -> None:
    recorded = record(bundle=change_bundle(null_bundle, guidance=2.5))
    gates = Counter(
        (s.step, float(s.inputs["reference_gate"][0])) for s in recorded.samples("denoising_unet")
    )
    assert gates[0, 1.0] == 4 and gates[0, 0.0] == 0 and gates[1, 0.0] == 4
    for sample in recorded.samples("denoising_unet"):
        assert sample.inputs["audio_tokens"].any() == bool(sample.inputs["reference_gate"][0])


def test_a_graph_that_the_backend_has_for_itself_is_not_recorded_with(
    record: Callable[..., CalibrationSet], null_bundle: Path, backend: Any
) -> None:
    manifest = read_manifest(null_bundle)
    entry = manifest.networks["denoising_unet"]
    own = "denoising_unet.own.onnx"
    (null_bundle / own).write_bytes((null_bundle / entry.graph).read_bytes())
    changed = replace(
        manifest,
        files={**manifest.files, own: manifest.files[entry.graph]},
        networks={
            **manifest.networks,
            "denoising_unet": replace(entry, graphs={backend.name: own}),
        },
    )
    write_manifest(changed, null_bundle)
    record(bundle=null_bundle)
    assert entry.graph in backend.graphs and own not in backend.graphs


@pytest.fixture
def poses(tmp_path: Path) -> Path:
    draw = np.random.default_rng(3)
    np.save(tmp_path / "poses.npy", draw.uniform(200, 290, (10, 478, 3)).astype(np.float32))
    return tmp_path / "poses.npy"


def test_a_pose_bundle_is_recorded_with_its_maps(
    record: Callable[..., CalibrationSet],
    make_null_bundle: Callable[..., Path],
    poses: Path,
    inputs_of: Callable[..., list[RecordingInput]],
) -> None:
    from echoexport.runtime.inputs.pose import read_poses

    recorded = record(inputs_of(poses=poses), bundle=make_null_bundle("posed", face="pose"))
    maps = [np.asarray(array) for array in read_poses(poses, size=(32, 32))]
    samples = list(recorded.samples("landmark_encoder"))
    assert len(samples) == 8 and list(recorded.manifest.poses) == ["poses.npy"]
    for sample in samples:
        assert any(np.array_equal(sample.inputs["face_map"][0], drawn) for drawn in maps)
    assert len({sample.inputs["face_map"].tobytes() for sample in samples}) > 4


def test_poses_are_wanted_by_pose_bundles_alone(
    record: Callable[..., CalibrationSet],
    make_null_bundle: Callable[..., Path],
    poses: Path,
    inputs_of: Callable[..., list[RecordingInput]],
) -> None:
    with pytest.raises(PoseError, match="variant 'pose_acc' needs poses: --poses"):
        record(bundle=make_null_bundle("posed", face="pose"))
    with pytest.raises(PoseError, match="variant 'acc' takes no poses"):
        record(inputs_of(poses=poses))


def test_a_clip_shorter_than_a_window_is_recorded_padded(
    record: Callable[..., CalibrationSet],
    voice_of: Callable[..., Voice],
    crop_of: Callable[[int], Callable[[Size], FaceCrop]],
) -> None:
    short = RecordingInput("p", "v", crop_of(0), voice_of(0, seconds=0.1))
    recorded = record([short])
    assert (recorded.count("denoising_unet"), recorded.count("vae_decoder")) == (STEPS, 3)


def test_megabytes_bound_the_arrays(record: Callable[..., CalibrationSet]) -> None:
    whole = record(samples=8, name="whole")
    small = record(samples=8, megabytes=1.2)
    assert small.manifest.megabytes <= 1.2 < whole.manifest.megabytes
    assert 0 < small.count("denoising_unet") < 8


def test_what_cannot_be_recorded_is_refused_before_anything_runs(
    record: Callable[..., CalibrationSet],
    backend: Any,
    tmp_path: Path,
    null_bundle: Path,
    inputs_of: Callable[..., list[RecordingInput]],
) -> None:
    wrong: dict[str, dict[str, object]] = {
        "0 samples": {"samples": 0},
        "-1 MB": {"megabytes": -1.0},
        "nan MB": {"megabytes": float("nan")},
        "0.01 seconds": {"seconds": 0.01},
        "seed -1": {"seed": -1},
        "step": {"steps": 0},
    }
    for message, change in wrong.items():
        with pytest.raises(SettingError, match=message):
            record(**change)
    with pytest.raises(CalibrationError, match="portrait 'p0' with voice 'v0' is given 2 times"):
        record([*inputs_of(1, 1), *inputs_of(1, 1)])
    with pytest.raises(CalibrationError, match="no portrait and voice"):
        record_set(
            null_bundle, [], tmp_path / "set", settings=RecordingSettings(samples=8, backend="null")
        )
    assert not backend.calls
    assert not [path for path in tmp_path.iterdir() if "set" in path.name]


def test_only_an_fp32_bundle_is_recorded(
    record: Callable[..., CalibrationSet], null_bundle: Path
) -> None:
    manifest = read_manifest(null_bundle)
    networks = {name: replace(entry, precision="fp16") for name, entry in manifest.networks.items()}
    write_manifest(replace(manifest, networks=networks), null_bundle)
    with pytest.raises(CalibrationError, match="not an fp32 bundle"):
        record()


def test_a_portrait_that_is_none_is_named_before_anything_runs(
    record: Callable[..., CalibrationSet], backend: Any, tmp_path: Path, voice_file: Path
) -> None:
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(PortraitError, match=r"a\.png cannot be read as a picture"):
        record(read_recording_inputs(tmp_path / "a.png", voice_file, InputSettings(seconds=0.5)))
    assert not backend.calls
