"""``build --precision int8`` and ``auto``.

From a checkpoint to a small bundle that was compared with fp32.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.calibration.choosing import layer_choice
from echoexport.calibration.choosing.sensitivity import group_layers
from echoexport.calibration.graphs.float_graph import FloatGraph, Layer
from echoexport.calibration.plan import read_plan, write_plan
from echoexport.calibration.recording.recording import RecordingSettings, record_set
from echoexport.export.build.bundle import build_bundle
from echoexport.export.build.settings import BuildSettings
from echoexport.export.demo.assets import CHARACTER_SIZE, builtin_checkpoint
from echoexport.export.demo.calibration_inputs import builtin_recording_inputs
from echoexport.export.graphs.count_work import count_work
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.errors import CalibrationError, QualityError, SettingError
from echoexport.runtime.files.cache_folders import find_cache_folder
from echoexport.targets.spec import load_target

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
pytestmark = pytest.mark.slow

TARGET = load_target("cpu-openvino")


def settings(**changes: Any) -> BuildSettings:
    plain = BuildSettings(
        size=CHARACTER_SIZE,
        steps=2,
        traces=find_cache_folder("traces"),
        precision="int8",
        own_graphs=False,  # which are quicker is another thing on each run
    )
    return replace(plain, **changes)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small set of the built-in character, two steps long."""
    folder = tmp_path_factory.mktemp("recorded")
    build_bundle(
        builtin_checkpoint(),
        folder / "fp32",
        target=TARGET,
        settings=settings(precision="fp32", check="none"),
    )
    sampling = RecordingSettings(samples=8, steps=2, seconds=1.0)
    record_set(folder / "fp32", builtin_recording_inputs(2), folder / "set", settings=sampling)
    return folder / "set"


@pytest.fixture(scope="module")
def small(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in character in int8."""
    folder = tmp_path_factory.mktemp("small") / "bundle"
    build_bundle(
        builtin_checkpoint(), folder, target=TARGET, settings=settings(calibration=recorded)
    )
    return folder


@pytest.fixture(scope="module")
def manifest(small: Path) -> Manifest:
    return read_manifest(small)


def test_the_bundle_is_whole_and_its_networks_pass_their_self_tests(small: Path) -> None:
    with open_bundle(small) as bundle:
        assert len(list(bundle.check_files())) == len(bundle.manifest.files)
        results = [bundle.self_test(name) for name in bundle.manifest.networks]
    assert all(result.passed for result in results)
    assert {result.precision for result in results} == {"int8"}


def test_frames_are_within_the_budget_and_the_mouth_moves_as_before(
    small: Path, manifest: Manifest
) -> None:
    report = json.loads((small / "quality.json").read_text())
    assert report["misses"] == []
    assert report["candidate"]["name"] == small.name
    assert report["headline"]["psnr"] >= 35
    assert report["headline"]["ssim"] >= 0.97
    assert all(score["difference"] >= -0.02 for score in report["headline"]["scores"])
    assert manifest.quantization is not None
    assert manifest.quantization.reached_db == pytest.approx(report["headline"]["psnr"], abs=0.01)
    assert manifest.quality == "quality.json"


def test_weights_take_a_third_and_the_denoisers_are_int8(small: Path, manifest: Manifest) -> None:
    stored = sum(manifest.files[entry.weights].bytes for entry in manifest.networks.values())
    values = sum(entry.parameters for entry in manifest.networks.values())
    assert stored <= 0.35 * 4 * values
    denoiser = manifest.networks["denoising_unet"]
    assert manifest.files[denoiser.weights].bytes <= (0.85 + 4 * 0.15) * denoiser.parameters
    plan = read_plan(small / "quantization.json").networks["denoising_unet"]
    assert sum(layer.mode == "int8" for layer in plan.layers.values()) > 150


def test_work_is_counted_from_the_int8_graphs(small: Path, manifest: Manifest) -> None:
    for name, entry in manifest.networks.items():
        assert entry.work == count_work(FloatGraph(small / entry.graph).model), name
    denoiser = manifest.networks["denoising_unet"].work
    assert denoiser is not None
    assert 0.8 < denoiser.total.int8_flops / denoiser.total.weighted_flops < 1


def test_the_same_set_gives_the_same_plan_and_files(
    small: Path, recorded: Path, manifest: Manifest, tmp_path: Path
) -> None:
    again = build_bundle(
        builtin_checkpoint(),
        tmp_path / "again",
        target=TARGET,
        settings=settings(calibration=recorded),
    )
    timed = {"quality.json", "quality.html"}
    assert {n: f for n, f in again.files.items() if n not in timed} == {
        n: f for n, f in manifest.files.items() if n not in timed
    }


def test_a_plan_that_was_edited_is_followed(small: Path, recorded: Path, tmp_path: Path) -> None:
    plan = read_plan(small / "quantization.json")
    name = next(
        n for n, layer in plan.networks["denoising_unet"].layers.items() if layer.mode == "int8"
    )
    layers = dict(plan.networks["denoising_unet"].layers)
    layers[name] = replace(layers[name], mode="float", reason="pinned by hand")
    networks = {
        **plan.networks,
        "denoising_unet": replace(plan.networks["denoising_unet"], layers=layers),
    }
    write_plan(replace(plan, networks=networks), tmp_path / "edited.json")
    built = build_bundle(
        builtin_checkpoint(),
        tmp_path / "bundle",
        target=TARGET,
        settings=settings(calibration=recorded, plan=tmp_path / "edited.json"),
    )
    followed = (
        read_plan(tmp_path / "bundle" / "quantization.json").networks["denoising_unet"].layers[name]
    )
    assert (followed.mode, followed.reason) == ("float", "pinned by hand")
    before = read_manifest(small)
    weights = before.networks["denoising_unet"].weights
    assert built.files[weights].bytes > before.files[weights].bytes


def test_a_budget_that_cannot_be_met_leaves_nothing(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def few(layers: Iterable[Layer], *, most: int) -> list[tuple[str, ...]]:
        return group_layers(layers, most=min(most, 4))  # as many as the test has time for

    monkeypatch.setattr(layer_choice, "group_layers", few)
    wanted = settings(calibration=recorded, quality=95.0)
    with pytest.raises(
        QualityError, match=r"quality 95 dB cannot be met in int8: .* ask for less \(--quality\)"
    ):
        build_bundle(builtin_checkpoint(), tmp_path / "bundle", target=TARGET, settings=wanted)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_ones_own_needs_a_set(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(
        SettingError, match=r"needs a calibration set: record one with 'echoexport calibrate"
    ):
        build_bundle(tiny_checkpoint, tmp_path / "bundle", target=TARGET, settings=settings())
    assert list(tmp_path.iterdir()) == []


def test_a_set_of_another_size_is_refused(recorded: Path, tmp_path: Path) -> None:
    other = settings(calibration=recorded, size=(64, 64))
    with pytest.raises(CalibrationError, match="128"):
        build_bundle(builtin_checkpoint(), tmp_path / "bundle", target=TARGET, settings=other)
    assert list(tmp_path.iterdir()) == []


def test_auto_keeps_the_fastest_of_each_network_and_says_what_lost(
    recorded: Path, tmp_path: Path
) -> None:
    wanted = settings(precision="auto", calibration=recorded)
    built = build_bundle(builtin_checkpoint(), tmp_path / "bundle", target=TARGET, settings=wanted)
    notes = [note for note in built.provenance.notes if "a call, measured" in note]
    chosen = [note for note in notes if ": chosen" in note]
    assert [note.split(":")[0] for note in chosen] == list(built.networks)
    assert any("x the time of" in note for note in notes)
    for note in chosen:
        name, label = note.split(": ")[:2]
        entry = built.networks[name]
        taken_back = any(
            n.startswith(f"{name}: ") and "taken back" in n for n in built.provenance.notes
        )
        stored = (
            entry.precision if entry.compute == "fp32" else f"{entry.precision}+{entry.compute}"
        )
        assert taken_back or label == stored
    with open_bundle(tmp_path / "bundle") as bundle:
        outputs = bundle.network("vae_decoder")({"latents": np.zeros((1, 4, 16, 16), np.float32)})
    assert np.isfinite(outputs["picture"]).all()
