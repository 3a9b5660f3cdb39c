"""The command line: ``echoexport build | calibrate | compile | run | verify | profile ...``."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from echoexport.export.cli.signals import terminated_cleanly
from echoexport.runtime.errors import EchoExportError, UnknownNameError

# name: module and one-line help. A command's module is imported when the command is
# used, so that `--help` is quick.
_COMMANDS = {
    "build": ("build", "Turn a checkpoint into a bundle for a target."),
    "calibrate": ("calibrate", "Record what the networks see, to quantize with."),
    "compile": ("compile", "Build a bundle's engines on the machine that runs them."),
    "run": ("run", "Make a video from a portrait and a voice."),
    "live": ("live", "Play a voice through a live session, as it is spoken."),
    "serve": ("serve", "Serve a page and live sessions on one port."),
    "load": ("load", "Let a crowd speak to a server, and measure what it sees."),
    "sign": ("signing.commands", "Sign a bundle, or make the keys for it."),
    "trust": ("signing.commands", "Say whose signatures count, and what is revoked."),
    "verify": ("bundles", "Hash a bundle's files and run its self-tests."),
    "inspect": ("bundles", "Show what is inside a bundle."),
    "compare": ("compare", "Measure bundles on the same clips, or compare profiles."),
    "profile": ("profile", "Measure how fast a bundle is here, and where its time goes."),
    "tune": ("tuning.command", "Find the quickest steps and precision that look as good."),
    "cache": ("cache", "List or drop compiled engines."),
    "targets": ("environment", "List the targets, or show one with its sources."),
    "doctor": ("environment", "Say what works on this machine, and why not."),
    "demo": ("demo", "Build the built-in character and make it speak."),
}

_OBJECTS = 20_000
"""New ones after which Python looks for those that only hold each other. What is imported
stays, and to look through it after every 700 takes 20 ms of a command's start (measured)."""


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
    interrupted, with 128 and the signal's number when terminated (143 for SIGTERM).
    """
    warnings.showwarning = _make_teller()
    gc.set_threshold(_OBJECTS)
    given = None if arguments is None else list(arguments)
    try:
        with terminated_cleanly():
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
    except OSError as error:  # that no step made an error of its own
        _drop_output()
        _fail(_describe_failure(error))


def _describe_failure(error: OSError) -> str:
    """What failed, in a user's words: a named file, stdout on a full disk, and the like."""
    reason = error.strerror or str(error)
    if error.filename:
        return f"{error.filename}: {reason}"
    if error.__traceback__ is not None and _wrote_output(error.__traceback__):
        return f"standard output: {reason}"
    try:
        Path.cwd()
    except OSError:
        return "the working folder was removed: change to another one"
    return f"a file that was being read or written: {reason}"


def _wrote_output(trace: TracebackType) -> bool:
    """Whether it was click that failed, in writing what is printed."""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return Path(trace.tb_frame.f_code.co_filename).parent == Path(click.__file__).parent


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
