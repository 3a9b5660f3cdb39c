"""``echoexport live``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

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
    warn_of_fallback,
)
from echoexport.export.cli.run import open_caches
from echoexport.export.cli.signing.options import signed_options

if TYPE_CHECKING:
    from echoexport.profiles.measuring.live_run import LiveRun
    from echoexport.runtime.bundle.opened import Bundle
    from echoexport.runtime.live.opening import Conversation, FaceChoice
    from echoexport.runtime.live.playing import PlayLog


@click.command("live")
@click.argument("bundle", type=FILE)
@portrait_option
@click.option(
    "--voice",
    "-v",
    required=True,
    metavar="FILE",
    help="A sound file, spoken at its own pace; - is raw signed 16-bit mono PCM at 16 kHz on "
    "stdin, as it comes.",
)
@click.option(
    "--output",
    "-o",
    required=True,
    metavar="OUT",
    help="A .mp4 file, or - for a fragmented mp4 on stdout, playable while it comes.",
)
@face_box_option
@face_model_option
@click.option(
    "--poses",
    type=FILE,
    metavar="PATH",
    help="For the pose variants: landmarks or drawn maps, played forwards and backwards.",
)
@click.option(
    "--pace",
    type=click.Choice(["real", "fast"]),
    default="real",
    show_default=True,
    help="real: as if somebody spoke it now; fast: as quickly as it can be drawn.",
)
@click.option(
    "--mode",
    type=click.Choice(["renoised", "cached"]),
    help="renoised: hears best; cached: half the work, for more sessions. Default: renoised.",
)
@click.option(
    "--fps",
    type=RateType(),
    default="25",
    show_default=True,
    metavar="FPS",
    help="Frames a second.",
)
@click.option(
    "--steps",
    type=int,
    metavar="N",
    help="Sampling steps. Default: what this machine keeps up with, at most the bundle's.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**64 - 1),
    default=0,
    show_default=True,
    metavar="N",
    help="Of the noise.",
)
@backend_option
@compute_option
@cache_option
@no_cache_option
@click.option(
    "--report",
    "report_file",
    type=FILE,
    metavar="FILE",
    help="Write what was measured here, as JSON.",
)
@signed_options
def live_command(bundle: Path, **options: Any) -> None:
    """Play a voice through a live session, as if it were spoken now.

    \b
    Examples:
      echoexport live bundle/ -p portrait.png -v voice.wav -o out.mp4 --report live.json
      arecord -f S16_LE -r 16000 -t raw | echoexport live bundle/ -p p.png -v - -o - | ffplay -
    """
    from echoexport.profiles.measuring.live_run import describe_live_run, write_live_run
    from echoexport.runtime.bundle.opened import open_bundle
    from echoexport.runtime.engine.protocol import EngineOptions
    from echoexport.runtime.live.opening import open_live

    _check_files(bundle, options)
    face = _choose_face(options)
    chunks = _open_chunks(options["voice"])
    bundle, backend = choose_bundle(bundle, backend=options["backend"], compute=options["compute"])
    cache, engines = open_caches(options["cache_folder"], wanted=not options["no_cache"])
    engine = EngineOptions(compute=options["compute"], cache=engines)
    with open_bundle(bundle, backend=backend, options=engine) as opened:
        warn_of_fallback(opened, asked=options["backend"])
        names = ("fps", "mode", "steps", "seed", "pace")
        wanted = {name: options[name] for name in names}
        with open_live(opened, options["portrait"], face=face, cache=cache, **wanted) as talk:
            log = _play(opened, talk, chunks, options=options)
            run = describe_live_run(opened, talk, log)
    if options["report_file"] is not None:
        write_live_run(options["report_file"], run)
    click.echo(describe_live(options["output"], run), err=options["output"] == "-")


def describe_live(output: str, run: LiveRun) -> str:
    """One line: what was played, how soon and how late."""
    from echoexport.runtime.contract.settings import spell_steps

    first = "none drawn" if run.first_frame_ms is None else f"{run.first_frame_ms:.0f} ms"
    delay = "" if run.delay_ms is None else f"delay {run.delay_ms:.0f} ms, "
    return (
        f"{output}: {run.frames} frames at {run.fps:g} fps, {run.spoken_frames} of them spoken; "
        f"first frame {first}, {delay}{run.late_frames} late; room for {run.sessions_capacity} "
        f"such sessions here (mode {run.mode}, {spell_steps(run.steps)}; measured)"
    )


def _play(
    opened: Bundle,
    talk: Conversation,
    chunks: Iterator[np.ndarray],
    *,
    options: dict[str, Any],
) -> PlayLog:
    from echoexport.runtime.live.playing import play
    from echoexport.runtime.live.scheduling.clock import MonotonicClock
    from echoexport.runtime.sinks.fragmented_mp4 import FragmentedMp4Sink
    from echoexport.runtime.sinks.raw import open_stdout

    picture = opened.manifest.picture
    output = options["output"]
    sink = FragmentedMp4Sink(
        open_stdout() if output == "-" else Path(output),
        size=(picture.width, picture.height),
        fps=options["fps"],
        sample_rate=talk.numbers.hearing.sample_rate,
    )
    paced = options["pace"] == "real" and options["voice"] != "-"
    with ProgressLine("frame", {}) as shown, sink:
        return play(
            talk,
            chunks,
            sink,
            clock=MonotonicClock(),
            paced=paced,
            tell=lambda count: shown("live", count, None),
        )


def _open_chunks(voice: str) -> Iterator[np.ndarray]:
    """The voice in chunks; a file is read before anything is opened for it.

    Raises:
        AudioError: it cannot be read.
    """
    from echoexport.runtime.inputs.voice import read_voice
    from echoexport.runtime.live.playing import cut_chunks, read_pcm

    if voice == "-":
        return read_pcm(sys.stdin.buffer)
    return cut_chunks(read_voice(Path(voice)).samples)


def _choose_face(options: dict[str, Any]) -> FaceChoice:
    from echoexport.runtime.inputs.portrait import parse_face_box
    from echoexport.runtime.live.opening import FaceChoice

    box = options["face_box"]
    return FaceChoice(
        box=None if box is None else parse_face_box(box),
        model=options["face_model"],
        poses=options["poses"],
    )


def _check_files(bundle: Path, options: dict[str, Any]) -> None:
    """Refuse an output or a report that could not be written, before the long work."""
    from echoexport.runtime.errors import SettingError

    output = options["output"]
    if output != "-" and Path(output).suffix.lower() != ".mp4":
        raise SettingError(f"output {output}: a live video is an .mp4 file, or - for stdout")
    voice = options["voice"]
    read = {
        "--portrait": options["portrait"],
        "--voice": None if voice == "-" else Path(voice),
        "--face-model": options["face_model"],
        "--poses": options["poses"],
    }
    place = None if output == "-" else Path(output)
    if place is not None:
        require_outside("--output", place, bundle)
        require_reports({"--output": place}, others=read, bundles=[bundle])
    require_reports(
        {"--report": options["report_file"]}, others={**read, "--output": place}, bundles=[bundle]
    )
