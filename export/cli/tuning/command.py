"""``echoexport tune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echoexport.export.cli.options import (
    FILE,
    ProgressLine,
    RateType,
    backend_option,
    cache_option,
    require_outside,
    require_reports,
    spell_voice,
    warn_of_fallback,
)
from echoexport.export.cli.profile import made_folder
from echoexport.export.cli.signing.options import signed_options
from echoexport.export.cli.tuning.clips import TuningFiles, find_tuning_clips
from echoexport.export.cli.tuning.work import (
    TUNING_FILES,
    find_sides,
    open_progress,
    parse_numbers,
    write_defaults,
    write_tuning,
)
from echoexport.runtime.errors import SettingError
from echoexport.runtime.files.temporary import temporary_folder

if TYPE_CHECKING:
    from echoexport.profiles.tuning.limits import TuningLimits
    from echoexport.profiles.tuning.report import TuningReport


@click.command("tune", context_settings={"token_normalize_func": spell_voice})
@click.argument("bundle", type=FILE)
@click.option(
    "--portrait",
    "-p",
    "portraits",
    multiple=True,
    type=FILE,
    metavar="FILE",
    help="A picture of one face. Repeatable: each says each voice. The built-in demo character "
    "brings its own.",
)
@click.option(
    "--voice",
    "-v",
    "voices",
    multiple=True,
    type=FILE,
    metavar="FILE",
    help="What is said; goes with --portrait. Repeatable.",
)
@click.option(
    "--face-box",
    "face_boxes",
    multiple=True,
    metavar="X0,Y0,X1,Y1",
    help="The face in a portrait's pixels, forehead to chin; one for each --portrait. Lip-sync "
    "is measured only where the face is known.",
)
@click.option(
    "--face-model",
    type=FILE,
    metavar="FILE",
    help="MediaPipe face detector (.tflite or .task) to find faces with.",
)
@click.option(
    "--poses",
    type=FILE,
    metavar="PATH",
    help="Landmarks or drawn pose maps, for the pose variants.",
)
@click.option(
    "--steps",
    default="1,2,3,4,6",
    show_default=True,
    metavar="N,N...",
    help="Sampling steps to try. The most of them and of the bundle's own are the reference.",
)
@click.option(
    "--overlap",
    metavar="N,N...",
    help="Frames that neighbouring windows share, to try. Default: the bundle's own, and 0.",
)
@click.option(
    "--compute",
    "computes",
    multiple=True,
    metavar="NAME",
    help="Arithmetic in the engine to try, e.g. fp32 or bf16. Repeatable. Default: all that "
    "work here.",
)
@click.option(
    "--against",
    multiple=True,
    type=FILE,
    metavar="BUNDLE",
    help="Another build of the same checkpoint, e.g. in int8, to measure too. Repeatable.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.5, 600),
    default=2.0,
    show_default=True,
    metavar="S",
    help="Of each voice, its loudest stretch.",
)
@click.option(
    "--fps", type=RateType(), metavar="FPS", help="Frames a second. Default: the bundle's."
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**64 - 1),
    default=0,
    show_default=True,
    metavar="N",
    help="Of the noise.",
)
@click.option(
    "--renderings",
    type=click.IntRange(1, 1000),
    default=3,
    show_default=True,
    metavar="N",
    help="At least so many of each choice are timed, over all clips together.",
)
@click.option(
    "--ssim",
    type=float,
    default=0.95,
    show_default=True,
    metavar="X",
    help="Limit: mean SSIM of frames with the reference's, at least.",
)
@click.option("--psnr", type=float, metavar="DB", help="Limit: mean PSNR, at least. Default: none.")
@click.option(
    "--flicker",
    type=float,
    default=1.05,
    show_default=True,
    metavar="X",
    help="Limit: change from frame to frame outside the mouth, over the reference's, at most.",
)
@click.option(
    "--lipsync-loss",
    type=float,
    default=0.02,
    show_default=True,
    metavar="R",
    help="Limit: loss of the mouth's correlation with the reference's mouth and with the "
    "sound, mean over clips, at most.",
)
@click.option(
    "--lipsync-worst",
    type=float,
    default=0.06,
    show_default=True,
    metavar="R",
    help="Limit: the same of the worst clip, at most.",
)
@backend_option
@click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="CPU threads; 0 leaves it to the backend.",
)
@cache_option
@click.option(
    "--no-progress",
    is_flag=True,
    help="Keep nothing for the run after an interrupt, and use nothing that was kept.",
)
@click.option(
    "--write/--dry-run",
    default=True,
    show_default=True,
    help="Whether the chosen defaults are written into the bundle.",
)
@click.option(
    "--output",
    "-o",
    default=Path("tuning"),
    show_default=True,
    type=FILE,
    metavar="DIR",
    help="Where report.json, tuning.svg and tuning.html go; those that are there are replaced.",
)
@signed_options
def tune_command(bundle: Path, **options: Any) -> None:
    """Find the quickest steps, overlap and precision that look as good as a bundle's best.

    Portraits say voices with every choice, and frames are held to those of the most steps
    in fp32: SSIM, flicker, lip-sync, and that a mouth is closed in silence (at most 0.02
    of the silent frames fewer). The quickest choice that keeps the limits becomes the
    bundle's default, else its default stays. Interrupted, the same command goes on from
    what was measured.

    \b
    Examples:
      echoexport tune demo/bundle
      echoexport tune bundle/ -p anna.png --face-box 80,60,420,470 -v anna.wav --dry-run
    """
    report, written = run_tuning(bundle, options)
    from echoexport.profiles.pages.tuning_page import format_tuning_table
    from echoexport.profiles.tuning.report import describe_tuning

    click.echo(format_tuning_table(report))
    for line in [*describe_tuning(report), *(f"note: {note}" for note in report.notes)]:
        click.echo(line)
    click.echo(written)
    click.echo(f"{options['output']}: {', '.join(TUNING_FILES)}")


def run_tuning(bundle: Path, options: dict[str, Any]) -> tuple[TuningReport, str]:
    """Measure, write the reports and the defaults; the report, and what was written.

    Raises:
        SettingError: an option that cannot work. InputError: a file that cannot be used.
        BundleError, BackendError, OutputError: what cannot be opened, run or written.
    """
    from echoexport.export.build.defaults import require_new_manifest
    from echoexport.export.cli.compiled_run import choose_bundle
    from echoexport.profiles.tuning.choices import lay_grid
    from echoexport.runtime.contract.manifest import read_manifest

    limits = read_limits(options)
    steps = parse_numbers("--steps", options["steps"], least=1)
    overlap = options["overlap"]
    overlaps = None if overlap is None else parse_numbers("--overlap", overlap, least=0)
    before = read_manifest(bundle)
    if options["write"]:
        require_new_manifest(bundle)
    run, backend = choose_bundle(bundle, backend=options["backend"], compute="")
    output = options["output"]
    require_outside("--output", output, bundle)
    with made_folder(output), temporary_folder("tune") as scratch:
        inputs = {f"--portrait {path}": path for path in options["portraits"]}
        inputs |= {f"--voice {path}": path for path in options["voices"]}
        own = {f"the report {name}": output / name for name in TUNING_FILES}
        require_reports(own, others=inputs, bundles=[bundle, run, *options["against"]])
        sides = find_sides(run, options["against"], options["computes"], backend=backend)
        grid = lay_grid(
            read_manifest(run),
            sides.sides,
            present=sides.present,
            steps=steps,
            overlaps=overlaps,
            tried=sides.tried,
        )
        _warn_of_fallback(run, backend, asked=options["backend"])
        progress = open_progress(before, options["cache_folder"], keep=not options["no_progress"])
        report = _measure(run, grid, limits, backend, options, scratch=scratch, kept=progress)
    write_tuning(report, output)
    if report.chosen == report.present:
        written = f"{bundle}: unchanged"
    elif not options["write"]:
        written = f"{bundle}: unchanged, as --dry-run asks"
    else:
        written = write_defaults(report, bundle, run, sides, before=before)
    progress.remove()
    return report, written


def read_limits(options: dict[str, Any]) -> TuningLimits:
    """The limits of the options.

    Raises:
        SettingError: one that is no limit.
    """
    from echoexport.profiles.tuning.limits import TuningLimits

    names = ("ssim", "psnr", "flicker", "lipsync_loss", "lipsync_worst")
    for name in names:
        value = options[name]
        if value is not None and not 0 <= value <= 100:
            option = name.replace("_", "-")
            raise SettingError(f"--{option} {value:g}: a number from 0 to 100 is wanted")
    return TuningLimits(**{name: options[name] for name in names})


def _measure(
    run: Path,
    grid: Any,
    limits: TuningLimits,
    backend: str | None,
    options: dict[str, Any],
    *,
    scratch: Path,
    kept: Any,
) -> TuningReport:
    from echoexport.profiles.tuning.study import StudySettings, study_choices
    from echoexport.runtime.contract.manifest import read_manifest

    manifest = read_manifest(run)
    files = TuningFiles(
        options["portraits"],
        options["voices"],
        options["face_boxes"],
        options["face_model"],
        options["poses"],
    )
    fps = float(options["fps"] or manifest.fps)
    clips = find_tuning_clips(files, run, manifest, seconds=options["seconds"], fps=fps)
    settings = StudySettings(
        fps=options["fps"],
        seed=options["seed"],
        renderings=options["renderings"],
        backend=backend,
        threads=options["threads"],
        scratch=scratch,
    )
    try:
        with ProgressLine("rendering") as progress:
            return study_choices(
                grid, clips, settings=settings, limits=limits, kept=kept, report=progress
            )
    except KeyboardInterrupt:
        if kept.folder is not None:
            click.echo("what was measured is kept: the same command goes on from it", err=True)
        raise


def _warn_of_fallback(run: Path, backend: str | None, *, asked: str | None) -> None:
    from echoexport.runtime.bundle.opened import open_bundle

    with open_bundle(run, backend=backend) as opened:
        warn_of_fallback(opened, asked=asked)
