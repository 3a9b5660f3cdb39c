"""The command line: ``echoexport build | calibrate | compile | run | verify | profile ...``."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import click

from echoexport.runtime.errors import EchoExportError, UnknownNameError

# name: module and one-line help. A command's module is imported when the command is
# used, so that `--help` is quick.
_COMMANDS = {
    "build": ("build", "Turn a checkpoint into a bundle for a target."),
    "calibrate": ("calibrate", "Record what the networks see, to quantize with."),
    "compile": ("compile", "Build a bundle's engines on the machine that runs them."),
    "run": ("run", "Make a video from a portrait and a voice."),
    "verify": ("bundles", "Hash a bundle's files and run its self-tests."),
    "inspect": ("bundles", "Show what is inside a bundle."),
    "compare": ("compare", "Measure bundles on the same clips, or compare profiles."),
    "profile": ("profile", "Measure how fast a bundle is here, and where its time goes."),
    "cache": ("cache", "List or drop compiled engines."),
    "targets": ("environment", "List the targets, or show one with its sources."),
    "doctor": ("environment", "Say what works on this machine, and why not."),
    "demo": ("demo", "Build the built-in character and make it speak."),
}

_CLEARING_SECONDS = 5.0
"""For so long after an interrupt further ones are not heard; then the next one is, in
case something hangs."""


class _LazyGroup(click.Group):
    """Commands by name, imported when needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"{__name__}.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            raise UnknownNameError("command", args[0], known=_COMMANDS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="echoexport", message="echoexport %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Take EchoMimic off the data-centre GPU.

    A checkpoint in, a bundle out, a talking portrait without PyTorch.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> Any:
    """Run the command line.

    Returns when all went well; exits with 1 and one line for bad input, with 130 when
    interrupted, with 143 when terminated.
    """
    warnings.showwarning = _make_teller()
    given = None if arguments is None else list(arguments)
    try:
        with _terminated_cleanly():
            cli.main(args=given, prog_name="echoexport", standalone_mode=False)
    except EchoExportError as error:
        _fail(str(error))
    except click.UsageError as error:
        hint = f" (see '{error.ctx.command_path} --help')" if error.ctx else ""
        _fail(error.format_message() + hint)
    except click.ClickException as error:
        _fail(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        click.echo("echoexport: interrupted; nothing half-written is left", err=True)
        sys.exit(130)
    except BrokenPipeError:  # whoever read our output has left
        _drop_output()
        sys.exit(1)
    except (
        OSError
    ) as error:  # that no step made an error of its own: stdout on a full disk, and the like
        _drop_output()
        _fail(f"{error.filename or 'standard output'}: {error.strerror or error}")


@contextmanager
def _terminated_cleanly() -> Iterator[None]:
    """Let SIGTERM unwind as Ctrl-C does, so that it leaves no half-written files
    either, and let neither be disturbed by further ones while it clears away: a
    library's threads would end in an abort, files would stay."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    begun: list[float] = []

    def unwind(number: int, _: Any) -> None:
        now = time.monotonic()
        if begun and now - begun[-1] < _CLEARING_SECONDS:
            return
        begun.append(now)
        if number == signal.SIGTERM:
            sys.exit(128 + signal.SIGTERM)
        raise KeyboardInterrupt

    numbers = [signal.SIGTERM]
    # A shell's background jobs ignore it.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, unwind) for number in numbers}
    try:
        yield
    finally:
        if not begun:  # else the end of Python is still to come
            for number, handler in before.items():
                signal.signal(number, handler)


def _drop_output() -> None:
    """Point stdout at nothing: what is left in its buffer would fail once more when Python ends."""
    with suppress(OSError, ValueError, AttributeError):
        number = sys.stdout.fileno()
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, number)
        os.close(nothing)


def _fail(message: str) -> None:
    click.echo(f"echoexport: error: {' '.join(message.split())}", err=True)
    sys.exit(1)


def _make_teller() -> Callable[..., None]:
    """What shows a warning, and the same words only once.

    Python forgets what it showed at each ``catch_warnings``.
    """
    told: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in told:
            told.add(str(message))
            click.echo(f"echoexport: warning: {message}", err=True)

    return show
