"""``echoexport demo``: the built-in character, built for this machine and made to speak."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from echoexport.export.cli.options import FILE, ProgressLine
from echoexport.export.cli.signing.options import unsigned_allowed
from echoexport.runtime.errors import BackendError
from echoexport.runtime.files.json_file import read_json

_CHILD = "from echoexport.export.cli import main; main()"


@click.command("demo")
@click.option(
    "--output",
    "-o",
    default=Path("demo"),
    show_default=True,
    type=FILE,
    metavar="DIR",
    help="Where everything goes.",
)
@click.option(
    "--target",
    "-t",
    metavar="NAME",
    help="cpu or cpu-openvino. Default: cpu-openvino where OpenVINO is installed.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    metavar="N",
    help="Sampling steps. Default: the bundle's, 1.",
)
@click.option(
    "--fps",
    type=click.IntRange(1, 60),
    default=25,
    show_default=True,
    metavar="FPS",
    help="Frames a second.",
)
@click.option(
    "--compute",
    metavar="NAME",
    help="Arithmetic in the engine, kept in the bundle. Default: bf16 where OpenVINO's CPU has it, "
    "else fp32.",
)
@unsigned_allowed
def demo_command(
    output: Path, target: str | None, steps: int | None, fps: int, compute: str | None
) -> None:
    """Build the character that ships with the package and render six seconds of it.

    The drawn face and the synthetic voice are ours, and in none of the data that the
    character was trained on. The video is rendered by a process of its own, which loads
    no torch, as on a device.
    """
    from echoexport.export.build.bundle import build_bundle
    from echoexport.export.build.parts import record_arithmetic
    from echoexport.export.build.settings import BuildSettings
    from echoexport.export.demo.assets import (
        CHARACTER_VARIANT,
        builtin_checkpoint,
        suit_character,
    )
    from echoexport.runtime.files.cache_folders import find_cache_folder
    from echoexport.targets.spec import load_target

    spec = load_target(target or find_own_target())
    settings = suit_character(
        BuildSettings(variant=CHARACTER_VARIANT, live=True, traces=find_cache_folder("traces"))
    )
    bundle = output / "bundle"
    with ProgressLine("step") as progress:
        build_bundle(builtin_checkpoint(), bundle, target=spec, settings=settings, report=progress)
    record_arithmetic(bundle, compute or find_arithmetic(spec.name))
    click.echo(f"{bundle}: the built-in character, built for {spec.name}")
    compile_engines(bundle)
    video = output / "out.mp4"
    report = output / "report.json"
    own = [] if steps is None else ["--steps", str(steps)]
    render_apart([*own, "--fps", str(fps)], bundle, video, report=report)
    for line in describe_run(read_json(report)):
        click.echo(line)
    click.echo(f"{video}: the video; {report}: these figures with their conditions")


def find_own_target() -> str:
    """The target that this machine is, as far as a processor goes."""
    from echoexport.runtime.backends import load_backend

    return "cpu-openvino" if load_backend("openvino").unavailable() is None else "cpu"


def find_arithmetic(target: str) -> str:
    """bf16 where the target's engine and this processor have it."""
    from echoexport.runtime.backends import load_backend

    backend = load_backend("openvino")
    has = (
        target == "cpu-openvino" and backend.unavailable() is None and "BF16" in backend.describe()
    )
    return "bf16" if has else "fp32"


def compile_engines(bundle: Path, *, compute: str = "") -> None:
    """Compile every network into the cache of engines.

    The last step of a build, so that a start need not.
    """
    from echoexport.runtime.bundle.opened import open_bundle
    from echoexport.runtime.engine.protocol import EngineOptions
    from echoexport.runtime.files.cache_folders import find_cache_folder

    options = EngineOptions(compute=compute, cache=find_cache_folder("engines"), lanes=0)
    with open_bundle(bundle, options=options) as opened:
        for name in opened.manifest.networks:
            opened.network(name)
            opened.close_network(name)


def render_apart(settings: list[str], bundle: Path, video: Path, *, report: Path) -> None:
    """``echoexport run`` on the built-in portrait and voice, in a fresh process.

    Raises:
        BackendError: it failed; what it said is on stderr.
    """
    from echoexport.export.demo.assets import builtin_face_box, builtin_portrait, builtin_voice

    box = ",".join(f"{value:g}" for value in builtin_face_box())
    inputs = ["-p", str(builtin_portrait()), "-v", str(builtin_voice()), "--face-box", box]
    files = [str(bundle), *inputs, "-o", str(video)]
    command = [sys.executable, "-c", _CHILD, "run", *files, *settings, "--report", str(report)]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise BackendError(
            f"{video}: rendering it failed (exit code {code}); what it said stands above"
        )


def describe_run(run: dict[str, Any]) -> list[str]:
    """What a user wants to know of the run, two lines."""
    from echoexport.runtime.contract.settings import spell_steps

    report = run["report"]
    conditions = run["conditions"]
    start = run["cold_start_seconds"]
    started = "not available on this system" if start is None else f"{start:.1f} s"
    peak = run["peak_memory"]
    memory = "not available on this system" if peak is None else f"{peak / 1e6:.0f} MB"
    reference = "computed" if report["calls"]["reference_unet"] else "from the cache"
    return [
        f"{run['frames_per_second']:.1f} frames/s end to end, real-time factor "
        f"{run['real_time_factor']:.2f} "
        f"({spell_steps(run['steps'])}, {report['frames']} frames at {report['fps']:g} fps; "
        "measured)",
        f"first frame {started} after the process began, peak memory {memory}, reference "
        f"{reference}; "
        f"{conditions['backend']}, computing in {conditions['compute']}, "
        f"{conditions['machine']['cores']} cores",
    ]
