"""Bundles with graphs for ONNX Runtime's CUDA provider.

Which targets and networks have one, and what becomes of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.graphs.quantize import quantize_network
from echoexport.calibration.plan import LayerPlan, NetworkPlan, QuantizationPlan, write_plan
from echoexport.export.architecture import Architecture
from echoexport.export.build.bundle import build_bundle
from echoexport.export.build.parts import Part, compose_bundle, part_of
from echoexport.export.build.settings import BuildSettings
from echoexport.export.ort_cuda import GRAPHS_FOR, add_own_graphs
from echoexport.export.subnets.random_checkpoint import write_random_checkpoint
from echoexport.runtime.backends import load_backend
from echoexport.runtime.backends.ort import OrtBackend
from echoexport.runtime.bundle.files import check_files, describe_file
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import (
    MANIFEST_NAME,
    Manifest,
    read_manifest,
    write_manifest,
)
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.files.aside import list_files
from echoexport.targets.spec import list_targets, load_target

pytest.importorskip("onnxruntime")

WITH, WITHOUT = (
    sorted(
        name
        for name in list_targets()
        if (
            GRAPHS_FOR in (load_target(name).backends.default, *load_target(name).backends.portable)
        )
        == wanted
    )
    for wanted in (True, False)
)
OWN = {name: f"{name}.ort_cuda.onnx" for name in FAMILY.required}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, micro: Architecture) -> Path:
    return write_random_checkpoint(
        tmp_path_factory.mktemp("random") / "weights", architecture=micro
    )


@pytest.fixture(scope="module")
def build(checkpoint: Path, trace_folder: Path) -> Callable[..., Manifest]:
    """A function that builds the checkpoint for a target."""

    def run(output: Path, *, target: str = "h100", **changes: Any) -> Manifest:
        plain = BuildSettings(
            size=(16, 16), frames=4, steps=2, precision="fp32", traces=trace_folder, check="none"
        )
        return build_bundle(
            checkpoint, output, target=load_target(target), settings=replace(plain, **changes)
        )

    return run


@pytest.fixture(scope="module")
def built(build: Callable[..., Manifest], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for an H100; read only."""
    folder = tmp_path_factory.mktemp("built") / "bundle"
    build(folder)
    return folder


@pytest.fixture(scope="module")
def plain(build: Callable[..., Manifest], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for the CPU; read only."""
    folder = tmp_path_factory.mktemp("plain") / "bundle"
    build(folder, target="cpu")
    return folder


@pytest.fixture
def copy(plain: Path, tmp_path: Path) -> Path:
    """A bundle for the CPU, to be changed at will."""
    return Path(shutil.copytree(plain, tmp_path / "copy"))


def own_graphs(manifest: Manifest) -> dict[str, dict[str, str]]:
    return {name: dict(entry.graphs) for name, entry in manifest.networks.items()}


def files_on_disk(folder: Path) -> list[str]:
    return [name for name in list_files(folder) if name != MANIFEST_NAME]


def test_data_centre_gpus_and_no_other_targets_have_that_backend() -> None:
    assert WITH == ["a10", "a100", "h100", "h200", "l4", "l40s", "rtx-4090"]


def test_a_build_for_such_a_gpu_gives_each_network_its_own_graph(built: Path) -> None:
    manifest = read_manifest(built)
    assert own_graphs(manifest) == {name: {GRAPHS_FOR: OWN[name]} for name in FAMILY.required}
    assert files_on_disk(built) == sorted(manifest.files)
    assert set(OWN.values()) <= manifest.files.keys()


def test_a_build_for_the_cpu_gives_none(plain: Path) -> None:
    manifest = read_manifest(plain)
    assert own_graphs(manifest) == {name: {} for name in FAMILY.required}
    assert files_on_disk(plain) == sorted(manifest.files)
    assert not any(GRAPHS_FOR in name for name in manifest.files)


@pytest.mark.parametrize("target", WITH)
def test_each_such_target_has_a_graph_for_every_network(copy: Path, target: str) -> None:
    manifest = add_own_graphs(read_manifest(copy), copy, target=load_target(target))
    assert own_graphs(manifest) == {name: {GRAPHS_FOR: OWN[name]} for name in FAMILY.required}
    assert files_on_disk(copy) == sorted(manifest.files)


@pytest.mark.parametrize("target", WITHOUT)
def test_for_other_targets_nothing_is_written(copy: Path, target: str) -> None:
    before = read_manifest(copy)
    assert add_own_graphs(before, copy, target=load_target(target)) is before
    assert files_on_disk(copy) == sorted(before.files)


def test_a_backend_that_is_only_the_targets_default_counts_too(copy: Path) -> None:
    target = load_target("cpu")
    target = replace(target, backends=replace(target.backends, default=GRAPHS_FOR))
    assert own_graphs(add_own_graphs(read_manifest(copy), copy, target=target))["vae_encoder"]


def test_own_graphs_read_the_weights_of_the_plain_ones(
    built: Path, run_graph: Any, largest_error: Any
) -> None:
    manifest = read_manifest(built)
    for name, entry in manifest.networks.items():
        with np.load(built / entry.self_test) as arrays:
            inputs = {tensor.name: arrays[f"input.{tensor.name}"] for tensor in entry.inputs}
            wanted = {tensor.name: arrays[f"output.{tensor.name}"] for tensor in entry.outputs}
        folder = built.parent / name
        folder.mkdir()
        shutil.copy(built / entry.weights, folder)
        model = onnx.load_model(built / OWN[name], load_external_data=False)
        assert (
            largest_error(run_graph(model, inputs, folder=folder), wanted)
            < entry.tolerances["fp32"]
        ), name


def test_own_graphs_are_small(built: Path) -> None:
    files = read_manifest(built).files
    for name in FAMILY.required:
        assert files[OWN[name]].bytes < files[f"{name}.onnx"].bytes + 20_000, name


def test_a_build_in_fp16_has_them_as_well(build: Callable[..., Manifest], tmp_path: Path) -> None:
    manifest = build(tmp_path / "bundle", precision="fp16")
    assert own_graphs(manifest) == {name: {GRAPHS_FOR: OWN[name]} for name in FAMILY.required}


def test_the_same_build_gives_the_same_files(
    build: Callable[..., Manifest], built: Path, tmp_path: Path
) -> None:
    assert build(tmp_path / "bundle").files == read_manifest(built).files


@pytest.mark.parametrize(
    ("backend", "suffix"), [(GRAPHS_FOR, ".ort_cuda.onnx"), ("ort", ".onnx"), ("tensorrt", ".onnx")]
)
def test_the_cuda_backend_opens_them_and_the_others_do_not(
    built: Path, backend: str, suffix: str
) -> None:
    with Bundle(
        built, read_manifest(built), backend=load_backend(backend), options=EngineOptions()
    ) as bundle:
        assert [bundle.graph_of(name) for name in FAMILY.required] == [
            f"{name}{suffix}" for name in FAMILY.required
        ]


def test_where_the_library_lacks_the_operators_the_bundle_still_runs(built: Path) -> None:
    class OnTheCpu(OrtBackend):
        """ONNX Runtime's CPU provider, called like the CUDA one."""

        name = GRAPHS_FOR

    with Bundle(built, read_manifest(built), backend=OnTheCpu(), options=EngineOptions()) as bundle:
        assert bundle.self_test("vae_decoder").passed
        (note,) = bundle.notes()
    assert note.startswith(
        "vae_decoder: runs in plain operators, which is slower: its graph for ort_cuda: "
    )
    assert "\n" not in note


def test_verify_hashes_them(built: Path, command: Any, refusal: Any, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(built, folder)
    outcome = command("verify", folder, "--files-only")
    path = folder / OWN["vae_decoder"]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert f"{len(read_manifest(built).files)} files as the manifest says" in outcome.out
    assert f"{path}: sha256 is" in refusal("verify", folder, "--files-only")


def test_a_part_of_another_bundle_comes_without_them(built: Path) -> None:
    part = part_of(built, read_manifest(built), "vae_decoder")
    assert part.entry.graphs == {}
    assert sorted(part.files) == [
        "self-test/vae_decoder.npz",
        "vae_decoder.bin",
        "vae_decoder.onnx",
    ]


def quantize(built: Path, folder: Path, name: str) -> Part:
    """A network's files with every layer in int8."""
    graph = FloatGraph(built / f"{name}.onnx")
    folder.mkdir()
    plan = NetworkPlan("int8", {layer: LayerPlan("int8", 1.0) for layer in graph.layers})
    quantize_network(graph, plan, folder / f"{name}.onnx")
    part = part_of(built, read_manifest(built), name)
    files = {file: describe_file(folder / file) for file in (f"{name}.onnx", f"{name}.bin")}
    shutil.copytree(built / "self-test", folder / "self-test")
    return Part(folder, replace(part.entry, precision="int8"), {**part.files, **files})


def test_a_network_that_became_int8_has_none_and_no_old_one_is_left(
    built: Path, tmp_path: Path
) -> None:
    base = read_manifest(built)
    parts = {name: part_of(built, base, name) for name in FAMILY.required}
    parts["denoising_unet"] = quantize(built, tmp_path / "int8", "denoising_unet")
    (tmp_path / "bundle").mkdir()
    composed = compose_bundle(parts, tmp_path / "bundle", base=base)
    manifest = add_own_graphs(composed, tmp_path / "bundle", target=load_target("h100"))
    write_manifest(manifest, tmp_path / "bundle")
    assert manifest.networks["denoising_unet"].graphs == {}
    assert {name for name, entry in manifest.networks.items() if entry.graphs} == {
        *FAMILY.required
    } - {"denoising_unet"}
    assert list(check_files(tmp_path / "bundle", manifest)) == list(manifest.files)


def test_a_network_with_nodes_in_fp32_has_none_and_the_others_keep_theirs(
    build: Callable[..., Manifest], tmp_path: Path
) -> None:
    build(tmp_path / "plain", precision="fp16")
    names = {
        each.name for each in FloatGraph(tmp_path / "plain" / "vae_decoder.onnx").model.graph.node
    }
    node = sorted(name for name in names if "conv" in name)[0]
    plans = {
        name: NetworkPlan("fp16", float32_nodes=(node,) * (name == "vae_decoder"))
        for name in FAMILY.required
    }
    write_plan(QuantizationPlan(1, "by hand", "0" * 64, plans), tmp_path / "plan.json")
    manifest = build(tmp_path / "bundle", precision="fp16", plan=tmp_path / "plan.json")
    assert {name for name, entry in manifest.networks.items() if not entry.graphs} == {
        "vae_decoder"
    }
    assert files_on_disk(tmp_path / "bundle") == sorted(manifest.files)


@pytest.mark.parametrize("backend", ["null", GRAPHS_FOR])
def test_compiling_takes_the_backends_own_and_leaves_all_out(
    null_bundle: Path, compile_null: Any, backend: str
) -> None:
    manifest = read_manifest(null_bundle)
    shutil.copy(null_bundle / manifest.networks["vae_decoder"].graph, null_bundle / "own.onnx")
    entry = replace(manifest.networks["vae_decoder"], graphs={backend: "own.onnx"})
    files = {**manifest.files, "own.onnx": describe_file(null_bundle / "own.onnx")}
    networks = {**manifest.networks, "vae_decoder": entry}
    write_manifest(replace(manifest, networks=networks, files=files), null_bundle)
    report, _ = compile_null()
    with open_bundle(report.output) as bundle:
        assert not any(name.endswith(".onnx") for name in bundle.manifest.files)
        assert list(bundle.check_files()) == list(bundle.manifest.files)
        assert bundle.files_of("vae_decoder") == ("engines/vae_decoder.json",)
        assert [bundle.self_test(name).passed for name in FAMILY.required] == [True] * len(
            FAMILY.required
        )
