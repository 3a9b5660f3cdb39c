"""A quantized build that was killed goes on from what it had found.

It forgets that when the bundle is in place.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echoexport.calibration.choosing import sensitivity
from echoexport.calibration.choosing.layer_choice import ChoiceSettings
from echoexport.calibration.choosing.sensitivity import Damage
from echoexport.calibration.observing import ranges
from echoexport.calibration.observing.tapped_network import TappedNetwork
from echoexport.calibration.plan import LayerPlan, NetworkPlan
from echoexport.calibration.progress import ProgressFolder
from echoexport.calibration.recording import recording
from echoexport.calibration.recording.recording import RecordingSettings, record_set
from echoexport.calibration.recording.sets import open_set
from echoexport.export.architecture import Architecture
from echoexport.export.build.bundle import build_bundle
from echoexport.export.build.int8.planning import make_plan
from echoexport.export.build.job import open_job
from echoexport.export.build.progress import BuildProgress, find_builtin_set, keep_damage
from echoexport.export.build.settings import BuildSettings
from echoexport.export.build.sources import FloatBundles
from echoexport.export.demo import calibration_inputs
from echoexport.export.subnets.random_checkpoint import write_random_checkpoint
from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.contract.noise_schedule import SchedulerConfig
from echoexport.runtime.contract.schema import dump
from echoexport.runtime.progress import Progress
from echoexport.targets.spec import load_target

pytest.importorskip("onnxruntime")

CPU = load_target("cpu")
CHOICE = ChoiceSettings(35.0, SchedulerConfig(), 2)
PLAN = NetworkPlan("int8", {"one": LayerPlan("int8", 1.0)})


def silent(what: str, done: int, total: int) -> None:
    """A report that nobody reads."""


@pytest.fixture(scope="module")
def settings(trace_folder: Path) -> BuildSettings:
    return BuildSettings(
        size=(16, 16),
        frames=4,
        steps=2,
        precision="int8",
        quality=0.5,
        traces=trace_folder,
        check="none",
        sensitivity=True,
    )


@pytest.fixture(scope="module")
def micro_floats(
    tmp_path_factory: pytest.TempPathFactory, micro: Architecture, settings: BuildSettings
) -> FloatBundles:
    """The smallest networks in fp32, and a set of them beside these."""
    folder = tmp_path_factory.mktemp("micro")
    checkpoint = write_random_checkpoint(folder / "weights", architecture=micro)
    plain = replace(settings, precision="fp32", sensitivity=False)
    manifest = build_bundle(checkpoint, folder / "fp32", target=CPU, settings=plain)
    inputs = calibration_inputs.builtin_recording_inputs(2)
    record_set(
        folder / "fp32",
        inputs,
        folder / "set",
        settings=RecordingSettings(samples=4, steps=2, seconds=0.5),
    )
    return FloatBundles(folder / "fp32", folder / "fp32", manifest)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often the engine was asked for ranges, and how often what layers cost was measured."""
    counts = {"ranges": 0, "damage": 0}

    class Counted(TappedNetwork):
        def __call__(self, inputs: Any) -> Any:
            counts["ranges"] += 1
            return super().__call__(inputs)

    def measure(*given: Any) -> float:
        counts["damage"] += 1
        return relative_error(*given)

    relative_error = sensitivity.relative_error
    monkeypatch.setattr(ranges, "TappedNetwork", Counted)
    monkeypatch.setattr(sensitivity, "relative_error", measure)
    return counts


@pytest.fixture
def plan(micro_floats: FloatBundles, settings: BuildSettings) -> Callable[..., str]:
    """A function that plans every network, and gives plan and damage as text."""
    recorded = open_set(micro_floats.float32.parent / "set")

    def make(folder: Path | None, report: Progress = silent) -> str:
        progress = BuildProgress(folder, micro_floats.manifest, recorded.digest)
        job = open_job(
            micro_floats.float32.parent / "weights", target=CPU, settings=settings, report=report
        )
        found, damage = make_plan(micro_floats, recorded, job=job, progress=progress)
        return json.dumps([dump(found), dump(damage)])

    return make


def kill_at(phase: str, count: int) -> Progress:
    def report(what: str, done: int, total: int) -> None:
        if what == phase and done == count:
            raise KeyboardInterrupt

    return report


@pytest.mark.slow
def test_a_build_killed_among_the_ranges_and_in_the_sweep_goes_on_to_the_same_plan(
    plan: Callable[..., str], work: dict[str, int], tmp_path: Path
) -> None:
    wanted = plan(None)
    whole = dict(work)
    assert whole["ranges"] == 4
    assert whole["damage"] > 20
    work.update(ranges=0, damage=0)
    with pytest.raises(KeyboardInterrupt):
        plan(tmp_path, kill_at("denoising_unet: ranges", 3))
    assert work == {"ranges": 3, "damage": 0}
    with pytest.raises(KeyboardInterrupt):
        plan(tmp_path, kill_at("denoising_unet: what layers cost", 7))
    assert work == {"ranges": 4, "damage": 7}
    assert plan(tmp_path) == wanted
    assert work == whole


@pytest.mark.slow
def test_only_a_network_with_int8_activations_keeps_anything(
    plan: Callable[..., str], tmp_path: Path
) -> None:
    plan(tmp_path)
    (found,) = tmp_path.iterdir()
    assert found.name.startswith("denoising_unet-")
    assert {"plan.json", "maxima.npz", "damage.json"} <= {path.name for path in found.iterdir()}


def test_damages_of_another_plan_or_sampling_do_not_count(tmp_path: Path) -> None:
    progress = ProgressFolder(tmp_path)
    known = keep_damage(progress, PLAN, CHOICE)
    assert known.add is not None
    known.add(Damage(("one", "two"), 0.25))
    known.add(Damage(("three",), float("inf")))
    again = {("one", "two"): 0.25, ("three",): float("inf")}
    assert keep_damage(progress, PLAN, CHOICE).errors == again
    assert (
        keep_damage(progress, PLAN, replace(CHOICE, budget=40.0, measure_all=True)).errors == again
    )
    assert keep_damage(progress, PLAN, replace(CHOICE, steps=3)).errors == {}
    assert (
        keep_damage(progress, replace(PLAN, layers={"one": LayerPlan("int8", 2.0)}), CHOICE).errors
        == {}
    )


def test_every_network_set_and_setting_has_a_folder_of_its_own_and_all_are_forgotten(
    null_bundle: Path, tmp_path: Path
) -> None:
    manifest = read_manifest(null_bundle)
    folder = tmp_path / "progress"
    first = BuildProgress(folder, manifest, "a")
    second = BuildProgress(folder, manifest, "b")
    given = [
        first.of_network("vae_encoder", "x"),
        first.of_network("vae_encoder", "y"),
        first.of_network("vae_decoder", "x"),
        second.of_network("vae_encoder", "x"),
    ]
    assert len({one.folder for one in given}) == 4
    for one in given:
        one.write("plan", 1)
    first.forget()
    assert [one.read("plan") for one in given] == [None, None, None, 1]


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where sets were recorded; of one drawn person, in place of eight."""
    places: list[Path] = []

    def record(bundle: Path, inputs: Any, output: Path, **rest: Any) -> Any:
        places.append(output)
        return record_set(bundle, inputs, output, **rest)

    one = calibration_inputs.builtin_recording_inputs(1)
    monkeypatch.setattr(calibration_inputs, "builtin_recording_inputs", lambda: one)
    monkeypatch.setattr(recording, "record_set", record)
    return places


@pytest.mark.slow
def test_the_built_in_set_is_recorded_once_and_again_where_it_is_damaged(
    micro_floats: FloatBundles, settings: BuildSettings, recordings: list[Path], tmp_path: Path
) -> None:
    kept = replace(settings, progress=tmp_path / "progress")

    def find(wanted: BuildSettings = kept) -> str:
        with find_builtin_set(
            micro_floats.float32, micro_floats.manifest, wanted, report=silent
        ) as found:
            return found.digest

    digest = find()
    assert find() == digest
    assert len(recordings) == 1
    (array, *_) = sorted((recordings[0] / "arrays").iterdir())
    array.write_bytes(array.read_bytes()[:-1])
    with pytest.warns(RuntimeWarning, match="recorded again: "):
        assert find() == digest
    assert len(recordings) == 2
    assert find(replace(kept, progress=None)) == digest
    assert len(recordings) == 3
    assert not recordings[2].exists()


def test_the_command_line_keeps_progress_unless_it_shall_keep_nothing(
    command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, null_bundle: Path, tmp_path: Path
) -> None:
    asked: list[BuildSettings] = []

    def stand_in(checkpoint: Path, output: Path, **rest: Any) -> Manifest:
        asked.append(rest["settings"])
        return read_manifest(null_bundle)

    monkeypatch.setattr("echoexport.export.build.bundle.build_bundle", stand_in)
    line = ("build", tmp_path, "-t", "cpu", "-o", tmp_path / "bundle")
    for more in ((), ("--trace-cache", tmp_path / "mine"), ("--no-trace-cache",)):
        assert command(*line, *more).code == 0
    cache = tmp_path / "own-cache"
    assert [one.progress for one in asked] == [
        cache / "progress",
        tmp_path / "mine" / "progress",
        None,
    ]
    assert [one.traces for one in asked] == [cache / "traces", tmp_path / "mine", None]
