"""A bundle put together from others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from onnx import TensorProto, helper

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.export.build.parts import Part, add_file, compose_bundle, part_of
from echoexport.export.subnets.graph_builder import external_parameter
from echoexport.runtime.bundle.files import bring_file, describe_file, hash_file
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.contract.manifest import FileEntry, Manifest, read_manifest, write_manifest


def compose(plain: Path, other: Path, folder: Path) -> Manifest:
    """The denoiser of ``other``, as int8; the rest of ``plain``."""
    base = read_manifest(plain)
    second = read_manifest(other)
    parts = {name: part_of(plain, base, name) for name in base.networks}
    entry = replace(second.networks["denoising_unet"], precision="int8")
    weights = other / entry.weights
    weights.write_text("int8 weights")
    files = dict(part_of(other, second, "denoising_unet").files)
    files[entry.weights] = FileEntry(hash_file(weights), weights.stat().st_size)
    parts["denoising_unet"] = Part(other, entry, files, "bf16")
    folder.mkdir()
    return compose_bundle(parts, folder, base=base)


def test_the_files_of_every_part_are_there_and_described(
    make_null_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "composed"
    manifest = compose(make_null_bundle("plain"), make_null_bundle("other"), folder)
    write_manifest(manifest, folder)
    with open_bundle(folder) as bundle:
        assert list(bundle.check_files()) == list(manifest.files)
    assert (folder / "denoising_unet.bin").read_text() == "int8 weights"
    assert (folder / "vae_decoder.bin").read_text() == "weights of vae_decoder"


def test_the_manifest_names_the_smallest_precision_and_each_networks_arithmetic(
    make_null_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    manifest = compose(make_null_bundle("plain"), make_null_bundle("other"), tmp_path / "composed")
    assert manifest.precision == "int8"
    assert {
        name: entry.compute for name, entry in manifest.networks.items() if entry.compute != "fp32"
    } == {"denoising_unet": "bf16"}


def test_a_file_that_is_composed_again_gives_way_and_its_source_stays(
    make_null_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    plain = make_null_bundle("plain")
    folder = tmp_path / "composed"
    compose(plain, make_null_bundle("other"), folder)
    base = read_manifest(plain)
    compose_bundle({name: part_of(plain, base, name) for name in base.networks}, folder, base=base)
    assert (folder / "denoising_unet.bin").read_text() == "weights of denoising_unet"
    assert (plain / "denoising_unet.bin").read_text() == "weights of denoising_unet"


def test_a_file_of_the_bundle_is_entered_with_its_hash(null_bundle: Path) -> None:
    (null_bundle / "more.json").write_text(json.dumps({}))
    manifest = add_file(read_manifest(null_bundle), null_bundle, "more.json")
    assert manifest.files["more.json"] == FileEntry(hash_file(null_bundle / "more.json"), 2)


def write_graph(path: Path, weights: str) -> None:
    """A sum of two rows, one of which lies in a file."""
    row = external_parameter("row", (4,), element=TensorProto.FLOAT, location=weights, offset=0)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
    node = helper.make_node("Add", ["x", "row"], ["y"])
    graph = helper.make_graph([node], "sum", values[:1], values[1:], initializer=[row])
    path.write_bytes(helper.make_model(graph).SerializeToString())


def compose_sharing(folder: Path, plain: Path, *, changed: bool) -> Manifest:
    """``plain`` with a network that shares the denoiser's weights, which may be others."""
    base = read_manifest(plain)
    parts = {name: part_of(plain, base, name) for name in base.networks}
    denoiser = parts["denoising_unet"]
    write_graph(plain / "live.onnx", "denoising_unet.bin")
    entry = replace(denoiser.entry, graph="live.onnx")
    files = {**denoiser.files, "live.onnx": describe_file(plain / "live.onnx")}
    parts["denoising_unet_live"] = Part(plain, entry, files)
    if changed:
        other = plain.with_name("other")
        other.mkdir()
        for name in denoiser.files:
            bring_file(plain / name, other / name)
        (other / "denoising_unet.bin").unlink()
        (other / "denoising_unet.bin").write_text("int8")
        files = {**denoiser.files, "denoising_unet.bin": describe_file(other / entry.weights)}
        parts["denoising_unet"] = Part(other, denoiser.entry, files)
    folder.mkdir(exist_ok=True)
    return compose_bundle(parts, folder, base=base)


def find_location(graph: Path) -> str:
    (row,) = FloatGraph(graph).model.graph.initializer
    return next(entry.value for entry in row.external_data if entry.key == "location")


def test_weights_that_two_networks_share_stay_one_file(null_bundle: Path, tmp_path: Path) -> None:
    manifest = compose_sharing(tmp_path / "composed", null_bundle, changed=False)
    assert manifest.networks["denoising_unet_live"].weights == "denoising_unet.bin"
    assert not (tmp_path / "composed" / "denoising_unet_live.bin").exists()


def test_shared_weights_that_are_others_for_one_network_become_two_files(
    null_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "composed"
    before = (null_bundle / "denoising_unet.bin").read_text()
    manifest = compose_sharing(folder, null_bundle, changed=True)
    assert manifest.networks["denoising_unet_live"].weights == "denoising_unet_live.bin"
    assert (folder / "denoising_unet.bin").read_text() == "int8"
    assert (folder / "denoising_unet_live.bin").read_text() == before
    assert find_location(folder / "live.onnx") == "denoising_unet_live.bin"
    assert find_location(null_bundle / "live.onnx") == "denoising_unet.bin"
    for name, entry in manifest.files.items():
        assert hash_file(folder / name) == entry.sha256


def test_a_file_of_its_own_goes_where_weights_are_shared_again(
    null_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "composed"
    compose_sharing(folder, null_bundle, changed=True)
    manifest = compose_sharing(folder, null_bundle, changed=False)
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == sorted(
        name for name in manifest.files if "/" not in name
    )
    assert find_location(folder / "live.onnx") == "denoising_unet.bin"
