"""What a calibrated build starts from: float bundles beside the output, and sets that fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echoexport.calibration.plan import PLAN_SCHEMA, NetworkPlan, QuantizationPlan, write_plan
from echoexport.export.build import sources
from echoexport.export.build.job import BundleJob, open_job
from echoexport.export.build.settings import BuildSettings
from echoexport.export.build.sources import (
    FloatBundles,
    check_networks,
    check_sources,
    float_bundles,
    found_set,
)
from echoexport.export.demo.assets import builtin_checkpoint
from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.errors import CalibrationError, OutputError, SettingError
from echoexport.targets.spec import load_target

CPU = load_target("cpu")
GPU = load_target("a10")


def silent(what: str, done: int, total: int) -> None:
    """A report that nobody reads."""


@pytest.fixture
def job(checkpoint: Path) -> BundleJob:
    """An int8 build of the smallest networks for a CPU."""
    settings = BuildSettings(precision="int8", check="all", progress=Path("progress"))
    return open_job(checkpoint, target=CPU, settings=settings, report=silent)


@pytest.fixture
def written(
    monkeypatch: pytest.MonkeyPatch, make_null_bundle: Callable[..., Path], tmp_path: Path
) -> list[tuple[BuildSettings, bool]]:
    """How float bundles were asked for; stand-ins are written in their place."""
    plain = make_null_bundle("plain")
    asked: list[tuple[BuildSettings, bool]] = []

    def write(job: BundleJob, folder: Path, *, whole: bool = True) -> Manifest:
        asked.append((job.settings, whole))
        shutil.copytree(plain, folder)
        return read_manifest(folder)

    monkeypatch.setattr(sources, "write_float_bundle", write)
    return asked


def test_on_a_cpu_int8_is_made_of_fp32_alone(
    job: BundleJob, written: list[Any], tmp_path: Path
) -> None:
    with float_bundles(job, near=tmp_path / "out" / "bundle") as floats:
        assert floats.base == floats.float32
        assert floats.float32.parent.parent == tmp_path / "out"
        assert floats.precision == "fp32"
        assert floats.manifest == read_manifest(floats.float32)
    assert list((tmp_path / "out").iterdir()) == []
    (asked,) = written
    assert asked == (replace(job.settings, precision="fp32", check="none", progress=None), False)


@pytest.mark.parametrize(("target", "precision"), [(GPU, "int8"), (GPU, "auto"), (CPU, "fp16")])
def test_elsewhere_and_for_fp16_both_precisions_are_built(
    job: BundleJob, written: list[Any], tmp_path: Path, target: Any, precision: str
) -> None:
    wanted = replace(job, target=target, settings=replace(job.settings, precision=precision))
    with float_bundles(wanted, near=tmp_path / "bundle") as floats:
        assert (floats.float32.name, floats.base.name) == ("fp32", "fp16")
        assert floats.precision == "fp16"
    assert [settings.precision for settings, _ in written] == ["fp32", "fp16"]


def test_what_must_stay_is_refused_before_anything_is_built(
    job: BundleJob, written: list[Any], tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep")
    with (
        pytest.raises(OutputError, match="a folder with other things in it"),
        float_bundles(job, near=tmp_path / "mine"),
    ):
        pytest.fail("the build went on")
    assert written == []


def test_a_build_that_fails_leaves_no_float_bundle(
    job: BundleJob, written: list[Any], tmp_path: Path
) -> None:
    def fail() -> None:
        with float_bundles(job, near=tmp_path / "out" / "bundle"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_checkpoint_of_ones_own_needs_a_set_and_the_built_in_one_does_not(job: BundleJob) -> None:
    with pytest.raises(SettingError, match=r"precision 'int8' needs a calibration set: record one"):
        check_sources(job)
    character = open_job(
        builtin_checkpoint(), target=CPU, settings=BuildSettings(precision="int8"), report=silent
    )
    check_sources(character)
    check_sources(replace(job, settings=replace(job.settings, precision="fp16")))


def test_a_plan_that_is_broken_is_named(job: BundleJob, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text("{")
    settings = replace(job.settings, precision="fp16", plan=plan)
    with pytest.raises(CalibrationError, match=r"plan\.json: not readable JSON"):
        check_sources(replace(job, settings=settings))
    write_plan(QuantizationPlan(PLAN_SCHEMA, "by hand", "0" * 64, {}), plan)
    check_sources(replace(job, settings=settings))


def test_a_set_that_is_not_there_is_named(job: BundleJob, tmp_path: Path) -> None:
    settings = replace(job.settings, calibration=tmp_path / "nowhere")
    with pytest.raises(CalibrationError, match="nowhere"):
        check_sources(replace(job, settings=settings))


@pytest.mark.slow
def test_a_set_of_another_size_is_refused_and_its_own_bundle_takes_it(
    job: BundleJob, micro_floats: FloatBundles
) -> None:
    folder = micro_floats.float32.parent / "set"
    settings = replace(job.settings, calibration=folder, size=(16, 16))
    check_sources(replace(job, settings=settings))
    with found_set(micro_floats, replace(job, settings=settings)) as recorded:
        assert recorded.folder == folder
    other = replace(job, settings=replace(settings, size=(64, 32)))
    wanted = r"was recorded at 16x16 px, this build is for 64x32; record another set"
    with pytest.raises(CalibrationError, match=wanted):
        check_sources(other)


def test_a_plan_of_a_network_that_is_none_is_refused(null_bundle: Path) -> None:
    manifest = read_manifest(null_bundle)
    plan = QuantizationPlan(PLAN_SCHEMA, "by hand", "0" * 64, {"decoder": NetworkPlan("int8")})
    with pytest.raises(CalibrationError, match="plan: network 'decoder'; known: vae_encoder"):
        check_networks(plan, manifest)
    check_networks(replace(plan, networks={"vae_decoder": NetworkPlan("int8")}), manifest)
