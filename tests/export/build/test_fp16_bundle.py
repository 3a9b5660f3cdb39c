"""fp16 with a calibration set.

Planted overflows are computed in fp32, in the bundle and in the plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from echoexport.calibration.plan import read_plan, write_plan
from echoexport.export.build.fp16_graphs import NOT_SETTLED
from echoexport.runtime.bundle.files import check_files
from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.errors import CalibrationError, OutputError
from echoexport.targets.spec import load_target

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow

GPU = load_target("a10")
Build = Callable[..., Manifest]


@pytest.fixture(scope="module")
def settled(
    build_planted: Build, planted_set: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The bundle in fp16 with the set."""
    folder = tmp_path_factory.mktemp("settled") / "bundle"
    build_planted(folder, calibration=planted_set, check="all")
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
    build_planted: Build, settled: Path, tmp_path: Path
) -> None:
    build_planted(tmp_path / "plain")
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
    build_planted: Build, planted_set: Path, tmp_path: Path, precision: str
) -> None:
    built = build_planted(
        tmp_path / "bundle", precision=precision, calibration=planted_set, quality=0.5
    )
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
    build_planted: Build, tmp_path: Path
) -> None:
    manifest = build_planted(tmp_path / "plain")
    assert NOT_SETTLED in manifest.provenance.notes
    assert "quantization.json" not in manifest.files


def test_a_plan_is_replayed_without_a_set(
    build_planted: Build, settled: Path, tmp_path: Path
) -> None:
    again = build_planted(tmp_path / "bundle", plan=settled / "quantization.json")
    before = read_manifest(settled)
    graphs = [entry.graph for entry in before.networks.values()]
    assert {name: again.files[name] for name in graphs} == {
        name: before.files[name] for name in graphs
    }
    assert (tmp_path / "bundle" / "quantization.json").read_bytes() == (
        settled / "quantization.json"
    ).read_bytes()


def test_a_plan_with_a_node_that_is_none_is_refused_and_nothing_is_left(
    build_planted: Build, settled: Path, tmp_path: Path
) -> None:
    plan = read_plan(settled / "quantization.json")
    broken = replace(plan.networks["vae_decoder"], float32_nodes=("nowhere",))
    write_plan(
        replace(plan, networks={**plan.networks, "vae_decoder": broken}), tmp_path / "plan.json"
    )
    with pytest.raises(
        CalibrationError, match="vae_decoder, float32_nodes: no node is called 'nowhere'"
    ):
        build_planted(tmp_path / "bundle", plan=tmp_path / "plan.json")
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_a_folder_that_must_stay_is_refused_before_anything_is_built(
    build_planted: Build, planted_set: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep")
    with pytest.raises(OutputError, match="a folder with other things in it"):
        build_planted(tmp_path / "mine", calibration=planted_set)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_overflows_in_the_denoiser_does_so_for_live_too(
    build_planted: Build, planted_set: Path, tmp_path: Path
) -> None:
    build_planted(tmp_path / "live", calibration=planted_set, live=True)
    networks = read_plan(tmp_path / "live" / "quantization.json").networks
    assert networks["denoising_unet_live"].float32_nodes
    error, finite = run_literally(tmp_path / "live", "denoising_unet_live")
    assert finite
    assert (
        error <= read_manifest(tmp_path / "live").networks["denoising_unet_live"].tolerances["fp16"]
    )
