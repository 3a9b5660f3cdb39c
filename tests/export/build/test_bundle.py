"""The build: a bundle that says what it is and where it comes from, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoexport.runtime import open_bundle
from echoexport.runtime.bundle.files import hash_file
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.errors import (
    CheckpointError,
    EchoExportError,
    OutputError,
)


@pytest.mark.slow
def test_a_built_bundle_is_whole_and_says_what_it_was_built_from(
    build_tiny: Callable[..., Path], tiny_checkpoint: Path
) -> None:
    folder = build_tiny()
    with open_bundle(folder, backend="null") as bundle:
        assert sorted(bundle.check_files()) == sorted(bundle.manifest.files)
    made = read_manifest(folder).provenance
    assert made.checkpoint == tiny_checkpoint.name
    assert {
        "denoising_unet_acc.pth",
        "motion_module_acc.pth",
        "reference_unet.pth",
    } <= made.checkpoint_files.keys()
    for name, entry in made.checkpoint_files.items():
        assert entry.sha256 == hash_file(tiny_checkpoint / name)
        assert entry.bytes == (tiny_checkpoint / name).stat().st_size
    assert {"echoexport", "torch", "onnx", "numpy"} <= made.tools.keys()
    assert made.settings["variant"] == "acc"
    assert made.settings["frames"] == 12
    assert str(tiny_checkpoint.parent) not in (folder / "manifest.json").read_text()


@pytest.mark.slow
def test_a_bundle_lists_networks_of_the_shapes_it_was_asked_for(
    build_tiny: Callable[..., Path],
) -> None:
    manifest = read_manifest(build_tiny())
    assert tuple(manifest.networks) == FAMILY.required
    shapes = {t.name: t.shape for t in manifest.networks["denoising_unet"].inputs}
    assert shapes["latents"] == (1, 4, 12, 16, 16)
    assert shapes["face_feature"][2] == 1
    assert all(
        entry.opset == 20 and entry.precision == "fp32" for entry in manifest.networks.values()
    )
    assert all(entry.parameters > 0 for entry in manifest.networks.values())


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_traced(
    checkpoint: Path, tmp_path: Path, build: Callable[..., Manifest]
) -> None:
    (tmp_path / "file").write_text("no folder")
    told: list[str] = []
    with pytest.raises(OutputError, match=r"cannot write the bundle"):
        build(checkpoint, tmp_path / "file" / "bundle", report=lambda what, *_: told.append(what))
    assert told == []


def test_a_folder_that_is_no_bundle_is_refused_before_anything_is_traced(
    checkpoint: Path, tmp_path: Path, build: Callable[..., Manifest]
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"a folder with other things in it"):
        build(checkpoint, tmp_path, report=lambda *_: pytest.fail("the build went on"))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_the_checkpoint_itself_is_never_the_output(
    checkpoint: Path, build: Callable[..., Manifest]
) -> None:
    with pytest.raises(OutputError, match=r"a folder with other things in it"):
        build(checkpoint, checkpoint)


def test_a_checkpoint_with_a_file_missing_leaves_nothing(
    checkpoint: Path, tmp_path: Path, build: Callable[..., Manifest]
) -> None:
    (checkpoint / "face_locator.pth").unlink()
    with pytest.raises(CheckpointError, match=r"face_locator.* no such file"):
        build(checkpoint, tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": "fast"}, "unknown variant 'fast'"),
        ({"precision": "int4"}, "precision 'int4'; known: fp32, fp16"),
        ({"size": (17, 16)}, "width 17: a multiple of 2, at least 4, is wanted; try 16"),
        ({"size": (16, 2)}, "height 2: a multiple of 2, at least 4, is wanted; try 4"),
        ({"frames": 0}, "frames 0: the window holds 2 to 6 frames"),
        ({"frames": 1}, "frames 1: the window holds 2 to 6 frames"),
        ({"frames": 7}, "frames 7: the window holds 2 to 6 frames"),
        ({"steps": 0}, "0 sampling steps do not work"),
        ({"steps": 61}, "61 sampling steps do not work"),
        ({"check": "some"}, "check 'some'; known: auto, all, none"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_traced(
    checkpoint: Path,
    tmp_path: Path,
    settings: dict[str, Any],
    message: str,
    build: Callable[..., Manifest],
) -> None:
    with pytest.raises(EchoExportError, match=message):
        build(
            checkpoint,
            tmp_path / "bundle",
            report=lambda *_: pytest.fail("the build went on"),
            **settings,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
