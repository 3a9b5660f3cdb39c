"""The plan of an int8 build, made again from what an earlier build had found."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from echoexport.calibration.choosing import sensitivity
from echoexport.calibration.observing import ranges
from echoexport.calibration.observing.tapped_network import TappedNetwork
from echoexport.calibration.plan import NetworkPlan
from echoexport.calibration.recording.sets import open_set
from echoexport.export.build.int8.planning import make_plan
from echoexport.export.build.job import open_job
from echoexport.export.build.progress import BuildProgress
from echoexport.export.build.settings import BuildSettings
from echoexport.export.build.sources import FloatBundles
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.schema import dump
from echoexport.runtime.progress import Progress
from echoexport.targets.spec import load_target

pytest.importorskip("onnxruntime")

CPU = load_target("cpu")


def silent(what: str, done: int, total: int) -> None:
    """A report that nobody reads."""


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
def plan(micro_floats: FloatBundles, micro_settings: BuildSettings) -> Callable[..., str]:
    """A function that plans every network, and gives plan and damage as text."""
    recorded = open_set(micro_floats.float32.parent / "set")

    def make(folder: Path | None, report: Progress = silent) -> str:
        progress = BuildProgress(folder, micro_floats.manifest, recorded.digest)
        job = open_job(
            micro_floats.float32.parent / "weights",
            target=CPU,
            settings=micro_settings,
            report=report,
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


def test_networks_for_live_stay_in_float(
    make_null_bundle: Callable[..., Path], micro_settings: BuildSettings
) -> None:
    folder = make_null_bundle(live=True)
    whole = read_manifest(folder)
    live = {name: whole.networks[name] for name in ("audio_encoder_live", "denoising_unet_live")}
    manifest = replace(whole, networks=live)
    job: Any = SimpleNamespace(target=CPU, settings=micro_settings, report=silent)
    recorded: Any = SimpleNamespace(digest="none")
    progress = BuildProgress(None, manifest, "none")
    floats = FloatBundles(folder, folder, manifest)
    plan, damage = make_plan(floats, recorded, job=job, progress=progress)
    assert plan.networks == dict.fromkeys(live, NetworkPlan("fp32"))
    assert damage == ()
