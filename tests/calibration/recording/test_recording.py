"""Recording: samples are what networks were given, spread as drawn.

An interrupted recording ends in the same bytes.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

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
from echoexport.calibration.recording.set_writer import recorded_alone
from echoexport.calibration.recording.sets import CalibrationSet
from echoexport.runtime.contract.manifest import read_manifest, write_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import Arrays, EngineOptions
from echoexport.runtime.errors import (
    CalibrationError,
    OutputError,
    PortraitError,
    PoseError,
    SettingError,
)
from echoexport.runtime.inputs.portrait import FaceCrop
from echoexport.runtime.inputs.resize import Size
from echoexport.runtime.inputs.voice import Voice, voice_from_samples
from echoexport.runtime.rendering.session import Rendering, Session
from echoexport.runtime.rendering.settings import RenderInputs, RenderSettings
from echoexport.runtime.sampling.ddim import DDIMScheduler, sinusoid
from echoexport.runtime.sampling.noise import initial_latents
from echoexport.runtime.sampling.sampler import SamplingHooks, SamplingStep
from echoexport.runtime.sampling.windows import context_windows, shifted_windows

FRAMES = 12
STEPS = 2
SETTINGS = RecordingSettings(samples=8, backend="null")


class MixingEngine:
    """Outputs that depend on every input, and not on when or how often it is called."""

    precision = "fp32"

    def __init__(self, spec: SubnetSpec, backend: MixingBackend) -> None:
        self.spec = spec
        self.backend = backend

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        self.backend.calls[self.spec.name] += 1
        total = sum(float(np.abs(array).mean()) for array in inputs.values())
        outputs = {}
        for number, tensor in enumerate(self.spec.outputs):
            values = np.arange(int(np.prod(tensor.shape)), dtype=np.float64) * 0.37 + total + number
            outputs[tensor.name] = np.cos(values).astype(np.float32).reshape(tensor.shape)
        self.backend.spoil(self.spec.name, self.backend.calls[self.spec.name], outputs)
        return outputs

    def close(self) -> None:
        """Nothing to close."""


class MixingBackend:
    """Opens mixing engines; ``spoil`` is told of each call and may change its outputs, or raise."""

    name = "null"

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.spoil: Callable[[str, int, dict[str, np.ndarray]], None] = (
            lambda network, call, outputs: None
        )

    def unavailable(self) -> str | None:
        return None

    def describe(self) -> str:
        return "mixes"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> MixingEngine:
        return MixingEngine(spec, self)


@pytest.fixture(autouse=True)
def backend(monkeypatch: pytest.MonkeyPatch) -> MixingBackend:
    """In place of the null backend."""
    mixing = MixingBackend()
    monkeypatch.setattr("echoexport.runtime.backends.null.BACKEND", mixing)
    return mixing


def voice_of(seed: int, *, seconds: float = FRAMES / 24) -> Voice:
    samples = (
        np.random.default_rng(seed).uniform(-0.3, 0.3, round(16000 * seconds)).astype(np.float32)
    )
    return voice_from_samples(samples)


def crop_of(seed: int) -> Callable[[Size], FaceCrop]:
    def crop(size: Size) -> FaceCrop:
        width, height = size
        picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
        return FaceCrop(picture, np.full((height, width), 255, np.uint8), (0, 0, width, height))

    return crop


def inputs_of(
    portraits: int = 2, voices: int = 2, *, poses: Path | None = None
) -> list[RecordingInput]:
    return [
        RecordingInput(f"p{portrait}", f"v{voice}", crop_of(portrait), voice_of(voice), poses)
        for portrait in range(portraits)
        for voice in range(voices)
    ]


@pytest.fixture
def record(null_bundle: Path, tmp_path: Path) -> Callable[..., CalibrationSet]:
    def run(
        inputs: list[RecordingInput] | None = None,
        *,
        name: str = "set",
        bundle: Path = null_bundle,
        **changes: object,
    ) -> CalibrationSet:
        settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
        return record_set(bundle, inputs or inputs_of(), tmp_path / name, settings=settings)

    return run


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
    record: Callable[..., CalibrationSet], backend: MixingBackend
) -> None:
    assert record(samples=4).count("vae_decoder") == backend.calls["vae_decoder"] == 4


def test_the_set_says_what_it_was_made_of(
    record: Callable[..., CalibrationSet], null_bundle: Path
) -> None:
    recorded = record()
    manifest = recorded.manifest
    assert manifest.portraits == {f"p{n}": hash_crop(crop_of(n)((32, 32))) for n in range(2)}
    assert manifest.voices == {f"v{n}": hash_voice(voice_of(n)) for n in range(2)}
    assert (manifest.made, manifest.sampling.seconds, recorded.steps) == ("mixes", 2.0, STEPS)
    assert manifest.megabytes == round(sum(manifest.arrays.values()) / 1e6, 3)
    recorded.require_of(read_manifest(null_bundle))


def test_the_same_inputs_and_seed_give_the_same_bytes(
    record: Callable[..., CalibrationSet],
) -> None:
    first = record(name="a")
    again = record(inputs_of()[::-1], name="b")
    assert read_all(first.folder) == read_all(again.folder)
    assert record(name="c", seed=1).digest != first.digest


def read_all(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_recording_goes_on_to_the_same_bytes(
    record: Callable[..., CalibrationSet],
    backend: MixingBackend,
    tmp_path: Path,
    error: type[BaseException],
) -> None:
    inputs = inputs_of(4, 1)
    whole = record(inputs, name="whole")
    needed = backend.calls["denoising_unet"]
    backend.calls.clear()

    def fail(network: str, call: int, outputs: dict[str, np.ndarray]) -> None:
        if (network, call) == ("denoising_unet", needed // 2 + 3):
            raise error

    backend.spoil = fail
    with pytest.raises(error):
        record(inputs)
    assert not (tmp_path / "set").exists()
    backend.calls.clear()
    backend.spoil = lambda network, call, outputs: None
    again = record(inputs)
    assert backend.calls["denoising_unet"] == needed // 2
    assert read_all(again.folder) == read_all(whole.folder)
    assert sorted(path.name for path in tmp_path.iterdir() if "set" in path.name) == ["set"]


def test_a_resumed_recording_with_other_inputs_begins_anew(
    record: Callable[..., CalibrationSet], backend: MixingBackend
) -> None:
    def fail(network: str, call: int, outputs: dict[str, np.ndarray]) -> None:
        if network == "vae_decoder":
            raise KeyboardInterrupt

    backend.spoil = fail
    with pytest.raises(KeyboardInterrupt):
        record()
    backend.spoil = lambda network, call, outputs: None
    others = [
        replace(item, crop=crop_of(9)) if item.portrait == "p0" else item for item in inputs_of()
    ]
    assert read_all(record(others).folder) == read_all(record(others, name="whole").folder)


def test_progress_counts_calls_and_goes_on_where_it_was(
    null_bundle: Path, tmp_path: Path, backend: MixingBackend
) -> None:
    told: list[tuple[str, int, int]] = []

    def run() -> CalibrationSet:
        def report(what: str, done: int, total: int) -> None:
            told.append((what, done, total))

        return record_set(
            null_bundle, inputs_of(3, 1), tmp_path / "set", settings=SETTINGS, report=report
        )

    def interrupt(network: str, call: int, outputs: dict[str, np.ndarray]) -> None:
        if (network, call) == ("denoising_unet", 10):
            raise KeyboardInterrupt

    backend.spoil = interrupt
    with pytest.raises(KeyboardInterrupt):
        run()
    assert told == [("recording", done, 24) for done in (*range(10),)]
    told.clear()
    backend.spoil = lambda network, call, outputs: None
    run()
    assert told == [("recording", done, 24) for done in range(8, 25)]


def test_nan_in_an_output_is_told_with_network_tensor_step_and_timestep(
    record: Callable[..., CalibrationSet], backend: MixingBackend, tmp_path: Path
) -> None:
    def spoil(network: str, call: int, outputs: dict[str, np.ndarray]) -> None:
        if (network, call) == ("denoising_unet", 7):
            outputs["velocity"][0, 0, 0, 0, 0] = np.nan

    backend.spoil = spoil
    message = (
        r"denoising_unet: output 'velocity' holds NaN or infinity "
        r"at step 2 of 2 \(timestep 499\), window 2, with"
    )
    with pytest.raises(CalibrationError, match=message):
        record(inputs_of(1, 1))
    assert not [path for path in tmp_path.iterdir() if "set" in path.name]


def test_no_room_on_the_disk_is_told_before_anything_runs(
    record: Callable[..., CalibrationSet],
    backend: MixingBackend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=64 * 2**20))
    with pytest.raises(OutputError, match=r"set: the set may take 2 MB, the disk has 67 MB free"):
        record()
    assert not backend.calls
    assert not [path for path in tmp_path.iterdir() if "set" in path.name]


def test_a_set_that_another_recording_writes_is_left_to_it(
    record: Callable[..., CalibrationSet], tmp_path: Path
) -> None:
    with (
        recorded_alone(tmp_path / "set"),
        pytest.raises(OutputError, match="another recording of it is at work"),
    ):
        record()
    assert record().count("denoising_unet") > 0


def test_infinity_in_another_network_is_told_with_its_call(
    record: Callable[..., CalibrationSet], backend: MixingBackend
) -> None:
    def spoil(network: str, call: int, outputs: dict[str, np.ndarray]) -> None:
        if network == "audio_encoder":
            outputs["audio_states"][0, 0, 0, 0] = np.inf

    backend.spoil = spoil
    message = (
        r"audio_encoder: output 'audio_states' holds NaN or infinity "
        r"at call 1, with portrait p0 and voice v0"
    )
    with pytest.raises(CalibrationError, match=message):
        record(inputs_of(1, 1))


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


@pytest.fixture
def poses(tmp_path: Path) -> Path:
    draw = np.random.default_rng(3)
    np.save(tmp_path / "poses.npy", draw.uniform(200, 290, (10, 478, 3)).astype(np.float32))
    return tmp_path / "poses.npy"


def test_a_pose_bundle_is_recorded_with_its_maps(
    record: Callable[..., CalibrationSet], make_null_bundle: Callable[..., Path], poses: Path
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
    record: Callable[..., CalibrationSet], make_null_bundle: Callable[..., Path], poses: Path
) -> None:
    with pytest.raises(PoseError, match="variant 'pose_acc' needs poses: --poses"):
        record(bundle=make_null_bundle("posed", face="pose"))
    with pytest.raises(PoseError, match="variant 'acc' takes no poses"):
        record(inputs_of(poses=poses))


def test_a_clip_shorter_than_a_window_is_recorded_padded(
    record: Callable[..., CalibrationSet],
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
    record: Callable[..., CalibrationSet], backend: MixingBackend, tmp_path: Path, null_bundle: Path
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
        record_set(null_bundle, [], tmp_path / "set", settings=SETTINGS)
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
    record: Callable[..., CalibrationSet], backend: MixingBackend, tmp_path: Path, voice_file: Path
) -> None:
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(PortraitError, match=r"a\.png cannot be read as a picture"):
        record(read_recording_inputs(tmp_path / "a.png", voice_file, InputSettings(seconds=0.5)))
    assert not backend.calls
