"""What a small bundle gives up where engines disagree or quality is missed.

A network at a time, or nothing at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from echoexport.calibration.plan import (
    PLAN_SCHEMA,
    LayerPlan,
    NetworkPlan,
    QuantizationPlan,
    read_plan,
)
from echoexport.export.build import sources
from echoexport.export.build.int8 import bundle as int8_bundle
from echoexport.export.build.int8 import choice, comparison
from echoexport.export.build.int8.bundle import build_int8_bundle
from echoexport.export.build.int8.candidates import Candidate
from echoexport.export.build.int8.planning import PlannedNetworks
from echoexport.export.build.job import BundleJob
from echoexport.export.build.parts import Part, part_of
from echoexport.export.build.progress import BuildProgress
from echoexport.export.build.settings import BuildSettings
from echoexport.export.build.sources import FloatBundles
from echoexport.export.checkpoint.reader import Checkpoint
from echoexport.profiles.quality.report import (
    QualityReport,
)
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import Manifest, read_manifest, write_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import Backend, Engine, EngineOptions
from echoexport.runtime.errors import QualityError
from echoexport.targets.spec import load_target

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

DENOISER = "denoising_unet"


class Ones(Engine):
    """An engine that gives ones, times so much."""

    precision = "fp32"

    def __init__(self, spec: SubnetSpec, scale: float) -> None:
        self._spec = spec
        self._scale = scale

    def __call__(self, inputs: Any) -> dict[str, np.ndarray]:
        return {t.name: np.full(t.shape, self._scale, np.float32) for t in self._spec.outputs}

    def close(self) -> None:
        """Nothing to give back."""


class Skewed(Backend):
    """A backend whose outputs of some networks are off by a factor."""

    def __init__(self, name: str, scales: Mapping[str, float]) -> None:
        self.name = name
        self._scales = scales

    def unavailable(self) -> str | None:
        return None

    def describe(self) -> str:
        return "ones"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> Ones:
        return Ones(spec, self._scales.get(spec.name, 1.0))


@pytest.fixture
def scales(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """By how much OpenVINO's outputs differ from ONNX Runtime's, by network.

    To be filled by the test.
    """
    given: dict[str, float] = {}

    def open_bundle(
        folder: Path, *, backend: str | None = None, options: EngineOptions | None = None
    ) -> Bundle:
        skewed = Skewed(backend or "ort", given if backend == "openvino" else {})
        return Bundle(
            folder, read_manifest(folder), backend=skewed, options=options or EngineOptions()
        )

    for module in (choice, comparison):
        monkeypatch.setattr(module, "open_bundle", open_bundle)
    return given


@pytest.fixture
def rendered() -> list[dict[str, str]]:
    """What the networks of each bundle that was compared were stored and computed in."""
    return []


@pytest.fixture
def compose(
    monkeypatch: pytest.MonkeyPatch,
    make_null_bundle: Callable[..., Path],
    tmp_path: Path,
    scales: dict[str, float],
    rendered: list[dict[str, str]],
    make_report: Callable[..., QualityReport],
) -> Callable[..., Manifest]:
    """A function that makes a small bundle of stand-in networks.

    ``holds`` judges what a bundle is stored in.
    """
    plain = make_null_bundle("plain")

    def write_float(job: BundleJob, folder: Path, **rest: Any) -> Manifest:
        shutil.copytree(plain, folder)
        return read_manifest(folder)

    def plan(floats: FloatBundles, recorded: None, *, job: BundleJob) -> PlannedNetworks:
        plans = {
            name: NetworkPlan("int8", {"layer": LayerPlan("int8", 1.0)}) for name in FAMILY.required
        }
        progress = BuildProgress(job.settings.progress, floats.manifest, "0" * 64)
        progress.of_network(DENOISER, "settings").write("plan", 1)
        made = QuantizationPlan(PLAN_SCHEMA, "by hand", "0" * 64, plans)
        return PlannedNetworks(made, (), progress)

    def write_int8(floats: FloatBundles, folder: Path, **rest: Any) -> dict[str, Part]:
        shutil.copytree(floats.float32, folder)
        entries = {
            name: replace(entry, precision="int8")
            for name, entry in floats.manifest.networks.items()
        }
        manifest = replace(floats.manifest, networks=entries)
        write_manifest(manifest, folder)
        return {name: part_of(folder, manifest, name) for name in FAMILY.required}

    def make(
        *, holds: Callable[[Mapping[str, str]], bool] = lambda stored: True, **changes: Any
    ) -> Manifest:
        def compare(reference: Bundle, candidate: Bundle, clips: Any, **rest: Any) -> QualityReport:
            stored = {
                name: f"{entry.precision}+{entry.compute}"
                for name, entry in candidate.manifest.networks.items()
            }
            rendered.append(stored)
            return make_report(
                stored, misses=() if holds(stored) else ("31.00 dB, 35 dB are wanted",)
            )

        monkeypatch.setattr(comparison, "compare_bundles", compare)
        settings = BuildSettings(**{"precision": "int8", "check": "none", **changes})
        return build_int8_bundle(
            tmp_path / "checkpoint",
            tmp_path / "bundle",
            target=load_target("cpu"),
            settings=settings,
            report=lambda what, done, total: None,
        )

    def open_job(checkpoint: Path, **given: Any) -> BundleJob:
        return BundleJob(cast(Checkpoint, None), **given)

    monkeypatch.setattr(int8_bundle, "open_job", open_job)
    monkeypatch.setattr(int8_bundle, "check_sources", lambda job: None)
    monkeypatch.setattr(sources, "write_float_bundle", write_float)
    monkeypatch.setattr(int8_bundle, "found_set", lambda floats, job: nullcontext())
    monkeypatch.setattr(int8_bundle, "plan_networks", plan)
    monkeypatch.setattr(int8_bundle, "write_networks", write_int8)
    monkeypatch.setattr(
        "echoexport.export.demo.quality_clips.list_quality_clips", lambda *given, **rest: []
    )
    return make


def stored_in(manifest: Manifest) -> dict[str, str]:
    return {name: entry.precision for name, entry in manifest.networks.items()}


@pytest.mark.parametrize(("scale", "figure"), [(1.2, "0.200"), (np.nan, "nan"), (np.inf, "inf")])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_network_that_engines_disagree_on_stays_float_and_the_notes_give_the_figure(
    compose: Callable[..., Manifest],
    scales: dict[str, float],
    tmp_path: Path,
    scale: float,
    figure: str,
) -> None:
    scales["audio_encoder"] = scale
    manifest = compose()
    assert {name for name, kind in stored_in(manifest).items() if kind != "int8"} == {
        "audio_encoder"
    }
    told = (
        "audio_encoder is left in float: ONNX Runtime and OpenVINO differ by "
        f"{figure} (relative L2) on it"
    )
    assert told in manifest.provenance.notes
    plan = read_plan(tmp_path / "bundle" / "quantization.json").networks
    assert (plan["audio_encoder"].precision, plan["audio_encoder"].layers["layer"].mode) == (
        "fp32",
        "float",
    )
    assert f"differ by {figure}" in plan["audio_encoder"].layers["layer"].reason
    assert plan["vae_decoder"].layers["layer"].mode == "int8"


def test_a_difference_within_what_engines_may_round_is_no_disagreement(
    compose: Callable[..., Manifest], scales: dict[str, float]
) -> None:
    scales["audio_encoder"] = 1.04
    assert set(stored_in(compose()).values()) == {"int8"}


def test_the_network_furthest_from_fp32_is_taken_back_first_and_no_more_of_them_than_needed(
    compose: Callable[..., Manifest], rendered: list[dict[str, str]], tmp_path: Path
) -> None:
    manifest = compose(holds=lambda stored: stored["vae_decoder"] == "fp32+fp32")
    assert {name for name, kind in stored_in(manifest).items() if kind == "fp32"} == {
        "audio_encoder",
        "vae_decoder",
    }
    assert [sum(kind == "int8+fp32" for kind in stored.values()) for stored in rendered] == [
        6,
        5,
        4,
    ]
    notes = [note for note in manifest.provenance.notes if "taken back" in note]
    assert notes == [
        f"{name}: int8 computing in fp32 was taken back: 31.00 dB, 35 dB are wanted"
        for name in ("audio_encoder", "vae_decoder")
    ]
    plan = read_plan(tmp_path / "bundle" / "quantization.json").networks["vae_decoder"]
    assert plan.layers["layer"].reason == "taken back: 31.00 dB, 35 dB are wanted"


def test_a_denoiser_that_was_asked_for_in_int8_is_not_taken_back_but_refused_and_nothing_is_left(
    compose: Callable[..., Manifest], rendered: list[dict[str, str]], tmp_path: Path
) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(
        QualityError,
        match=r"quality 35 dB cannot be kept in int8: 31\.00 dB, .*best found 31\.0 dB",
    ):
        compose(holds=lambda stored: False)
    assert rendered[-1][DENOISER] == "int8+fp32"
    assert rendered[-1]["vae_decoder"] == rendered[-1]["audio_encoder"] == "fp32+fp32"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.fixture
def fast_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if int8 with bf16 around were the fastest of every network."""

    def measure(folders: Any, name: str, **rest: Any) -> tuple[Candidate, ...]:
        return Candidate(name, "fp32", "fp32", 1.0), Candidate(name, "int8", "bf16", 0.1)

    monkeypatch.setattr(choice, "measure_candidates", measure)


@pytest.mark.usefixtures("fast_int8")
def test_auto_gives_up_bf16_before_int8_and_the_denoiser_too(
    compose: Callable[..., Manifest], rendered: list[dict[str, str]]
) -> None:
    manifest = compose(precision="auto", holds=lambda stored: stored[DENOISER] == "fp32+fp32")
    steps = [stored["audio_encoder"] for stored in rendered]
    assert list(dict.fromkeys(steps)) == ["int8+bf16", "int8+fp32", "fp32+fp32"]
    assert stored_in(manifest)[DENOISER] == "fp32"
    assert stored_in(manifest)["vae_encoder"] == "int8"


@pytest.mark.usefixtures("fast_int8")
def test_a_budget_that_fp32_itself_misses_is_refused(
    compose: Callable[..., Manifest], tmp_path: Path
) -> None:
    with pytest.raises(QualityError, match=r"best found 31\.0 dB"):
        compose(precision="auto", holds=lambda stored: False)
    assert not (tmp_path / "bundle").exists()


def test_what_a_build_had_found_is_forgotten_when_it_is_in_place_and_kept_when_it_is_refused(
    compose: Callable[..., Manifest], tmp_path: Path
) -> None:
    folder = tmp_path / "progress"
    with pytest.raises(QualityError):
        compose(progress=folder, holds=lambda stored: False)
    assert [path.name.partition("-")[0] for path in folder.iterdir()] == [DENOISER]
    compose(progress=folder)
    assert list(folder.iterdir()) == []
