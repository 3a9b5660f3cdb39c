"""The build: a bundle that says what it is and where it comes from, or nothing at all."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.export.build.bundle import BuildSettings, build_bundle
from echoexport.export.build.description import describe_bundle
from echoexport.export.build.settings import settle
from echoexport.export.checkpoint.reader import open_checkpoint
from echoexport.export.checkpoint.variants import find_variant
from echoexport.export.sizes import size_networks
from echoexport.runtime import open_bundle
from echoexport.runtime.bundle.files import hash_file
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.errors import (
    BackendError,
    CheckpointError,
    EchoExportError,
    GraphError,
    OutputError,
)
from echoexport.runtime.progress import Progress
from echoexport.targets.spec import load_target

# The original's inference scripts: steps and guidance, noise clamp, window shift, face.
DEFAULTS = {
    "base": (30, 2.5, 1.5, 2, "mask"),
    "acc": (6, 1.0, 1.5, 2, "mask"),
    "pose": (30, 2.5, None, 3, "pose"),
    "pose_acc": (6, 1.0, None, 3, "pose"),
}
MICRO = {"size": (16, 16), "frames": 4}


@pytest.fixture
def checkpoint(draft: Any) -> Path:
    """A checkpoint of very small networks: the whole build takes seconds, traces included."""
    return Path(draft.write())


def listing(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def build(
    checkpoint: Path,
    output: Path,
    *,
    report: Progress | None = None,
    **settings: Any,
) -> Manifest:
    chosen = BuildSettings(**{**MICRO, **settings})
    return build_bundle(
        checkpoint, output, target=load_target("cpu"), settings=chosen, report=report
    )


def describe(checkpoint: Path, variant: str, *, target: str = "cpu", **settings: Any) -> Manifest:
    """The manifest of a build, without building.

    Networks of the micro checkpoint, but windows of up to 32 frames.
    """
    board = load_target(target)
    opened = open_checkpoint(checkpoint, "acc")
    unet = opened.architecture.unet
    assert unet.motion is not None
    longer = replace(
        opened.architecture, unet=replace(unet, motion=replace(unet.motion, max_frames=32))
    )
    opened = replace(opened, variant=find_variant(variant), architecture=longer)
    settled = settle(BuildSettings(variant, **settings), target=board)
    assert settled.size is not None
    assert settled.frames is not None
    sizes = size_networks(
        longer, size=settled.size, frames=settled.frames, face=opened.variant.face
    )
    return describe_bundle(opened, sizes, {}, target=board, settings=settled)


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
    assert tuple(manifest.networks) == FAMILY.networks
    shapes = {t.name: t.shape for t in manifest.networks["denoising_unet"].inputs}
    assert shapes["latents"] == (1, 4, 12, 16, 16)
    assert shapes["face_feature"][2] == 1
    assert all(
        entry.opset == 20 and entry.precision == "fp32" for entry in manifest.networks.values()
    )
    assert all(entry.parameters > 0 for entry in manifest.networks.values())


def test_a_second_build_traces_nothing_replaces_the_old_bundle_and_gives_the_same_files(
    checkpoint: Path, trace_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build(checkpoint, tmp_path / "bundle", traces=trace_folder)

    def refuse(*_: object) -> None:
        raise AssertionError("a cached graph was traced again")

    monkeypatch.setattr("echoexport.export.subnets.tracing.trace_network", refuse)
    second = build(checkpoint, tmp_path / "bundle", traces=trace_folder, steps=9)
    assert second.files == first.files
    assert second == read_manifest(tmp_path / "bundle")
    assert (first.sampler.steps, second.sampler.steps) == (6, 9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "checkpoint"]


def test_a_build_proves_its_bundle_and_notes_it_in_the_manifest(
    checkpoint: Path, trace_folder: Path, tmp_path: Path
) -> None:
    proved = build(checkpoint, tmp_path / "proved", traces=trace_folder)
    assert (
        f"self-tests passed at build time on ort: {', '.join(FAMILY.networks)}"
        in proved.provenance.notes
    )
    unproved = build(checkpoint, tmp_path / "unproved", traces=trace_folder, check="none")
    assert unproved.provenance.notes[-1].startswith("self-tests were not run by the build")


def test_an_engine_that_disagrees_with_the_module_stops_the_build(
    checkpoint: Path, trace_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("echoexport.runtime.bundle.self_test.compare_outputs", lambda *_: 0.5)
    with pytest.raises(
        BackendError,
        match=r"vae_encoder: ort is off by 5\.0e-01 of the maximum, 5e-04 is allowed; "
        r"build with --check none",
    ):
        build(checkpoint, tmp_path / "bundle", traces=trace_folder)
    assert not (tmp_path / "bundle").exists()


def test_progress_goes_from_nothing_to_all(
    checkpoint: Path, trace_folder: Path, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    build(
        checkpoint,
        tmp_path / "bundle",
        traces=trace_folder,
        report=lambda _, done, total: told.append((done, total)),
    )
    assert told[0][0] == 0
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]


def interrupt_at(stage: str) -> Progress:
    def report(what: str, done: int, total: int) -> None:
        if what.startswith(stage):
            raise KeyboardInterrupt

    return report


@pytest.mark.parametrize(
    "stage", ["checkpoint", "vae_encoder: trace", "denoising_unet: weights", "bundle: written"]
)
def test_an_interrupted_build_leaves_nothing(
    checkpoint: Path, trace_folder: Path, tmp_path: Path, stage: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(checkpoint, tmp_path / "bundle", traces=trace_folder, report=interrupt_at(stage))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_an_interrupted_build_leaves_the_old_bundle_as_it_was(
    checkpoint: Path, trace_folder: Path, null_bundle: Path
) -> None:
    before = listing(null_bundle.parent)
    with pytest.raises(KeyboardInterrupt):
        build(checkpoint, null_bundle, traces=trace_folder, report=interrupt_at("bundle: written"))
    assert listing(null_bundle.parent) == before


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Writing past ``size`` bytes fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_leaves_nothing_and_is_told_in_one_line(
    checkpoint: Path, trace_folder: Path, tmp_path: Path
) -> None:
    with (
        file_size_limit(1 << 15),
        pytest.raises(OutputError, match=r"bundle: cannot write the bundle: File too large"),
    ):
        build(checkpoint, tmp_path / "bundle", traces=trace_folder)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_checkpoint_that_computes_nonsense_is_refused(
    checkpoint: Path,
    trace_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "echoexport.export.subnets.golden.compute_golden",
        lambda *_, **__: {"latents": np.full((1, 4, 8, 8), np.nan)},
    )
    with pytest.raises(
        GraphError, match=r"vae_encoder: output 'latents' is not finite on the self-test inputs"
    ):
        build(checkpoint, tmp_path / "bundle", traces=trace_folder)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_traced(
    checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    told: list[str] = []
    with pytest.raises(OutputError, match=r"cannot write the bundle"):
        build(checkpoint, tmp_path / "file" / "bundle", report=lambda what, *_: told.append(what))
    assert told == []


def test_a_folder_that_is_no_bundle_is_refused_before_anything_is_traced(
    checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"a folder with other things in it"):
        build(checkpoint, tmp_path, report=lambda *_: pytest.fail("the build went on"))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_the_checkpoint_itself_is_never_the_output(checkpoint: Path) -> None:
    with pytest.raises(OutputError, match=r"a folder with other things in it"):
        build(checkpoint, checkpoint)


def test_a_checkpoint_with_a_file_missing_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
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
    checkpoint: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(EchoExportError, match=message):
        build(
            checkpoint,
            tmp_path / "bundle",
            report=lambda *_: pytest.fail("the build went on"),
            **settings,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("variant", DEFAULTS)
def test_each_variant_samples_as_the_originals_script_does(checkpoint: Path, variant: str) -> None:
    manifest = describe(checkpoint, variant)
    steps, guidance, clamp, shift, face = DEFAULTS[variant]
    assert (manifest.sampler.steps, manifest.sampler.guidance) == (steps, guidance)
    assert (manifest.sampler.noise_clamp, manifest.window.shift, manifest.face) == (
        clamp,
        shift,
        face,
    )
    assert (manifest.fps, manifest.window.frames, manifest.window.overlap) == (24.0, 12, 3)


@pytest.mark.parametrize(
    ("variant", "steps"), [("acc", 4), ("pose_acc", 4), ("base", 30), ("pose", 30)]
)
def test_a_jetson_gets_half_precision_and_fewer_steps_where_the_variant_bears_it(
    checkpoint: Path, variant: str, steps: int
) -> None:
    manifest = describe(checkpoint, variant, target="jetson-orin")
    assert (manifest.precision, manifest.sampler.steps) == ("fp16", steps)
    assert (manifest.picture.width, manifest.picture.height) == (256, 256)
    assert manifest.target == "jetson-orin"
    assert manifest.backends


def test_what_is_asked_for_wins_over_the_target(checkpoint: Path) -> None:
    manifest = describe(
        checkpoint,
        "acc",
        target="jetson-orin",
        precision="fp32",
        size=(192, 128),
        frames=8,
        steps=9,
    )
    assert (manifest.precision, manifest.sampler.steps, manifest.window.frames) == ("fp32", 9, 8)
    assert (manifest.picture.width, manifest.picture.height) == (192, 128)


@pytest.mark.parametrize(("frames", "overlap"), [(2, 1), (3, 2), (4, 3), (32, 3)])
def test_neighbouring_windows_share_three_frames_or_what_a_short_window_can_spare(
    checkpoint: Path, frames: int, overlap: int
) -> None:
    assert describe(checkpoint, "acc", frames=frames).window.overlap == overlap


@pytest.mark.slow
def test_the_manifest_is_plain_json_that_names_no_folder_of_this_machine(
    build_tiny: Callable[..., Path],
) -> None:
    data = json.loads((build_tiny() / "manifest.json").read_text())
    assert "traces" not in data["provenance"]["settings"]
    assert str(Path.home()) not in json.dumps(data)
