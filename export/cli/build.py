"""``echoexport build``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echoexport.export.cli.options import FILE, ProgressLine, SizeType
from echoexport.export.cli.signing.options import load_key, sign_option, unsigned_allowed
from echoexport.targets.spec import find_target

if TYPE_CHECKING:
    from echoexport.export.build.settings import BuildSettings
    from echoexport.runtime.contract.manifest import Manifest


@click.command("build")
@click.argument("checkpoint", required=False, type=FILE)
@click.option(
    "--target",
    "-t",
    required=True,
    metavar="NAME",
    help="What to build for; 'echoexport targets' lists them. A path to a YAML file of your own "
    "works too.",
)
@click.option(
    "--output",
    "-o",
    required=True,
    type=FILE,
    metavar="DIR",
    help="The bundle's folder; an older bundle there is replaced.",
)
@click.option(
    "--variant",
    default="acc",
    show_default=True,
    metavar="NAME",
    help="base, acc, pose or pose_acc.",
)
@click.option(
    "--size",
    type=SizeType(),
    metavar="WxH",
    help="Pixels of the video, multiples of 8. Default: the target's; 128x128 for the demo "
    "character.",
)
@click.option(
    "--frames",
    type=int,
    metavar="N",
    help="Frames of a context window, 2 to 32. Default: the target's (12).",
)
@click.option(
    "--precision",
    metavar="NAME",
    help="fp32, fp16, int8 (whatever may be), or auto: the fastest of them here that keeps "
    "--quality. Default: the target's.",
)
@click.option(
    "--calibration",
    type=FILE,
    metavar="SET",
    help="What 'echoexport calibrate' recorded: for int8 and auto, where the demo character "
    "brings its own, and for fp16 to find what overflows.",
)
@click.option(
    "--quality",
    type=float,
    default=35.0,
    show_default=True,
    metavar="DB",
    help="For int8 and auto: PSNR of final frames against fp32 that must be kept.",
)
@click.option(
    "--plan",
    type=FILE,
    metavar="FILE",
    help="For int8, auto and fp16: follow a quantization.json of an earlier bundle, perhaps "
    "edited, in place of making one.",
)
@click.option(
    "--sensitivity",
    is_flag=True,
    help="For int8 and auto: measure what each layer of the denoiser costs even where all may be "
    "int8. Takes minutes.",
)
@click.option(
    "--live/--no-live",
    default=True,
    show_default=True,
    help="Add the two networks that live sessions use; they share the other networks' weights.",
)
@click.option(
    "--steps",
    type=int,
    metavar="N",
    help="Default sampling steps of the bundle. Default: the target's, else the variant's.",
)
@click.option(
    "--trace-cache",
    type=FILE,
    metavar="DIR",
    help="Where traced graphs are kept. Default: the user's cache folder.",
)
@click.option(
    "--no-trace-cache",
    is_flag=True,
    help="Trace anew and keep nothing, nor what a build that is killed had found.",
)
@click.option(
    "--check",
    default="auto",
    show_default=True,
    metavar="WHICH",
    help="Run the self-tests here before the bundle is put in place: auto (what fits 4 GB), all, "
    "or none.",
)
@click.option(
    "--own-graphs/--no-own-graphs",
    default=True,
    show_default=True,
    help="Add graphs in the form that a single backend runs quickest; for OpenVINO they are "
    "timed here. The portable ones stay.",
)
@sign_option
@unsigned_allowed
def build_command(checkpoint: Path | None, target: str, output: Path, **options: Any) -> None:
    """Turn an EchoMimic v1 checkpoint folder into a bundle.

    CHECKPOINT is the folder with denoising_unet*.pth and the rest in the official
    layout; without it, pretrained_weights/ in the working directory is used, and where
    there is none the demo character that is built in: drawn faces, acc, 128x128 px.

    \b
    Example:
      echoexport build weights/ --target cpu-openvino --size 256x256 -o bundle/
    """
    from echoexport.export.build.bundle import build_bundle
    from echoexport.export.build.settings import BuildSettings
    from echoexport.export.cli.compiled_run import compile_built
    from echoexport.export.demo.assets import is_builtin
    from echoexport.runtime.bundle.signing import sign_bundle
    from echoexport.runtime.files.cache_folders import find_cache_folder

    spec = find_target(target)
    key_file = options.pop("key_file")
    key = None if key_file is None else load_key(key_file)
    cache = options.pop("trace_cache")
    no_cache = options.pop("no_trace_cache")
    settings = BuildSettings(
        **options,
        traces=None if no_cache else find_cache_folder("traces", given=cache),
        progress=None if no_cache else find_cache_folder("progress", given=cache),
    )
    folder = take_checkpoint(checkpoint)
    if is_builtin(folder):
        settings = fit_character(settings)
    with ProgressLine("step") as progress:
        manifest = build_bundle(folder, output, target=spec, settings=settings, report=progress)
    if key is not None:
        sign_bundle(output, key)
    click.echo(f"{output}: {summarize_bundle(manifest)}{', signed' if key else ''}")
    for note in manifest.provenance.notes:
        click.echo(f"note: {note}")
    if not compile_built(output, spec) and spec.next_step:
        click.echo(f"next: {spec.next_step}")


def summarize_bundle(manifest: Manifest) -> str:
    """One line: what a bundle is for and how large it is."""
    from echoexport.runtime.contract.settings import spell_steps

    picture = manifest.picture
    files = {entry.weights for entry in manifest.networks.values()}  # some share one
    weights = sum(manifest.files[file].bytes for file in files)
    return (
        f"{manifest.variant} for {manifest.target}, {picture.width}x{picture.height} px, "
        "windows of "
        f"{manifest.window.frames} frames, {spell_steps(manifest.sampler.steps)}, "
        f"{manifest.precision}, {weights / 1e6:.0f} MB"
    )


def take_checkpoint(given: Path | None) -> Path:
    """As ``find_checkpoint``, and tells where the built-in character is taken."""
    from echoexport.export.demo.assets import DEFAULT_CHECKPOINT, find_checkpoint, is_builtin

    folder = find_checkpoint(given)
    if given is None and is_builtin(folder):
        click.echo(
            f"no checkpoint named and no {DEFAULT_CHECKPOINT}/ here: using the built-in demo "
            "character",
            err=True,
        )
    return folder


def fit_character(settings: BuildSettings) -> BuildSettings:
    """As ``suit_character``, and warns of a size that the character was not trained at."""
    from echoexport.export.demo.assets import CHARACTER_SIZE, suit_character

    suited = suit_character(settings)
    if suited.size != CHARACTER_SIZE:
        width, height = CHARACTER_SIZE
        click.echo(
            f"echoexport: warning: the built-in demo character was trained at {width}x{height} "
            "px; at other sizes it draws worse",
            err=True,
        )
    return suited
