"""The command line: ``echoexport build | run | verify | inspect | targets | doctor | demo``."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import click

from echoexport.runtime.errors import EchoExportError

# name: module and one-line help. A command's module is imported when the command is used, so that `--help` is quick.
_COMMANDS = {
    "build": ("build", "Turn a checkpoint into a bundle for a target."),
    "run": ("run", "Make a video from a portrait and a voice."),
    "verify": ("bundles", "Hash a bundle's files and run its self-tests."),
    "inspect": ("bundles", "Show what is inside a bundle."),
    "targets": ("environment", "List the targets, or show one with its sources."),
    "doctor": ("environment", "Say what works on this machine, and why not."),
    "demo": ("demo", "Build and run a tiny random model, from nothing."),
}


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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="echoexport", message="echoexport %(version)s")
def cli() -> None:
    """Take EchoMimic off the data-centre GPU: a checkpoint in, a bundle out, a talking portrait without PyTorch."""


def main(arguments: Sequence[str] | None = None) -> Any:
    """Run the command line; exits with 0, with 1 and one line for bad input, with 130 when interrupted."""
    warnings.showwarning = _show_warning
    try:
        cli.main(args=None if arguments is None else list(arguments), prog_name="echoexport", standalone_mode=False)
    except EchoExportError as error:
        _fail(str(error))
    except click.UsageError as error:
        hint = f" (see '{error.ctx.command_path} --help')" if error.ctx else ""
        _fail(error.format_message() + hint)
    except click.ClickException as error:
        _fail(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        click.echo("\nechoexport: interrupted; nothing half-written is left", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left
        sys.exit(1)


def _fail(message: str) -> None:
    click.echo(f"echoexport: error: {' '.join(message.split())}", err=True)
    sys.exit(1)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"echoexport: warning: {message}", err=True)
