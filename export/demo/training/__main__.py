"""``python -m echoexport.export.demo.training``: trains the demo character, on a GPU where there is one."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import click

from echoexport.runtime.errors import EchoExportError


@click.command()
@click.option("--folder", "-o", default="character", show_default=True, type=click.Path(path_type=Path),
              help="Where data, states, logs, samples and the checkpoint go; run again to go on.")  # fmt: skip
@click.option("--recipe", "name", default="full", show_default=True, help="full, or smoke: a few steps of everything.")
@click.option("--device", default=None, metavar="NAME", help="cpu or cuda; a GPU is used where there is one.")
@click.option("--minutes", type=float, default=None, help="Save and leave after so long.")
@click.option("--until", type=click.Choice(["audio", "vae"]), default=None, help="Leave once this stage is done.")
@click.option("--workers", type=int, default=2, show_default=True, help="Processes that synthesize speech.")
def train_command(
    folder: Path, name: str, device: str | None, minutes: float | None, until: str | None, workers: int
) -> None:
    """Draw people, synthesize speech and train the demo character's six networks.

    Can be stopped at any time (Ctrl-C, SIGTERM, --minutes) and goes on where it was, with the same result.
    """
    import torch

    from echoexport.export.demo.training.recipe import find_recipe
    from echoexport.export.demo.training.run import train_character
    from echoexport.export.demo.training.stage import Session, StopTrainingError

    recipe = find_recipe(name)
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    torch.set_float32_matmul_precision("high")
    begun = time.monotonic()
    session = Session(folder, chosen, recipe.seed, tell=lambda line: _tell(line, since=begun))
    session.until = until
    session.deadline = begun + 60 * minutes if minutes is not None else session.deadline
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: setattr(session, "stop", True))
    _tell(f"recipe {recipe.name} ({recipe.digest}) on {chosen}", since=begun)
    try:
        train_character(recipe, session, workers=workers)
    except StopTrainingError as stopped:
        _tell(f"{stopped}; run the same command to go on", since=begun)


def _tell(line: str, *, since: float) -> None:
    click.echo(f"[{time.monotonic() - since:7.1f} s] {line}")


if __name__ == "__main__":
    try:
        train_command(standalone_mode=False)
    except (EchoExportError, click.ClickException) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
