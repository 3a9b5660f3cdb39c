"""Replacing the shipped character, which only a checkpoint with better measured figures does.

``python -m echoexport.export.demo.adopt CHECKPOINT --figures NEW.json --shipped
OLD.json``; both files of figures come from ``tests/benchmarks/bench_demo_quality.py``,
run with the same settings.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from echoexport.export.demo.assets import builtin_checkpoint
from echoexport.runtime.errors import EchoExportError, InputError
from echoexport.runtime.files.aside import refuse_output, replaced_folder
from echoexport.runtime.files.json_file import read_json

# What decides between two that meet the same gates: the least difference that is no
# noise, and whether more is better.
_DECISIVE = {
    "correlation": (0.005, True),
    "ssim": (0.002, True),
    "psnr": (0.3, True),
    "flicker": (0.05, False),
}


def find_objections(new: Mapping[str, Any], shipped: Mapping[str, Any]) -> list[str]:
    """Why the new figures are no improvement, one line each; none where they are.

    An improvement meets every gate that the shipped character meets, is worse in none
    of the decisive figures by more than their noise, and better in one.
    """
    if new["settings"] != shipped["settings"]:
        return [f"measured with other settings: {new['settings']} and {shipped['settings']}"]
    mine, theirs = ({line["name"]: line for line in report["lines"]} for report in (new, shipped))
    missed = [name for name, line in theirs.items() if line["passed"] and not mine[name]["passed"]]
    objections = [
        f"{name}: {mine[name]['value']:.3f} misses a gate that {theirs[name]['value']:.3f} met"
        for name in missed
    ]
    gains = {
        name: (mine[name]["value"] - theirs[name]["value"]) * (1 if more else -1) / least
        for name, (least, more) in _DECISIVE.items()
    }
    for name, gain in gains.items():
        if gain < -1:
            objections.append(
                f"{name}: {mine[name]['value']:.3f} is worse than {theirs[name]['value']:.3f}"
            )
    newly_met = [
        name for name, line in mine.items() if line["passed"] and not theirs[name]["passed"]
    ]
    if not newly_met and max(gains.values()) <= 1:
        objections.append("no figure is better by more than its noise")
    return objections


def adopt_checkpoint(checkpoint: Path, place: Path) -> None:
    """Put a copy of a checkpoint in the place of another, whole or not at all.

    Raises:
        InputError: there is no such checkpoint.
        OutputError: the place cannot be written.
    """
    if not (checkpoint / "echoexport.yaml").is_file():
        raise InputError(
            f"{checkpoint}: no checkpoint of the training's; it has no echoexport.yaml"
        )
    try:
        with replaced_folder(place) as aside:
            shutil.copytree(checkpoint, aside, dirs_exist_ok=True)
    except OSError as error:
        raise refuse_output(place, error) from error


def read_figures(path: Path) -> dict[str, Any]:
    """A file of figures.

    Raises:
        InputError: it is missing, or is none.
    """
    try:
        figures = read_json(path)
        names = {line["name"] for line in figures["lines"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: no figures of bench_demo_quality.py ({error})") from error
    if not set(_DECISIVE) <= names or "settings" not in figures:
        raise InputError(
            f"{path}: figures are missing: "
            f"{', '.join(sorted(set(_DECISIVE) - names)) or 'settings'}"
        )
    return dict(figures)


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "--figures", required=True, type=click.Path(path_type=Path), help="Of the new checkpoint."
)
@click.option(
    "--shipped",
    required=True,
    type=click.Path(path_type=Path),
    help="Of the one that ships; replaced too.",
)
def adopt_command(checkpoint: Path, figures: Path, shipped: Path) -> None:
    """Replace the shipped character by CHECKPOINT where its figures are better.

    Exit 1, changing nothing, where not.
    """
    objections = find_objections(read_figures(figures), read_figures(shipped))
    if objections:
        raise InputError(f"{checkpoint}: not adopted: {'; '.join(objections)}")
    adopt_checkpoint(checkpoint, builtin_checkpoint())
    shutil.copyfile(figures, shipped)
    click.echo(
        f"{builtin_checkpoint()}: replaced by {checkpoint}; bring the model card's figures up "
        "to date"
    )


if __name__ == "__main__":
    try:
        adopt_command(standalone_mode=False)
    except (EchoExportError, click.ClickException) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
