"""``echoexport build``.

A checkpoint in, a bundle out, with micro networks that trace in seconds.
"""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from echoexport.export.architecture import Architecture, VAEArchitecture
from echoexport.export.cli import main
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.targets.spec import load_target

pytest.importorskip("torch")

SMALL = ("--size", "16x16", "--frames", "4")


@dataclass(frozen=True)
class Built:
    """A build's checkpoint and bundle folders, and what it printed."""

    checkpoint: Path
    bundle: Path
    out: str
    err: str


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, trace_folder: Path, micro: Architecture
) -> Built:
    """A bundle of the smallest networks, made once by the command line.

    With its defaults but for the size.
    """
    folder = tmp_path_factory.mktemp("build")
    from echoexport.export.subnets.random_checkpoint import write_random_checkpoint

    write_random_checkpoint(folder / "weights", architecture=micro)
    out = io.StringIO()
    err = io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        options = [
            "-t",
            "cpu",
            *SMALL,
            "--trace-cache",
            str(trace_folder),
            "-o",
            str(folder / "bundle"),
        ]
        main(["build", str(folder / "weights"), *options])
    return Built(folder / "weights", folder / "bundle", out.getvalue(), err.getvalue())


@pytest.fixture
def build(command: Callable[..., Any], trace_folder: Path) -> Callable[..., Any]:
    """A function that runs ``echoexport build`` with the tests' trace cache.

    By default small, for a CPU and without the networks for live.
    """

    def run(*arguments: object, target: str = "cpu", small: tuple[str, ...] = SMALL) -> Any:
        options = ("-t", target, *small, "--no-live", "--trace-cache", trace_folder)
        return command("build", *arguments, *options)

    return run


@pytest.fixture
def no_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if NVIDIA's parser were not installed: other tests ask it."""
    from echoexport.export.engines import tensorrt_rtx

    monkeypatch.setattr(tensorrt_rtx, "is_installed", lambda: False)


def test_a_checkpoint_becomes_a_bundle_that_verifies(
    built: Built, command: Callable[..., Any]
) -> None:
    outcome = command("verify", built.bundle)
    assert outcome.code == 0, outcome
    assert outcome.out.count(" passed ") == 8


def test_one_line_says_what_was_built(built: Built) -> None:
    first = built.out.splitlines()[0]
    assert first.startswith(
        f"{built.bundle}: acc for cpu, 16x16 px, windows of 4 frames, 6 steps, fp32, "
    )


def test_the_build_tells_what_it_does(built: Built) -> None:
    lines = built.err.splitlines()
    assert lines[0] == "checkpoint: matching keys and shapes 0/24"
    assert lines[-1] == "bundle: written 24/24"
    counts = [int(re.findall(r" (\d+)/24$", line)[0]) for line in lines]
    assert counts == sorted(counts)


def test_checks_are_noted_in_the_manifest_and_printed(built: Built) -> None:
    pytest.importorskip("onnxruntime")
    *_, note = read_manifest(built.bundle).provenance.notes
    assert note.startswith("self-tests passed at build time on ort: vae_encoder, reference_unet")
    assert f"note: {note}" in built.out.splitlines()


def test_a_bundle_is_ready_for_live_where_nobody_declines(
    built: Built, build: Callable[..., Any], tmp_path: Path
) -> None:
    manifest = read_manifest(built.bundle)
    assert tuple(manifest.networks) == FAMILY.networks
    assert manifest.provenance.notes[0].startswith("live: the audio encoder's padding is that of")
    assert build(built.checkpoint, "-o", tmp_path / "bundle", "--check", "none").code == 0
    assert tuple(read_manifest(tmp_path / "bundle").networks) == FAMILY.required


def test_weights_that_networks_share_count_once(built: Built) -> None:
    weights = sum(path.stat().st_size for path in built.bundle.glob("*.bin"))
    assert built.out.splitlines()[0].endswith(f", {weights / 1e6:.0f} MB")


def test_a_cpus_bundle_has_no_next_step(built: Built) -> None:
    assert "next:" not in built.out


def test_nothing_but_the_bundle_is_left(built: Built) -> None:
    assert sorted(path.name for path in built.bundle.parent.iterdir()) == ["bundle", "weights"]


def test_an_older_bundle_is_replaced(
    built: Built, build: Callable[..., Any], null_bundle: Path
) -> None:
    assert build(built.checkpoint, "-o", null_bundle, "--check", "none", "--steps", 7).code == 0
    manifest = read_manifest(null_bundle)
    assert (manifest.backends, manifest.sampler.steps) == (("ort", "openvino"), 7)
    assert manifest.provenance.notes == (
        "self-tests were not run by the build: run 'echoexport verify'",
    )
    assert [path.name for path in null_bundle.parent.iterdir()] == [null_bundle.name]


@pytest.mark.usefixtures("no_parser")
def test_a_jetsons_bundle_is_fp16_with_four_steps_and_says_what_is_left_to_do(
    built: Built, build: Callable[..., Any], tmp_path: Path
) -> None:
    outcome = build(built.checkpoint, "-o", tmp_path / "bundle", target="jetson-orin")
    assert outcome.code == 0, outcome
    manifest = read_manifest(tmp_path / "bundle")
    assert (manifest.target, manifest.precision, manifest.sampler.steps) == (
        "jetson-orin",
        "fp16",
        4,
    )
    assert {entry.opset for entry in manifest.networks.values()} == {20}
    assert outcome.out.splitlines()[-1] == f"next: {load_target('jetson-orin').next_step}"
    assert any(
        line.startswith("note: NVIDIA's parser was not asked") for line in outcome.out.splitlines()
    )


def test_without_a_checkpoint_the_weights_in_the_working_directory_are_taken(
    build: Callable[..., Any],
    asked: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "pretrained_weights").mkdir()
    monkeypatch.chdir(tmp_path)
    assert build("-o", "bundle").code == 0
    assert (asked["checkpoint"], asked["output"]) == (Path("pretrained_weights"), Path("bundle"))


def test_every_option_reaches_the_build(
    build: Callable[..., Any], asked: dict[str, Any], tmp_path: Path
) -> None:
    options = ("--variant", "pose", "--precision", "fp16", "--steps", "9", "--check", "none")
    assert (
        build("weights", "-o", tmp_path, *options, small=("--size", "64x32", "--frames", "5")).code
        == 0
    )
    settings = asked["settings"]
    assert (settings.variant, settings.size, settings.frames) == ("pose", (64, 32), 5)
    assert (settings.precision, settings.steps, settings.check) == ("fp16", 9, "none")


def test_traces_are_kept_where_they_are_asked_for(
    command: Callable[..., Any], asked: dict[str, Any], tmp_path: Path
) -> None:
    common = ("build", "weights", "-t", "cpu", "-o", tmp_path)
    command(*common)
    assert asked["settings"].traces == tmp_path / "own-cache" / "traces"
    command(*common, "--trace-cache", tmp_path / "here")
    assert asked["settings"].traces == tmp_path / "here"
    command(*common, "--no-trace-cache")
    assert asked["settings"].traces is None


def test_a_target_file_of_the_users_own_can_be_named(
    build: Callable[..., Any], asked: dict[str, Any], tmp_path: Path
) -> None:
    from echoexport.targets import spec

    shipped = Path(spec.__file__).parent / "data" / "cpu.yaml"
    (tmp_path / "mine.yaml").write_text(shipped.read_text().replace("name: cpu\n", "name: mine\n"))
    outcome = build("weights", "-o", tmp_path / "bundle", target=str(tmp_path / "mine.yaml"))
    assert outcome.code == 0, outcome
    assert asked["target"].name == "mine"


def test_a_target_file_that_breaks_the_schema_is_named(
    refusal: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\ncolour: red\n")
    message = refusal("build", "weights", "-t", tmp_path / "mine.yaml", "-o", tmp_path / "bundle")
    assert str(tmp_path / "mine.yaml") in message


def test_a_folder_that_is_no_bundle_is_not_replaced(
    built: Built, refusal: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow")
    message = refusal("build", built.checkpoint, "-t", "cpu", *SMALL, "-o", tmp_path / "photos")
    assert f"{tmp_path / 'photos'}: a folder with other things in it" in message
    assert (tmp_path / "photos" / "cat.jpg").read_text() == "meow"


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (
            ("--variant", "acx"),
            "unknown variant 'acx'; known: acc, base, pose, pose_acc. Did you mean 'acc'?",
        ),
        (("-t", "cpuu"), "Did you mean 'cpu'?"),
        (("--precision", "fp8"), "precision 'fp8'; known: fp32, fp16"),
        (("--check", "some"), "check 'some'; known: auto, all, none"),
        (("--size", "17x16"), "width 17: a multiple of 2, at least 4, is wanted; try 16"),
        (("--size", "16x0"), "height 0: a multiple of 2, at least 4, is wanted; try 4"),
        (("--size", "large"), "--size large: WIDTHxHEIGHT in pixels is wanted, e.g. 256x256"),
        (("--frames", "1"), "frames 1: the window holds 2 to 6 frames"),
        (("--frames", "7"), "frames 7: the window holds 2 to 6 frames"),
        (("--frames", "-3"), "frames -3: the window holds 2 to 6 frames"),
        (("--steps", "0"), "0 sampling steps do not work; the nearest count that does: 1"),
        (("--steps", "2000"), "2000 sampling steps do not work"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_before_the_long_work(
    built: Built, refusal: Callable[..., str], tmp_path: Path, options: tuple[str, ...], wanted: str
) -> None:
    defaults = () if "-t" in options else ("-t", "cpu")
    small = () if {"--frames", "--size"} & set(options) else SMALL
    rest = (
        ("--frames", "4")
        if "--size" in options
        else ("--size", "16x16")
        if "--frames" in options
        else ()
    )
    message = refusal(
        "build", built.checkpoint, *defaults, *small, *rest, *options, "-o", tmp_path / "bundle"
    )
    assert wanted in message
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_build_leaves_nothing(
    built: Built, start_command: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    options = ("-t", "cpu", *SMALL, "--no-trace-cache")
    process = start_command("build", built.checkpoint, "-o", tmp_path / "bundle", *options)
    assert process.stderr is not None
    assert any(
        line.decode().startswith("vae_encoder: trace")
        for line in iter(process.stderr.readline, b"")
    )
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=100)
    assert (process.returncode, out) == (130, b"")
    assert (
        error.decode().splitlines()[-1] == "echoexport: interrupted; nothing half-written is left"
    )
    assert b"Traceback" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_networks_of_another_shape_build_and_pass(
    build: Callable[..., Any], tmp_path: Path, micro: Architecture
) -> None:
    pytest.importorskip("onnxruntime")
    from echoexport.export.subnets.random_checkpoint import write_random_checkpoint

    checkpoint = write_random_checkpoint(
        tmp_path / "weights", architecture=three_levels(micro), seed=5
    )
    small = ("--size", "32x16", "--frames", "3")
    outcome = build(checkpoint, "-o", tmp_path / "bundle", "--check", "all", small=small)
    assert outcome.code == 0, outcome
    manifest = read_manifest(tmp_path / "bundle")
    assert (manifest.picture.width, manifest.picture.height, manifest.picture.downscale) == (
        32,
        16,
        4,
    )
    (note,) = manifest.provenance.notes
    assert note.startswith("self-tests passed at build time on ort: vae_encoder")
    settings = json.loads((tmp_path / "bundle" / "manifest.json").read_text())["provenance"][
        "settings"
    ]
    assert (settings["frames"], settings["precision"]) == (3, "fp32")


def three_levels(micro: Architecture) -> Architecture:
    """Other widths, heads, layers, norm groups and audio than those of the official networks."""
    motion = micro.unet.motion
    assert motion is not None
    unet = replace(
        micro.unet,
        widths=(8, 24, 24),
        heads=(1, 3, 2),
        layers_per_block=1,
        norm_groups=2,
        down_attention=(True, True, False),
        up_attention=(False, True, True),
        audio_width=20,
        motion=replace(motion, heads=4, norm_groups=2, down=(True,) * 3, up=(True,) * 3),
    )
    vae = VAEArchitecture(
        widths=(4, 8, 12),
        layers_per_block=2,
        picture_channels=3,
        latent_channels=4,
        norm_groups=2,
        scaling=0.2,
    )
    audio = replace(micro.audio, mels=12, context=11, width=20, heads=5, layers=3)
    landmark = replace(micro.landmark, stem=6, channels=(6, 10, 8, 12), out_channels=8)
    return replace(micro, unet=unet, vae=vae, audio=audio, landmark=landmark)
