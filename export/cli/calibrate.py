"""``echoexport calibrate``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echoexport.export.cli.options import (
    FILE,
    ProgressLine,
    SizeType,
    backend_option,
    spell_voice,
    warn,
)
from echoexport.export.cli.signing.options import signed_options
from echoexport.runtime.errors import CalibrationError, SettingError

if TYPE_CHECKING:
    from echoexport.calibration.recording.recording_inputs import RecordingInput
    from echoexport.calibration.recording.recording_job import RecordingSettings
    from echoexport.calibration.recording.sets import CalibrationSet

_BUILD_ONLY = ("variant", "size", "frames", "target")


@click.command("calibrate", context_settings={"token_normalize_func": spell_voice})
@click.argument("checkpoint", required=False, type=FILE)
@click.option(
    "--portraits",
    type=FILE,
    metavar="DIR",
    help="Pictures of one face each; boxes.json names face boxes.",
)
@click.option(
    "--voice", "-v", type=FILE, metavar="DIR", help="Voices: WAV, MP3, M4A, FLAC or videos' sound."
)
@click.option(
    "--output",
    "-o",
    required=True,
    type=FILE,
    metavar="SET",
    help="The set's folder; an older set there is replaced.",
)
@click.option(
    "--samples",
    type=int,
    default=32,
    show_default=True,
    metavar="N",
    help="At most, of each network.",
)
@click.option(
    "--megabytes",
    type=float,
    default=512,
    show_default=True,
    metavar="MB",
    help="At most, of all arrays.",
)
@click.option(
    "--seconds",
    type=float,
    default=2,
    show_default=True,
    metavar="S",
    help="Of each voice, its loudest stretch.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Of the draw and of the noise.",
)
@click.option("--steps", type=int, metavar="N", help="Sampling steps. Default: the bundle's.")
@click.option(
    "--face-model",
    type=FILE,
    metavar="FILE",
    help="MediaPipe face detector (.tflite or .task) to find faces with.",
)
@click.option(
    "--poses", type=FILE, metavar="DIR", help="Landmarks or drawn pose maps, for the pose variants."
)
@click.option("--variant", metavar="NAME", help="base, acc, pose or pose_acc. Default: acc.")
@click.option("--size", type=SizeType(), metavar="WxH", help="As for build. Default: the target's.")
@click.option(
    "--frames",
    type=int,
    metavar="N",
    help="Frames of a context window. Default: the target's (12).",
)
@click.option(
    "--target",
    "-t",
    metavar="NAME",
    help="Whose defaults and engine to use. Default: this machine's.",
)
@backend_option
@click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="CPU threads; 0 leaves it to the backend.",
)
@click.option(
    "--trace-cache",
    type=FILE,
    metavar="DIR",
    help="Where traced graphs are kept. Default: the user's cache folder.",
)
@signed_options
def calibrate_command(checkpoint: Path | None, output: Path, **options: Any) -> None:
    """Record what the networks see while real portraits speak, to quantize with.

    CHECKPOINT is a checkpoint folder as for build, or an fp32 bundle. Every network's
    inputs are kept, along the true sampling trajectory, spread over steps, portraits,
    voices and windows. Interrupted, the same command goes on from the renderings that
    were done. The built-in demo character is recorded with drawn people and its own
    voice where no others are given.

    \b
    Example:
      echoexport calibrate weights/ --portraits faces/ --voice voices/ --size 256x256 -o set/
    """
    from echoexport.calibration.recording.recording import record_set
    from echoexport.calibration.recording.recording_job import RecordingSettings, check_settings
    from echoexport.calibration.recording.set_writer import check_set_place
    from echoexport.export.cli.build import take_checkpoint

    names = ("samples", "megabytes", "seconds", "seed", "steps", "backend", "threads")
    settings = RecordingSettings(**{name: options[name] for name in names})
    check_settings(settings)
    check_set_place(output)
    folder = take_checkpoint(checkpoint)
    inputs = find_inputs(folder, options, settings)
    try:
        with (
            ProgressLine("call", {"building": "step"}) as progress,
            found_bundle(folder, output, options) as bundle,
        ):
            recorded = record_set(bundle, inputs, output, settings=settings, report=progress)
    except KeyboardInterrupt:
        click.echo(
            "renderings that were done are kept: the same command goes on from them", err=True
        )
        raise
    click.echo(f"{output}: {describe_set(recorded)}")


def find_inputs(
    folder: Path, options: dict[str, Any], settings: RecordingSettings
) -> Sequence[RecordingInput]:
    """What to render: the two folders' files, or what comes with the built-in character.

    Raises:
        SettingError: only one folder is given, or none with a checkpoint of somebody
            else's. InputError: a folder or file that cannot be used.
    """
    from echoexport.calibration.recording.recording_inputs import (
        InputSettings,
        read_recording_inputs,
    )
    from echoexport.export.demo.calibration_inputs import builtin_recording_inputs

    portraits = options["portraits"]
    voices = options["voice"]
    if (portraits is None) != (voices is None):
        raise SettingError(
            "--portraits and --voice are given together, or neither for the built-in demo character"
        )
    if portraits is not None:
        given = InputSettings(settings.seconds, options["face_model"], options["poses"], warn)
        return read_recording_inputs(portraits, voices, given)
    if not is_character_folder(folder):
        raise SettingError(
            f"{folder}: --portraits DIR and --voice DIR are wanted; only the built-in demo "
            "character brings its own"
        )
    idle = [name for name in ("face_model", "poses") if options[name] is not None]
    if idle:
        raise SettingError(
            f"--{idle[0].replace('_', '-')}: the built-in portraits need none; leave it out"
        )
    return builtin_recording_inputs()


def is_character_folder(folder: Path) -> bool:
    """Whether a folder is the built-in character's checkpoint or a bundle of it."""
    from echoexport.export.checkpoint.reader import open_checkpoint
    from echoexport.export.demo.assets import CHARACTER_VARIANT, builtin_checkpoint, is_builtin
    from echoexport.runtime.bundle.files import hash_file
    from echoexport.runtime.contract.manifest import read_manifest

    if not is_bundle(folder):
        return is_builtin(folder)
    opened = open_checkpoint(builtin_checkpoint(), CHARACTER_VARIANT)
    own = {path.relative_to(opened.folder).as_posix(): hash_file(path) for path in opened.files()}
    return own == {
        name: file.sha256
        for name, file in read_manifest(folder).provenance.checkpoint_files.items()
    }


def is_bundle(folder: Path) -> bool:
    """Whether a folder is a bundle, not a checkpoint."""
    from echoexport.runtime.contract.manifest import MANIFEST_NAME

    return (folder / MANIFEST_NAME).exists()


@contextmanager
def found_bundle(folder: Path, output: Path, options: dict[str, Any]) -> Iterator[Path]:
    """The fp32 bundle: the folder itself, or one built beside the output for the while.

    Raises:
        SettingError: an option of the build is given with a bundle, which has its own.
        CalibrationError: a bundle that is not fp32.
        OutputError: another recording of the set is at work.
    """
    from echoexport.calibration.recording.set_writer import recorded_alone
    from echoexport.runtime.contract.manifest import read_manifest
    from echoexport.runtime.contract.signing.trust import trusting
    from echoexport.runtime.files.staging import staged_folder

    if is_bundle(folder):
        own = [name for name in _BUILD_ONLY if options[name] is not None]
        if own:
            raise SettingError(
                f"--{own[0]}: {folder} is a bundle and has its own; leave it out, or name a "
                "checkpoint"
            )
        precision = read_manifest(folder).precision
        if precision != "fp32":
            raise CalibrationError(
                f"{folder}: a {precision} bundle; fp32 is wanted, or the checkpoint itself"
            )
        yield folder
        return
    place = Path(os.path.realpath(output))
    with ExitStack() as stack:
        stack.enter_context(trusting(None))  # it is opened by who built it
        # the first of two that record one set goes on, the second need not build to be refused
        with recorded_alone(output):
            aside = stack.enter_context(staged_folder(place, mode=0o700))
            build_float_bundle(folder, aside / "fp32", options)
        yield aside / "fp32"


def build_float_bundle(folder: Path, bundle: Path, options: dict[str, Any]) -> None:
    """Build without self-tests; raises what a build raises."""
    from echoexport.export.build.bundle import build_bundle
    from echoexport.export.build.settings import BuildSettings
    from echoexport.export.cli.build import fit_character
    from echoexport.export.cli.demo import find_own_target
    from echoexport.export.demo.assets import is_builtin
    from echoexport.runtime.files.cache_folders import find_cache_folder
    from echoexport.targets.spec import find_target

    settings = BuildSettings(
        options["variant"] or "acc",
        options["size"],
        options["frames"],
        "fp32",
        traces=find_cache_folder("traces", given=options["trace_cache"]),
        check="none",
        own_graphs=False,  # a recording runs the portable ones
    )
    if is_builtin(folder):
        settings = fit_character(settings)
    with ProgressLine("step") as progress:
        target = find_target(options["target"] or find_own_target())
        build_bundle(folder, bundle, target=target, settings=settings, report=progress)


def describe_set(recorded: CalibrationSet) -> str:
    """One line: how many samples of what, from what."""
    from echoexport.runtime.contract.settings import spell_steps

    manifest = recorded.manifest
    counts = ", ".join(f"{count} of {name}" for name, count in manifest.counts.items())
    return (
        f"{counts}; {spell_steps(manifest.sampling.steps)}, {len(manifest.portraits)} portraits, "
        f"{len(manifest.voices)} "
        f"voices, {manifest.megabytes:.1f} MB, digest {recorded.digest[:16]}"
    )
