"""Bundles with graphs for OpenVINO: beside the portable ones, opened, recorded, and left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("openvino")

from echoexport.export.architecture import Architecture
from echoexport.export.build.bundle import build_bundle
from echoexport.export.build.settings import BuildSettings
from echoexport.export.openvino import MEASURED_ON, OWN_GRAPHS, choosing, trials
from echoexport.export.subnets.random_checkpoint import write_random_checkpoint
from echoexport.runtime.bundle.files import check_files
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.targets.spec import load_target

NAME = "denoising_unet"
OWN = f"{NAME}.openvino.onnx"
CLOSE = 100.0  # dB


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, micro: Architecture) -> Path:
    return write_random_checkpoint(
        tmp_path_factory.mktemp("random") / "weights", architecture=micro
    )


@pytest.fixture(scope="module")
def build(checkpoint: Path, trace_folder: Path) -> Callable[..., Manifest]:
    """A function that builds the checkpoint, every trial ending as told."""

    def run(
        output: Path,
        *,
        quicker: float,
        whole: float | None = None,
        target: str = "cpu-openvino",
        **more: Any,
    ) -> Manifest:
        ratio = quicker if whole is None else whole
        settings = BuildSettings(
            size=(16, 16),
            frames=4,
            steps=2,
            precision="fp32",
            traces=trace_folder,
            check="none",
            **more,
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(choosing, "_race", lambda *_, **__: quicker)
            patch.setattr(trials, "compare", lambda *_, **__: (ratio, 0.2, 0.2 / ratio))
            return build_bundle(checkpoint, output, target=load_target(target), settings=settings)

    return run


@pytest.fixture(scope="module")
def built(build: Callable[..., Manifest], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of which everything was quicker; read only."""
    folder = tmp_path_factory.mktemp("built") / "bundle"
    build(folder, quicker=1.5)
    return folder


@pytest.fixture(scope="module")
def plain(build: Callable[..., Manifest], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without graphs for single backends; read only."""
    folder = tmp_path_factory.mktemp("plain") / "bundle"
    build(folder, quicker=1.5, own_graphs=False)
    return folder


def call(folder: Path, name: str, **options: Any) -> dict[str, np.ndarray]:
    """What a network gives for its self-test's inputs."""
    with open_bundle(folder, **options) as bundle:
        entry = bundle.manifest.networks[name]
        with np.load(folder / entry.self_test) as arrays:
            inputs = {one.name: arrays[f"input.{one.name}"] for one in entry.inputs}
        found = bundle.network(name)(inputs)
        assert bundle.notes() == ()
        return found


def test_portable_files_are_the_same_with_and_without(built: Path, plain: Path) -> None:
    for file, entry in read_manifest(plain).files.items():
        assert read_manifest(built).files[file] == entry, file


def test_what_is_added_is_small_and_listed(built: Path, plain: Path) -> None:
    manifest = read_manifest(built)
    added = manifest.files.keys() - read_manifest(plain).files.keys()
    assert OWN in added
    assert manifest.networks[NAME].graphs == {MEASURED_ON: OWN}
    assert manifest.networks[NAME].weights == f"{NAME}.bin"
    assert all(manifest.files[file].bytes < 1_000_000 for file in added)
    assert set(check_files(built, manifest)) == set(manifest.files)


def test_openvino_opens_its_own_and_others_the_portable_one(built: Path) -> None:
    for backend, wanted in ((MEASURED_ON, OWN), ("ort", f"{NAME}.onnx")):
        with open_bundle(built, backend=backend) as bundle:
            assert bundle.graph_of(NAME) == wanted


def test_its_own_gives_what_the_portable_one_gives(built: Path, plain: Path) -> None:
    for name in read_manifest(built).networks:
        found = call(built, name, backend=MEASURED_ON, options=EngineOptions(compute="fp32"))
        wanted = call(plain, name, backend=MEASURED_ON, options=EngineOptions(compute="fp32"))
        for output, values in wanted.items():
            error = float(np.abs(found[output] - values).max())
            peak = float(np.abs(values).max())
            assert 20 * np.log10(peak / max(error, 1e-30)) >= CLOSE, (name, output)


def test_other_backends_compute_the_same_bits(built: Path, plain: Path) -> None:
    pytest.importorskip("onnxruntime")
    found, wanted = (call(folder, NAME, backend="ort") for folder in (built, plain))
    for output, values in wanted.items():
        np.testing.assert_array_equal(found[output], values)


def test_the_manifest_says_what_was_measured_and_on_what(built: Path) -> None:
    made = read_manifest(built).provenance
    told = made.settings[OWN_GRAPHS]
    assert told["backend"].startswith("openvino ")
    assert told["instructions"]
    one = told["networks"][NAME]
    assert one["kept"]
    assert all(call["times_as_quick"] == 1.5 for call in one["calls"].values())
    assert {form["rewrite"] for form in one["forms"]} >= {"attentions in blocks"}
    (note,) = (note for note in made.notes if note.startswith(f"{NAME}: "))
    assert note.startswith(f"{NAME}: a graph of its own for openvino, a call 1.50 x in fp32")


def test_where_nothing_is_quicker_there_is_none_and_the_figures_are_kept(
    build: Callable[..., Manifest], plain: Path, tmp_path: Path
) -> None:
    manifest = build(tmp_path / "bundle", quicker=0.9)
    assert all(entry.graphs == {} for entry in manifest.networks.values())
    assert manifest.files == read_manifest(plain).files
    told = manifest.provenance.settings[OWN_GRAPHS]["networks"][NAME]
    assert not told["kept"]
    assert told["calls"] == {}
    assert not any(form["taken"] for form in told["forms"])


def test_a_graph_whose_whole_call_is_slower_is_dropped(
    build: Callable[..., Manifest], tmp_path: Path
) -> None:
    manifest = build(tmp_path / "bundle", quicker=1.5, whole=0.8)
    assert not (tmp_path / "bundle" / OWN).exists()
    assert OWN not in manifest.files
    note = next(one for one in manifest.provenance.notes if one.startswith(f"{NAME}: "))
    assert note.startswith(f"{NAME}: no graph of its own for openvino: a whole call is 0.80 x")


def test_other_targets_and_a_build_that_is_told_so_have_none(
    build: Callable[..., Manifest], plain: Path, tmp_path: Path
) -> None:
    manifest = build(tmp_path / "cpu", quicker=1.5, target="cpu")
    for one in (manifest, read_manifest(plain)):
        assert all(entry.graphs == {} for entry in one.networks.values())
        assert OWN_GRAPHS not in one.provenance.settings
