"""``echoexport load``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from echoexport.export.cli.options import FILE, CountType, ProgressLine, require_reports

if TYPE_CHECKING:
    from echoexport.runtime.serve.load.stream import LoadTarget


@click.command("load")
@click.argument("url", metavar="URL")
@click.option(
    "--streams",
    type=CountType("streams", most=256),
    default="1",
    show_default=True,
    metavar="N|auto",
    help="Sessions that speak at once; auto opens more until the server refuses one.",
)
@click.option(
    "--duration",
    type=click.FloatRange(1, 86_400),
    default=30.0,
    show_default=True,
    metavar="S",
    help="Seconds for which all of them speak.",
)
@click.option(
    "--token-file",
    type=FILE,
    metavar="FILE",
    help="The server's tokens, one a line; sessions take them in turns.",
)
@click.option(
    "--voice",
    "-v",
    type=FILE,
    metavar="FILE",
    help="What each says, again and again. Default: a built-in phrase.",
)
@click.option(
    "--portrait",
    "-p",
    metavar="NAME",
    help="One of the server's portraits. Default: its first.",
)
@click.option("--tls-ca", type=FILE, metavar="FILE", help="Whom to trust for https, PEM.")
@click.option(
    "--report",
    "report_file",
    type=FILE,
    metavar="FILE",
    help="Write what was measured here, as JSON; echoexport compare reads it.",
)
def load_command(url: str, **options: Any) -> None:
    """Let a crowd speak to a server, and measure what it sees.

    URL is what echoexport serve prints. It exits with 1 where a stream ended early.

    \b
    Examples:
      echoexport load http://127.0.0.1:8080 --streams 2 --duration 60
      echoexport load https://kiosk:8443 --streams auto --token-file tokens --report load.json
      echoexport compare before.json after.json --fail-if "first_frame.p95>600ms"
    """
    from echoexport.profiles.pages.load_markdown import format_load
    from echoexport.profiles.reports.load_report import describe_load, write_load
    from echoexport.runtime.errors import BackendError
    from echoexport.runtime.serve.load.crowd import measure_crowd
    from echoexport.runtime.serve.server import require_serve_packages

    require_serve_packages()
    read = {f"--{name}": options[name.replace("-", "_")] for name in ("token-file", "voice")}
    require_reports({"--report": options["report_file"]}, others=read, bundles=[])
    target = _settle(url, options)
    with ProgressLine("s", {"opening": "session"}) as progress:
        log = measure_crowd(
            target, streams=options["streams"], duration=options["duration"], tell=progress
        )
    report = describe_load(log, url=target.url, seconds=options["duration"])
    if options["report_file"] is not None:
        write_load(options["report_file"], report)
    click.echo(format_load(report))
    if report.errors:
        raise BackendError(
            f"{len(report.errors)} of {report.streams} streams ended early: {report.errors[0]}"
        )


def _settle(url: str, options: dict[str, Any]) -> LoadTarget:
    """Raises SettingError, AudioError: an address or a file that cannot be used."""
    from echoexport.runtime.serve.load.stream import LoadTarget
    from echoexport.runtime.serve.settings import read_tokens

    file = options["token_file"]
    return LoadTarget(
        url=check_url(url),
        voice=_read_voice(options["voice"]),
        tokens=() if file is None else read_tokens(file),
        portrait=options["portrait"],
        context=_trust(options["tls_ca"]),
    )


def check_url(url: str) -> str:
    """The scheme, host and port of an address.

    Raises:
        SettingError: it is none of a server, or holds a user or a token.
    """
    from echoexport.runtime.errors import SettingError

    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - it raises for one that is none
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError(
            f"address {url}: no address of a server; one looks like http://127.0.0.1:8080"
        )
    if "@" in parts.netloc or parts.query or parts.fragment or parts.path not in ("", "/"):
        raise SettingError(
            "the address holds more than a scheme, a host and a port; tokens go into --token-file"
        )
    return f"{parts.scheme}://{parts.netloc}"


def _read_voice(voice: Path | None) -> bytes:
    """PCM at the rate that is sent."""
    import numpy as np

    from echoexport.runtime.inputs.voice import read_voice, voice_from_samples
    from echoexport.runtime.live.phrase import read_phrase

    if voice is None:
        samples, rate = read_phrase()
        phrase = np.concatenate([samples, np.zeros(rate // 4, np.float32)])
        spoken = voice_from_samples(np.tile(phrase, 4), sample_rate=rate)
    else:
        spoken = read_voice(voice)
    return np.round(np.clip(spoken.samples, -1, 1) * 32767).astype("<i2").tobytes()


def _trust(file: Path | None) -> Any:
    import ssl

    from echoexport.runtime.errors import SettingError

    if file is None:
        return None
    try:
        return ssl.create_default_context(cafile=str(file))
    except OSError as error:
        raise SettingError(f"certificate {file}: {error.strerror or error}") from error
