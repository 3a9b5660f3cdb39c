"""A bundle put together from others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from echoexport.export.build.parts import Part, add_file, compose_bundle, part_of
from echoexport.runtime.bundle.files import hash_file
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
