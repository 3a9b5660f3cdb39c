"""``echoexport run``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echoexport.export.cli.compiled_run import choose_bundle
from echoexport.export.cli.options import (
    FILE,
    ProgressLine,
    RateType,
    backend_option,
    cache_option,
    compute_option,
    face_box_option,
    face_model_option,
    no_cache_option,
    portrait_option,
    require_outside,
    require_reports,
    warn,
    warn_of_fallback,
    warn_of_notes,
)
from echoexport.export.cli.signing.options import is_signature_required, signed_options

if TYPE_CHECKING:
    from echoexport.runtime.conditioning.reference_cache import ReferenceCache
    from echoexport.runtime.rendering.clip import ClipReport, ClipRequest
    from echoexport.runtime.trace.tracer import Tracer


@click.command("run")
@click.argument("bundle", type=FILE)
@portrait_option
@click.option(
    "--voice",
    "-v",
    required=True,
    type=FILE,
    metavar="FILE",
    help="WAV, MP3, M4A, FLAC or a video's sound, any rate.",
)
@click.option(
    "--output",
    "-o",
    required=True,
    metavar="OUT",
    help="A .mp4 or .mov file, a folder for PNGs, or - for raw RGB24 on stdout.",
)
@face_box_option
@face_model_option
@click.option(
    "--poses",
    type=FILE,
    metavar="PATH",
    help="Landmarks or drawn pose maps, for the pose variants.",
)
@click.option(
    "--fps", type=RateType(), metavar="FPS", help="Frames a second. Default: the bundle's (24)."
)
@click.option("--steps", type=int, metavar="N", help="Sampling steps. Default: the bundle's.")
@click.option(
    "--guidance",
    type=float,
    metavar="G",
    help="Above 1 each step costs two calls. Default: the bundle's.",
)
@click.option(
    "--overlap",
    type=int,
    metavar="N",
    help="Frames that neighbouring windows share. Default: the bundle's.",
)
@click.option(
    "--frames",
    type=click.IntRange(min=1),
    metavar="N",
    help="Stop after so many frames. Default: all of the voice.",
)
@click.option(
    "--frame-count",
    default="cover",
    show_default=True,
    metavar="HOW",
    help="cover: ceil(duration x fps); original: the original's slightly larger count.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**64 - 1),
    default=0,
    show_default=True,
    metavar="N",
    help="Of the initial noise.",
)
@click.option(
    "--hold",
    type=int,
    metavar="N",
    help="Levels of 255 up to which a pixel's change is not shown. Default: the bundle's.",
)
@backend_option
@compute_option
@click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="CPU threads; 0 leaves it to the backend.",
)
@cache_option
@no_cache_option
@click.option(
    "--report",
    "report_file",
    type=FILE,
    metavar="FILE",
    help="Write what was measured here, as JSON.",
)
@click.option(
    "--trace",
    "trace_file",
    type=FILE,
    metavar="FILE",
    help="Write what ran when, as a trace that ui.perfetto.dev opens.",
)
@signed_options
def run_command(bundle: Path, **options: Any) -> None:
    """Make a video from a portrait and a voice.

    \b
    Example:
      echoexport run bundle/ -p portrait.png -v voice.wav --face-model face.task -o out.mp4
    """
    from echoexport.runtime.bundle.early import begin_opening
    from echoexport.runtime.bundle.opened import open_bundle
    from echoexport.runtime.contract.spec import describe_arithmetic
    from echoexport.runtime.engine.protocol import EngineOptions

    require_run_reports(bundle, options)
    bundle, backend = choose_bundle(bundle, backend=options["backend"], compute=options["compute"])
    cache, engines = open_caches(options["cache_folder"], wanted=not options["no_cache"])
    shown = ProgressLine("frame", {"sampling": "call"})
    engine = EngineOptions(
        compute=options["compute"], threads=options["threads"], cache=engines, lanes=0
    )
    with open_bundle(bundle, backend=backend, options=engine) as opened, shown as progress:
        warn_of_fallback(opened, asked=options["backend"])
        with tracing(options["trace_file"]) as tracer:
            # It goes with the bundle: closing engines takes time that is not the clip's.
            networks = opened.lease(tracer=tracer, frugal=True)
            begin_opening(networks)
            # While the denoiser opens: these imports take half as long as that.
            from echoexport.runtime.rendering.clip import make_clip
            from echoexport.runtime.rendering.session import Session

            request = read_request(options)
            session = Session(opened, cache=cache, networks=networks)
            report = make_clip(session, request, progress=progress, warn=warn)
        warn_of_notes(networks.notes())
        circumstances = f"{opened.backend.name}, {describe_arithmetic(opened.arithmetic())}"
        if options["report_file"] is not None:
            from echoexport.profiles.measuring.clip_run import describe_clip_run, write_clip_run

            write_clip_run(
                options["report_file"], describe_clip_run(opened, report, request.settings)
            )
    click.echo(
        describe_clip(request.output, report, circumstances=circumstances),
        err=request.output == "-",
    )


@contextmanager
def tracing(file: Path | None) -> Iterator[Tracer]:
    """A tracer whose spans go to ``file`` at the end, where all went well.

    One that notes nothing where no trace is wanted.

    Raises:
        OutputError: the file cannot be written.
    """
    from echoexport.runtime.trace.trace_file import write_trace
    from echoexport.runtime.trace.tracer import NULL, Tracer

    if file is None:
        yield NULL
        return
    tracer = Tracer()
    yield tracer
    write_trace(tracer.spans(), file)
    if tracer.dropped:
        warn(f"{file}: holds the first part only; {tracer.dropped} later spans were dropped")


def open_caches(folder: Path | None, *, wanted: bool) -> tuple[ReferenceCache | None, Path | None]:
    """The cache of references, and the folder of compiled engines.

    None for each where none is wanted or known.
    """
    from echoexport.runtime.conditioning.reference_cache import ReferenceCache
    from echoexport.runtime.files.cache_folders import find_cache_folder

    if not wanted or is_signature_required():  # who writes into a cache could forge what it holds
        return None, None
    references = ReferenceCache(find_cache_folder("reference", given=folder))
    return references, find_cache_folder("engines", given=folder)


def require_run_reports(bundle: Path, options: dict[str, Any]) -> None:
    """Refuse a report or trace that could not be written, or would replace what is read or made.

    And an output within the bundle.

    Raises:
        OutputError, SettingError: it is so.
    """
    output = None if options["output"] == "-" else Path(options["output"])
    read = {
        f"--{name.replace('_', '-')}": options[name]
        for name in ("portrait", "voice", "face_model", "poses")
    }
    if output is not None:
        require_outside("--output", output, bundle)
    reports = {"--report": options["report_file"], "--trace": options["trace_file"]}
    require_reports(reports, others={**read, "--output": output}, bundles=[bundle])


def read_request(options: dict[str, Any]) -> ClipRequest:
    """The command line's options as a request.

    Raises:
        PortraitError: a face box that is not four numbers.
    """
    from echoexport.runtime.inputs.portrait import parse_face_box
    from echoexport.runtime.rendering.clip import ClipRequest
    from echoexport.runtime.rendering.settings import RenderSettings

    names = ("fps", "steps", "guidance", "overlap", "frames", "frame_count", "seed", "hold")
    box = options["face_box"]
    return ClipRequest(
        portrait=options["portrait"],
        voice=options["voice"],
        output=options["output"],
        face_box=None if box is None else parse_face_box(box),
        face_model=options["face_model"],
        poses=options["poses"],
        settings=RenderSettings(**{name: options[name] for name in names}),
    )


def describe_clip(output: str, report: ClipReport, *, circumstances: str) -> str:
    """One line: what was made, how fast, under which circumstances."""
    reference = "from the cache" if not report.calls["reference_unet"] else "computed"
    return (
        f"{output}: {report.frames} frames at {report.fps:g} fps in {report.seconds:.1f} s "
        f"({report.frames_per_second:.1f} frames/s, real-time factor "
        f"{report.real_time_factor:.2f}, first frame after "
        f"{report.first_frame_seconds:.1f} s, measured; {circumstances}; reference {reference})"
    )
