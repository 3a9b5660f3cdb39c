"""``echoexport profile``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echoexport.export.cli.options import (
    FILE,
    ProgressLine,
    RateType,
    backend_option,
    compute_option,
    face_box_option,
    require_reports,
    spell_voice,
    warn_of_fallback,
)
from echoexport.export.cli.signing.options import signed_options
from echoexport.runtime.errors import OutputError, SettingError
from echoexport.runtime.files.temporary import temporary_folder

if TYPE_CHECKING:
    from echoexport.profiles.measuring.rounds import ClipWork
    from echoexport.profiles.reports.profile import ProfileReport
    from echoexport.runtime.contract.manifest import Manifest

FILES = ("report.json", "report.md", "report.html")


@click.command("profile", context_settings={"token_normalize_func": spell_voice})
@click.argument("bundle", type=FILE)
@click.option(
    "--portrait",
    "-p",
    type=FILE,
    metavar="FILE",
    help="A picture of one face. Default: the built-in one.",
)
@click.option(
    "--voice", "-v", type=FILE, metavar="FILE", help="What is said. Default: the built-in voice."
)
@face_box_option
@click.option(
    "--poses",
    type=FILE,
    metavar="PATH",
    help="Landmarks or drawn pose maps, for the pose variants.",
)
@click.option(
    "--duration",
    type=click.FloatRange(0.1, 3600),
    default=6.0,
    show_default=True,
    metavar="S",
    help="Of the clip, at most as long as the sound.",
)
@click.option(
    "--fps", type=RateType(), metavar="FPS", help="Real time is held to it. Default: the bundle's."
)
@click.option("--steps", type=int, metavar="N", help="Sampling steps. Default: the bundle's.")
@click.option(
    "--repeats",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    metavar="N",
    help="That count.",
)
@click.option(
    "--warmup",
    type=click.IntRange(0, 100),
    default=1,
    show_default=True,
    metavar="N",
    help="Before them.",
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
@click.option(
    "--layers", is_flag=True, help="Time every layer too, on engines opened for that alone."
)
@click.option(
    "--live",
    is_flag=True,
    help="Also speak the voice to a live session for the duration, at its own pace and 25 fps.",
)
@click.option(
    "--trace",
    "trace_file",
    type=FILE,
    metavar="FILE",
    help="Write the last repeat, for ui.perfetto.dev.",
)
@click.option(
    "--output",
    "-o",
    default=Path("profile"),
    show_default=True,
    type=FILE,
    metavar="DIR",
    help="Where report.json, report.md and report.html go; reports that are there are replaced.",
)
@signed_options
def profile_command(bundle: Path, **options: Any) -> None:
    """Measure how fast a bundle is on this machine, and where its time goes.

    A clip is rendered again and again: in turns, by one thread, and overlapped, as
    `echoexport run` does.

    \b
    Example:
      echoexport profile bundle/ --duration 4 --layers -o profile/
    """
    from echoexport.export.cli.compiled_run import choose_bundle
    from echoexport.profiles.reports.profile_run import ProfileEffort, profile_bundle
    from echoexport.runtime.trace.trace_file import write_trace

    effort = ProfileEffort(
        warmup=options["warmup"], repeats=options["repeats"], layers=options["layers"]
    )
    bundle, backend = choose_bundle(bundle, backend=options["backend"], compute=options["compute"])
    others = {
        "--portrait": options["portrait"],
        "--voice": options["voice"],
        "--poses": options["poses"],
    }
    own = {f"the report {name}": options["output"] / name for name in FILES}
    with (
        made_folder(options["output"]),
        temporary_folder("profile") as scratch,
        ProgressLine("round") as progress,
    ):
        require_reports({**own, "--trace": options["trace_file"]}, others=others, bundles=[bundle])
        _warn_once(bundle, backend, asked=options["backend"], compute=options["compute"])
        with reusable_work(bundle, backend, options, scratch=scratch) as work:
            found = profile_bundle(work, effort, tell=progress)
            report = found.report
            if options["live"]:
                from echoexport.profiles.measuring.live_run import measure_live

                report = replace(report, live=measure_live(work, seconds=options["duration"]))
    if options["trace_file"] is not None:
        write_trace(found.spans, options["trace_file"])
    write_profile(report, options["output"])
    for line in describe_profile(report):
        click.echo(line)
    click.echo(f"{options['output']}: {', '.join(FILES)}")


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """The folder of the reports, made before the long work; gone again where that fails.

    Raises OutputError where it cannot be made.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror or error}") from error
    try:
        yield
    except BaseException:
        with suppress(OSError):  # where something came into it
            for path in new:
                path.rmdir()
        raise


def read_work(
    bundle: Path, backend: str | None, options: dict[str, Any], *, scratch: Path
) -> ClipWork:
    """The command line's options as work for a profile.

    Raises:
        SettingError: a face box without a portrait.
    """
    from echoexport.export.demo.assets import builtin_face_box, builtin_portrait, builtin_voice
    from echoexport.profiles.measuring.rounds import ClipWork
    from echoexport.runtime.contract.manifest import read_manifest
    from echoexport.runtime.engine.protocol import EngineOptions
    from echoexport.runtime.inputs.portrait import parse_face_box
    from echoexport.runtime.rendering.clip import ClipRequest

    box = options["face_box"]
    if box is not None and options["portrait"] is None:
        raise SettingError("--face-box belongs to a --portrait: give it too")
    built_in = builtin_face_box() if options["portrait"] is None else None
    face = built_in if box is None else parse_face_box(box)
    clip = ClipRequest(
        options["portrait"] or builtin_portrait(),
        options["voice"] or builtin_voice(),
        "",
        face_box=face,
        poses=options["poses"],
        settings=read_profile_settings(read_manifest(bundle), options),
    )
    engine = EngineOptions(compute=options["compute"], threads=options["threads"])
    return ClipWork(bundle, backend, engine, clip, scratch)


@contextmanager
def reusable_work(
    bundle: Path, backend: str | None, options: dict[str, Any], *, scratch: Path
) -> Iterator[ClipWork]:
    """As :func:`read_work`, with what pipes gave kept for all rounds.

    Raises:
        InputError, SettingError: a file or an option that cannot be used.
    """
    from echoexport.runtime.inputs.picture_file import store_picture
    from echoexport.runtime.inputs.sound.stored import store_sound

    work = read_work(bundle, backend, options, scratch=scratch)
    picture = store_picture(work.clip.portrait)
    with store_sound(work.clip.voice) as sound:
        yield replace(work, clip=replace(work.clip, portrait=picture, voice=sound))


def read_profile_settings(manifest: Manifest, options: dict[str, Any]) -> Any:
    """Render settings; the duration as frames."""
    from echoexport.runtime.rendering.settings import RenderSettings

    fps = options["fps"] or manifest.fps
    frames = max(round(options["duration"] * float(fps)), 1)
    return RenderSettings(fps=fps, steps=options["steps"], frames=frames)


def write_profile(report: ProfileReport, folder: Path) -> None:
    """The three files, each whole or not at all. Raises OutputError."""
    from echoexport.profiles.pages.profile_markdown import format_markdown
    from echoexport.profiles.pages.profile_page import format_profile_page
    from echoexport.profiles.reports.profile import format_profile_json
    from echoexport.runtime.files.aside import write_whole

    texts = (format_profile_json(report), format_markdown(report), format_profile_page(report))
    for name, text in zip(FILES, texts, strict=True):
        write_whole(folder / name, text)


def describe_profile(report: ProfileReport) -> list[str]:
    """What a user wants to know first, a few lines."""
    from echoexport.profiles.measuring.figures import format_seconds
    from echoexport.profiles.pages.profile_markdown import list_live_facts
    from echoexport.profiles.reports.verdict import find_slowest

    mode = report.headline
    verdict = report.verdict
    lines = [verdict.line, *(f"  {remedy}" for remedy in verdict.remedies)]
    lines.append(
        f"{mode.frames} frames in {format_seconds(mode.wall.figures.p50)} ({mode.fps:.1f} "
        "frames/s, real-time factor "
        f"{mode.real_time_factor:.2f}), first frame after "
        f"{format_seconds(mode.first_frame.figures.p50)}, median of "
        f"{report.settings.repeats}, measured; {report.bundle.backend}, {report.bundle.compute}"
    )
    slowest = find_slowest(report.modes[-1])
    lines += [slowest] if slowest else []
    lines += (
        [f"{name}: {text}" for name, text in list_live_facts(report.live)] if report.live else []
    )
    lines += [f"note: {note}" for note in report.notes]
    return [*lines, *([f"warning: {verdict.noisy}"] if verdict.noisy else [])]


def _warn_once(bundle: Path, backend: str | None, *, asked: str | None, compute: str) -> None:
    from echoexport.runtime.bundle.opened import open_bundle
    from echoexport.runtime.engine.protocol import EngineOptions

    with open_bundle(bundle, backend=backend, options=EngineOptions(compute=compute)) as opened:
        warn_of_fallback(opened, asked=asked)
