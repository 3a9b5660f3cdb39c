"""fp16 with a calibration set.

Planted overflows are computed in fp32, in the bundle and in the plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from echoexport.calibration.plan import QuantizationPlan, read_plan, write_plan
from echoexport.calibration.recording.recording import RecordingSettings, record_set
from echoexport.export.architecture import Architecture
from echoexport.export.build.bundle import build_bundle
from echoexport.export.build.fp16_graphs import NOT_SETTLED
from echoexport.export.build.int8.networks import write_networks
from echoexport.export.build.int8.planning import plan_networks
from echoexport.export.build.job import open_job
from echoexport.export.build.settings import BuildSettings
from echoexport.export.build.sources import float_bundles, found_set
from echoexport.export.demo.calibration_inputs import builtin_recording_inputs
from echoexport.export.subnets.random_checkpoint import write_random_checkpoint
from echoexport.runtime.bundle.files import check_files
from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.errors import CalibrationError, OutputError
from echoexport.targets.spec import load_target

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow

GPU = load_target("a10")
Build = Callable[..., Manifest]


def grow(path: Path, *keys: str) -> None:
    """Make these tensors as large as fp16 lets them be, all by the same factor.

    A norm behind them takes it back.
    """
    tables = torch.load(path, weights_only=True)
    factor = 60_000 / max(float(tables[key].abs().max()) for key in keys)
    for key in keys:
        tables[key] = tables[key] * factor
    torch.save(tables, path)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, micro: Architecture) -> Path:
    """A micro checkpoint: a convolution of decoder and denoiser each leaves fp16's range."""
    folder = write_random_checkpoint(
        tmp_path_factory.mktemp("planted") / "weights", architecture=micro
    )
    stem = "mid_block.resnets.0"
    grow(
        folder / "sd-vae-ft-mse" / "diffusion_pytorch_model.bin",
        *(f"decoder.{stem}.conv1.{kind}" for kind in ("weight", "bias")),
    )
    parts = [
        f"{stem}.{part}.{kind}"
        for part in ("conv1", "time_emb_proj")
        for kind in ("weight", "bias")
    ]
    grow(folder / "denoising_unet_acc.pth", *parts)
    return folder


@pytest.fixture(scope="module")
def plain(trace_folder: Path) -> BuildSettings:
    """How the planted checkpoint is built where a test does not say."""
    return BuildSettings(
        size=(16, 16), frames=4, steps=2, precision="fp16", traces=trace_folder, check="none"
    )


@pytest.fixture(scope="module")
def build(planted: Path, plain: BuildSettings) -> Build:
    """A function that builds the planted checkpoint for a GPU."""

    def run(output: Path, **changes: Any) -> Manifest:
        return build_bundle(planted, output, target=GPU, settings=replace(plain, **changes))

    return run


@pytest.fixture(scope="module")
def recorded(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small set of it."""
    folder = tmp_path_factory.mktemp("recorded")
    build(folder / "fp32", precision="fp32")
    sampling = RecordingSettings(samples=4, steps=2, seconds=0.5)
    record_set(folder / "fp32", builtin_recording_inputs(2), folder / "set", settings=sampling)
    return folder / "set"


@pytest.fixture(scope="module")
def settled(build: Build, recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle in fp16 with the set."""
    folder = tmp_path_factory.mktemp("settled") / "bundle"
    build(folder, calibration=recorded, check="all")
    return folder


def run_literally(folder: Path, name: str) -> tuple[float, bool]:
    """Each value in its own type, as a GPU does it.

    The largest error over the largest wanted value; all finite.
    """
    from onnx.reference import ReferenceEvaluator

    entry = read_manifest(folder).networks[name]
    with np.load(folder / entry.self_test) as arrays, np.errstate(all="ignore"):
        inputs = {
            key.removeprefix("input."): arrays[key]
            for key in arrays.files
            if key.startswith("input.")
        }
        found = ReferenceEvaluator(onnx.load(folder / entry.graph)).run(None, inputs)
        wanted = [np.asarray(arrays[f"output.{tensor.name}"]) for tensor in entry.outputs]
    pairs = [(np.asarray(one, np.float32), other) for one, other in zip(found, wanted, strict=True)]
    finite = all(np.isfinite(one).all() for one, _ in pairs)
    return max(
        float(np.abs(one - other).max() / np.abs(other).max()) for one, other in pairs
    ), finite


def test_what_overflows_is_computed_in_fp32_and_the_self_test_holds(
    build: Build, settled: Path, tmp_path: Path
) -> None:
    build(tmp_path / "plain")
    tolerance = read_manifest(settled).networks["vae_decoder"].tolerances["fp16"]
    for name in ("vae_decoder", "denoising_unet"):
        error, finite = run_literally(settled, name)
        assert finite
        assert error <= tolerance
        plain, whole = run_literally(tmp_path / "plain", name)
        assert not whole or plain > 10 * tolerance


def test_the_plan_names_the_nodes_and_the_manifest_counts_them(settled: Path) -> None:
    manifest = read_manifest(settled)
    plan = read_plan(settled / "quantization.json")
    assert "quantization.json" in manifest.files
    assert {network.precision for network in plan.networks.values()} == {"fp16"}
    count = len(plan.networks["vae_decoder"].float32_nodes)
    assert count > 1
    told = [
        note
        for note in manifest.provenance.notes
        if note.startswith("computed in fp32 where fp16 would overflow")
    ]
    assert len(told) == 1
    assert f"{count} nodes of vae_decoder" in told[0]
    assert not any(note == NOT_SETTLED for note in manifest.provenance.notes)


def list_own_graphs(folder: Path) -> set[str]:
    """Networks with a graph for one backend alone.

    The manifest lists every file that lies there.
    """
    manifest = read_manifest(folder)
    assert list(check_files(folder, manifest)) == list(manifest.files)
    return {name for name, entry in manifest.networks.items() if entry.graphs}


def test_networks_with_nodes_in_fp32_have_no_graph_for_one_backend_alone(settled: Path) -> None:
    plans = read_plan(settled / "quantization.json").networks
    assert list_own_graphs(settled) == {
        name for name, plan in plans.items() if not plan.float32_nodes
    }


@pytest.mark.parametrize("precision", ["int8", "auto"])
def test_int8_networks_have_none_either(
    build: Build, recorded: Path, tmp_path: Path, precision: str
) -> None:
    built = build(tmp_path / "bundle", precision=precision, calibration=recorded, quality=0.5)
    plans = read_plan(tmp_path / "bundle" / "quantization.json").networks
    whole = {
        name for name, plan in plans.items() if plan.precision != "int8" and not plan.float32_nodes
    }
    assert list_own_graphs(tmp_path / "bundle") == whole
    assert "denoising_unet" not in whole
    assert built.networks.keys() > whole


def test_nvidias_parser_builds_the_networks_with_islands(settled: Path) -> None:
    pytest.importorskip("tensorrt_rtx_libs")
    (note,) = [
        note for note in read_manifest(settled).provenance.notes if note.startswith("TensorRT-RTX")
    ]
    assert "vae_decoder" in note
    assert "denoising_unet" in note


def test_without_a_set_the_manifest_says_that_nothing_was_looked_for(
    build: Build, tmp_path: Path
) -> None:
    manifest = build(tmp_path / "plain")
    assert NOT_SETTLED in manifest.provenance.notes
    assert "quantization.json" not in manifest.files


def test_a_plan_is_replayed_without_a_set(build: Build, settled: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "bundle", plan=settled / "quantization.json")
    before = read_manifest(settled)
    graphs = [entry.graph for entry in before.networks.values()]
    assert {name: again.files[name] for name in graphs} == {
        name: before.files[name] for name in graphs
    }
    assert (tmp_path / "bundle" / "quantization.json").read_bytes() == (
        settled / "quantization.json"
    ).read_bytes()


def test_a_plan_with_a_node_that_is_none_is_refused_and_nothing_is_left(
    build: Build, settled: Path, tmp_path: Path
) -> None:
    plan = read_plan(settled / "quantization.json")
    broken = replace(plan.networks["vae_decoder"], float32_nodes=("nowhere",))
    write_plan(
        replace(plan, networks={**plan.networks, "vae_decoder": broken}), tmp_path / "plan.json"
    )
    with pytest.raises(
        CalibrationError, match="vae_decoder, float32_nodes: no node is called 'nowhere'"
    ):
        build(tmp_path / "bundle", plan=tmp_path / "plan.json")
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_a_folder_that_must_stay_is_refused_before_anything_is_built(
    build: Build, recorded: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep")
    with pytest.raises(OutputError, match="a folder with other things in it"):
        build(tmp_path / "mine", calibration=recorded)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.fixture(scope="module")
def quantize(planted: Path, plain: BuildSettings) -> Callable[..., QuantizationPlan]:
    """A function that writes int8 networks with fp16 around into a folder, and their plan."""

    def run(folder: Path, **changes: Any) -> QuantizationPlan:
        settings = replace(plain, precision="int8", quality=0.5, **changes)
        job = open_job(planted, target=GPU, settings=settings, report=silent)
        with float_bundles(job, near=folder / "bundle") as floats, found_set(floats, job) as found:
            plan = plan_networks(floats, found, job=job).plan
            write_networks(floats, folder / "networks", plan=plan, recorded=found, report=silent)
        write_plan(plan, folder / "plan.json")
        return plan

    return run


def silent(what: str, done: int, total: int) -> None:
    """A report that nobody reads."""


@pytest.fixture(scope="module")
def small(
    quantize: Callable[..., QuantizationPlan],
    recorded: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The denoiser in int8 for a GPU: its graph, and the plan beside it."""
    folder = tmp_path_factory.mktemp("small")
    quantize(folder, calibration=recorded)
    return folder


def test_layers_of_an_int8_network_that_overflow_fp16_stay_float(small: Path) -> None:
    plan = read_plan(small / "plan.json").networks["denoising_unet"]
    layer = plan.layers["mid_block.resnets.0.conv1"]
    assert layer.mode == "float"
    assert layer.reason.startswith("overflow: range of ")
    assert plan.precision == "int8"
    assert sum(one.mode == "int8" for one in plan.layers.values()) > 10


def test_an_int8_network_with_islands_parses_and_builds(small: Path) -> None:
    from echoexport.export.engines.tensorrt_rtx import check_network, is_installed

    graph = small / "networks" / "denoising_unet.onnx"
    model = onnx.load(graph, load_external_data=False)
    kinds = {node.op_type for node in model.graph.node}
    assert {"Cast", "QuantizeLinear", "DequantizeLinear"} <= kinds
    if not is_installed():
        pytest.skip("TensorRT-RTX is not installed")
    assert check_network(graph).engine_bytes > 0


def test_a_plan_that_makes_a_node_in_fp32_int8_is_refused(
    quantize: Callable[..., QuantizationPlan], recorded: Path, small: Path, tmp_path: Path
) -> None:
    plan = read_plan(small / "plan.json")
    denoiser = plan.networks["denoising_unet"]
    name = "mid_block.resnets.0.conv1"
    layers = {**denoiser.layers, name: replace(denoiser.layers[name], mode="int8", amax=1.0)}
    edited = replace(
        plan, networks={**plan.networks, "denoising_unet": replace(denoiser, layers=layers)}
    )
    write_plan(edited, tmp_path / "edited.json")
    with pytest.raises(
        CalibrationError, match=rf"layer {name}: mode 'int8', but its node .* among float32_nodes"
    ):
        quantize(tmp_path, calibration=recorded, plan=tmp_path / "edited.json")
