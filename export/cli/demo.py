"""``echoexport demo``: from nothing to a video, with weights, portrait and voice of the project's own making."""

from __future__ import annotations

from pathlib import Path

import click

from echoexport.export.cli.options import FILE, ProgressLine


@click.command("demo")
@click.option(
    "--output", "-o", default=Path("demo"), show_default=True, type=FILE, metavar="DIR", help="Where everything goes."
)
@click.option("--target", "-t", default="cpu-openvino", show_default=True, metavar="NAME", help="cpu or cpu-openvino.")
@click.option("--size", type=int, default=128, show_default=True, metavar="PIXELS", help="Side of the video.")
def demo_command(output: Path, target: str, size: int) -> None:
    """Write a tiny random checkpoint, build it, and run it.

    The weights are random, so the video is noise: this shows that the whole path works, not what a trained
    checkpoint looks like.
    """
    from echoexport.export.build import build_bundle
    from echoexport.export.build_settings import BuildSettings
    from echoexport.export.checkpoint.random_weights import write_random_checkpoint
    from echoexport.export.cli.run import run_command
    from echoexport.export.demo_media import portrait_face_box, write_demo_media
    from echoexport.export.traces import default_trace_folder
    from echoexport.targets.spec import load_target

    spec = load_target(target)
    portrait, voice = write_demo_media(output)
    click.echo(f"{portrait} and {voice}: drawn and synthesized")
    checkpoint = write_random_checkpoint(output / "pretrained_weights")
    click.echo(f"{checkpoint}: random weights in the official layout")
    settings = BuildSettings(variant="acc", size=(size, size), traces=default_trace_folder())
    with ProgressLine("step") as progress:
        build_bundle(checkpoint, output / "bundle", target=spec, settings=settings, report=progress)
    click.echo(f"{output / 'bundle'}: built for {target}")
    box = ",".join(f"{value:g}" for value in portrait_face_box())
    arguments = [str(output / "bundle"), "-p", str(portrait), "-v", str(voice), "--face-box", box]
    run_command.main([*arguments, "-o", str(output / "out.mp4")], prog_name="echoexport run", standalone_mode=False)
    click.echo("random weights draw noise; a trained checkpoint draws the portrait")
