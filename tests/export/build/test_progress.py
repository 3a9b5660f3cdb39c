"""A quantized build that was killed goes on from what it had found.

It forgets that when the bundle is in place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echoexport.calibration.choosing.layer_choice import ChoiceSettings
from echoexport.calibration.choosing.sensitivity import Damage
from echoexport.calibration.plan import LayerPlan, NetworkPlan
from echoexport.calibration.progress import ProgressFolder
from echoexport.calibration.recording import recording
from echoexport.calibration.recording.recording import record_set
from echoexport.export.build.progress import BuildProgress, find_builtin_set, keep_damage
from echoexport.export.build.settings import BuildSettings
from echoexport.export.build.sources import FloatBundles
from echoexport.export.demo import calibration_inputs
from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.contract.noise_schedule import SchedulerConfig
from echoexport.targets.spec import load_target

pytest.importorskip("onnxruntime")

CPU = load_target("cpu")
CHOICE = ChoiceSettings(35.0, SchedulerConfig(), 2)
PLAN = NetworkPlan("int8", {"one": LayerPlan("int8", 1.0)})


def silent(what: str, done: int, total: int) -> None:
    """A report that nobody reads."""


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
    micro_floats: FloatBundles,
    micro_settings: BuildSettings,
    recordings: list[Path],
    tmp_path: Path,
) -> None:
    kept = replace(micro_settings, progress=tmp_path / "progress")

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
