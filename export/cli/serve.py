"""``echoexport serve``."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from echoexport.export.cli.compiled_run import choose_bundle
from echoexport.export.cli.options import (
    FILE,
    CountType,
    ProgressLine,
    backend_option,
    cache_option,
    compute_option,
    warn_of_fallback,
)
from echoexport.export.cli.run import open_caches
from echoexport.export.cli.signing.options import is_signature_required, signed_options
from echoexport.runtime.errors import SettingError

if TYPE_CHECKING:
    from echoexport.runtime.bundle.opened import Bundle
    from echoexport.runtime.conditioning.reference_cache import ReferenceCache
    from echoexport.runtime.live.opening import FaceChoice
    from echoexport.runtime.serve.settings import ServeSettings
    from echoexport.runtime.serve.voice.command import VoiceCommand

_TERMINATED = 143


@click.command("serve")
@click.argument("bundle", type=FILE, required=False)
@click.option(
    "--portrait",
    "-p",
    "portraits",
    multiple=True,
    type=FILE,
    metavar="FILE",
    help="A face that sessions may show, under its file's name; the first is the usual one. May "
    "be given several times.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    metavar="N",
    help="0 takes a free one.",
)
@click.option(
    "--token-file",
    type=FILE,
    metavar="FILE",
    help="Tokens of 16 letters or more, one a line: who has one may come in. Needed for any "
    "address but the loopback one.",
)
@click.option(
    "--origin",
    "origins",
    multiple=True,
    metavar="URL",
    help="A page from elsewhere that may connect, such as https://kiosk.example.",
)
@click.option("--tls-cert", type=FILE, metavar="FILE", help="A certificate, PEM; with --tls-key.")
@click.option("--tls-key", type=FILE, metavar="FILE", help="Its key, PEM.")
@click.option(
    "--sessions",
    type=CountType("sessions", most=256),
    default="auto",
    show_default=True,
    metavar="N|auto",
    help="At most at once; auto goes by what drawing costs here.",
)
@click.option(
    "--tts",
    metavar="COMMAND|none",
    help="What speaks texts: a program that reads one on stdin and writes a WAV to stdout, such as "
    "'espeak-ng --stdin --stdout'; no shell sees it. Without: the built-in voice, where the extra "
    "'voice' is installed.",
)
@click.option(
    "--inference",
    is_flag=True,
    help="Serve the single networks too: the Open Inference Protocol v2 under /v2. Opens all of "
    "them, which takes memory.",
)
@click.option(
    "--grpc-port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help="The same protocol by gRPC on a port of its own, 0 for a free one; needs the extra "
    "'grpc'.",
)
@click.option(
    "--face-box",
    metavar="X0,Y0,X1,Y1",
    help="The face in the portraits' pixels, forehead to chin.",
)
@click.option(
    "--face-model",
    type=FILE,
    metavar="FILE",
    help="MediaPipe face detector (.tflite or .task) to find faces with, of uploads too.",
)
@click.option(
    "--poses",
    type=FILE,
    metavar="PATH",
    help="For the pose variants: landmarks or drawn maps, played forwards and backwards.",
)
@backend_option
@compute_option
@cache_option
@click.option(
    "--no-cache",
    is_flag=True,
    help="Compute references and compile engines anew, and keep nothing.",
)
@signed_options
def serve_command(bundle: Path | None, **options: Any) -> None:
    """Serve a page that talks, and live sessions for whoever speaks, on one port.

    Without a bundle the built-in character is built, once, and served. Ends with Ctrl-C or
    SIGTERM: sessions are told, and the exit code is 0.

    \b
    Examples:
      echoexport serve
      echoexport serve bundle/ -p anna.png -p ben.png --sessions 4
      echoexport serve bundle/ -p anna.png --host 0.0.0.0 --token-file tokens
      echoexport serve --tts 'espeak-ng --stdin --stdout -v de'
    """
    from echoexport.runtime.bundle.opened import open_bundle
    from echoexport.runtime.engine.protocol import EngineOptions
    from echoexport.runtime.serve.server import require_serve_packages
    from echoexport.runtime.serve.settings import check_serve_settings

    require_serve_packages()
    settings = _settle(options)
    check_serve_settings(settings)
    portraits, face = _choose_portraits(bundle, options)
    voice = _choose_voice(options["tts"])
    try:
        folder, backend = choose_bundle(
            bundle or find_built_in(), backend=options["backend"], compute=options["compute"]
        )
        cache, engines = open_caches(options["cache_folder"], wanted=not options["no_cache"])
        engine = EngineOptions(compute=options["compute"], cache=engines)
        with open_bundle(folder, backend=backend, options=engine) as opened:
            warn_of_fallback(opened, asked=options["backend"])
            _serve(opened, portraits, settings, face=face, cache=cache, voice=voice)
    except KeyboardInterrupt:
        click.echo("stopped; the sessions were told", err=True)
    except SystemExit as end:
        if end.code != _TERMINATED:
            raise
        click.echo("stopped; the sessions were told", err=True)


def find_built_in() -> Path:
    """The built-in character's bundle in the user's cache folder, built where it is not there.

    Raises:
        BackendError, OutputError: it cannot be built or kept here.
        SettingError: it is of nobody's signature, and one is required.
    """
    from echoexport.export.build.bundle import build_bundle
    from echoexport.export.build.parts import record_arithmetic
    from echoexport.export.build.settings import BuildSettings
    from echoexport.export.cli.demo import find_arithmetic, find_own_target
    from echoexport.export.demo.assets import (
        CHARACTER_VARIANT,
        builtin_checkpoint,
        suit_character,
    )
    from echoexport.runtime.files.cache_folders import find_cache_folder
    from echoexport.targets.spec import load_target

    if is_signature_required():
        raise SettingError("the built-in character is not signed: name a signed bundle to serve")
    spec = load_target(find_own_target())
    traces = find_cache_folder("traces")
    folder = (traces.parent if traces is not None else Path.cwd()) / "character" / spec.name
    if not _is_bundle(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        settings = suit_character(
            BuildSettings(variant=CHARACTER_VARIANT, live=True, traces=traces)
        )
        with ProgressLine("step") as progress:
            build_bundle(
                builtin_checkpoint(), folder, target=spec, settings=settings, report=progress
            )
        record_arithmetic(folder, find_arithmetic(spec.name))
    return folder


def _is_bundle(folder: Path) -> bool:
    """Whether there is one that this version reads."""
    from echoexport.runtime.contract.manifest import read_manifest
    from echoexport.runtime.errors import BundleError

    try:
        read_manifest(folder, to_run=False)
    except BundleError:
        return False
    return True


def _serve(
    opened: Bundle,
    portraits: list[Path],
    settings: ServeSettings,
    *,
    face: FaceChoice | None,
    cache: ReferenceCache | None,
    voice: VoiceCommand | None,
) -> None:
    """Until a signal comes."""
    from echoexport.runtime.serve.figures import ServeFigures
    from echoexport.runtime.serve.inference.plane import InferencePlane
    from echoexport.runtime.serve.log import ServeLog
    from echoexport.runtime.serve.portraits import PortraitShelf
    from echoexport.runtime.serve.server import LiveServer
    from echoexport.runtime.serve.table import SessionTable

    log = ServeLog()
    shelf = PortraitShelf(portraits, settings)
    figures = ServeFigures()
    table = SessionTable(opened, shelf, settings, cache=cache, face=face, log=log, figures=figures)
    table.voice = voice
    with ExitStack() as stack:
        networks = settings.inference or settings.grpc_port is not None
        plane = InferencePlane(opened, figures) if networks else None
        server = stack.enter_context(LiveServer(table, settings, log=log, plane=plane))
        server.warm_up()
        hint = "?token=TOKEN opens it in a browser" if settings.tokens else "no token is asked for"
        if server.grpc_port is not None:
            hint += f"; gRPC on port {server.grpc_port}"
        spoken = f"voice {voice.name}" if voice is not None else "no voice for texts"
        known = f"{hint}; {spoken}; process {os.getpid()}; Ctrl-C stops"
        click.echo(f"ready: {server.address} ({known})")
        server.wait()


def _choose_voice(command: str | None) -> VoiceCommand | None:
    """The voice that was asked for, or the built-in one where it speaks."""
    from echoexport.runtime.errors import BackendError
    from echoexport.runtime.serve.voice.finding import find_voice

    try:
        return find_voice(command)
    except BackendError as error:
        click.echo(f"echoexport: without a voice, as the built-in one fails: {error}", err=True)
        return None


def _settle(options: dict[str, Any]) -> ServeSettings:
    from echoexport.runtime.serve.settings import ServeSettings, read_tokens

    file = options["token_file"]
    return ServeSettings(
        host=options["host"],
        port=options["port"],
        tokens=() if file is None else read_tokens(file),
        origins=tuple(options["origins"]),
        certificate=options["tls_cert"],
        key=options["tls_key"],
        sessions=options["sessions"],
        inference=options["inference"],
        grpc_port=options["grpc_port"],
    )


def _choose_portraits(
    bundle: Path | None, options: dict[str, Any]
) -> tuple[list[Path], FaceChoice | None]:
    """Those that were given, each read once so that a bad one is told now, or the built-in one."""
    from echoexport.runtime.inputs.picture_file import read_picture
    from echoexport.runtime.inputs.portrait import parse_face_box
    from echoexport.runtime.live.opening import FaceChoice

    given = list(options["portraits"])
    if not given and bundle is None:
        from echoexport.export.demo.assets import builtin_face_box, builtin_portrait

        return [builtin_portrait()], FaceChoice(box=builtin_face_box())
    if not given:
        raise SettingError("a face is needed: --portrait FILE, more than once for more of them")
    for portrait in given:
        read_picture(portrait)
    box = options["face_box"]
    return given, FaceChoice(
        box=None if box is None else parse_face_box(box),
        model=options["face_model"],
        poses=options["poses"],
    )
