"""``python -m echoexport.export.demo.training``.

Trains the demo character, on a GPU where there is one.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from echoexport.export.demo.training.recipe import find_recipe
from echoexport.runtime.errors import BackendError, EchoExportError, SettingError

if TYPE_CHECKING:
    import torch

    from echoexport.export.demo.training.control import TrainingControl


@click.command()
@click.option(
    "--folder",
    "-o",
    default="character",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where data, states, logs, samples and the checkpoint go; run again to go on.",
)
@click.option(
    "--recipe",
    "name",
    default="full",
    show_default=True,
    help="full, or smoke: a few steps of everything.",
)
@click.option(
    "--device", default=None, metavar="NAME", help="cpu or cuda; a GPU is used where there is one."
)
@click.option(
    "--minutes", type=click.FloatRange(min=0), default=None, help="Save and leave after so long."
)
@click.option(
    "--until",
    type=click.Choice(["audio", "vae"]),
    default=None,
    help="Leave once this stage is done.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=None,
    help="Processes that synthesize speech and draw people; one for each processor by default.",
)
def train_command(
    folder: Path,
    name: str,
    device: str | None,
    minutes: float | None,
    until: str | None,
    workers: int | None,
) -> None:
    """Draw people, synthesize speech and train the demo character's six networks.

    Can be stopped at any time (Ctrl-C, SIGTERM, --minutes) and goes on where it was,
    with the same result.
    """
    begun = time.monotonic()
    recipe = find_recipe(name)

    from echoexport.export.demo.training.control import StopTrainingError, TrainingControl
    from echoexport.export.demo.training.run import train_character

    control = TrainingControl(
        folder, _find_device(device), recipe.seed, tell=lambda line: _tell(line, since=begun)
    )
    control.until = until
    control.workers = workers or control.workers
    control.deadline = begun + 60 * minutes if minutes is not None else control.deadline
    _heed_signals(control)
    control.tell(f"recipe {recipe.name} ({recipe.digest}) on {control.device}")
    try:
        train_character(recipe, control)
    except StopTrainingError as stopped:
        control.tell(f"{stopped}; run the command again to go on")


def _find_device(name: str | None) -> torch.device:
    """The device of that name, or the best there is.

    Raises:
        SettingError: no such device.
        BackendError: a GPU is asked for, and PyTorch sees none.
    """
    import torch

    torch.set_float32_matmul_precision("high")
    seen = torch.cuda.is_available()
    try:
        device = torch.device(name or ("cuda" if seen else "cpu"))
    except RuntimeError as error:
        raise SettingError(f"device {name!r}: cpu, cuda or cuda:N is wanted") from error
    if device.type not in ("cpu", "cuda"):
        raise SettingError(f"device {name!r}: training runs on cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BackendError(
            f"device {name!r}: PyTorch sees no such GPU here; leave --device out, or name cpu"
        )
    return device


def _heed_signals(control: TrainingControl) -> None:
    """The first Ctrl-C or SIGTERM asks the run to save and leave.

    A second Ctrl-C leaves at once.
    """

    def stop(number: int, _: object) -> None:
        control.stop = True
        signal.signal(
            number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_IGN
        )

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def _tell(line: str, *, since: float) -> None:
    click.echo(f"[{time.monotonic() - since:7.1f} s] {line}")


def main() -> None:
    """Run the command.

    It exits with 1 and one line for what cannot work, with 130 when it is interrupted
    twice.
    """
    try:
        train_command.main(
            prog_name="python -m echoexport.export.demo.training", standalone_mode=False
        )
    except EchoExportError as error:
        _fail(str(error))
    except click.ClickException as error:
        _fail(error.format_message())
    except click.Abort:
        click.echo("interrupted; what was saved last is where the same command goes on", err=True)
        sys.exit(130)


def _fail(message: str) -> None:
    click.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
