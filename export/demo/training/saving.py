"""What training keeps on disk.

Each file appears whole or not at all, and a damaged one is named.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from echoexport.export.demo.training.control import TrainingControl
from echoexport.runtime.errors import CheckpointError
from echoexport.runtime.files.aside import refuse_output, replaced_file


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write what ``torch.save`` takes. Raises ``OutputError`` where it cannot be written."""
    with replaced_file(path, parents=True, refuse=refuse_output) as aside:
        try:
            torch.save(state, aside)
        except RuntimeError as error:  # torch has its own error for a disk that is full
            raise OSError(str(error)) from error


def read_saved(path: Path, *, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What ``save_atomically`` wrote, its tensors on ``device``.

    Raises ``CheckpointError`` for a damaged file.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a damaged file
        raise CheckpointError(f"{path}: damaged; remove it to have it made anew") from error
    if not isinstance(state, dict):
        raise CheckpointError(
            f"{path}: not a file of this training; remove it to have it made anew"
        )
    return state


def load_state(modules: nn.Module, path: Path) -> None:
    """Give modules the weights of a finished stage.

    Raises:
        CheckpointError: the file is of other modules, or damaged.
    """
    try:
        modules.load_state_dict(read_saved(path)["model"])
    except (RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: the weights of other networks; remove it to train them anew"
        ) from error


def make_in_parts(
    name: str,
    make: Callable[[slice], dict[str, Tensor]],
    *,
    count: int,
    part: int,
    keep: bool,
    control: TrainingControl,
) -> dict[str, Tensor]:
    """``make`` for each ``part`` of ``count`` items in turn, joined along the first axis.

    With ``keep`` the parts, then on the CPU, lie in ``<folder>/<name>.parts`` until
    they are dropped, so that a stop loses no more than one.

    Raises:
        StopTrainingError: the run is over.
    """
    made: list[dict[str, Tensor]] = []
    for start in range(0, count, part):
        control.report(name, start, count)
        path = _parts_folder(name, control) / f"{start:08d}.pt"
        if keep and path.is_file():
            made.append(read_saved(path))
            continue
        made.append(make(slice(start, min(start + part, count))))
        if keep:
            save_atomically(made[-1], path)
    return {key: torch.cat([one[key] for one in made]) for key in made[0]}


def drop_parts(name: str, control: TrainingControl) -> None:
    """Remove parts that are not needed any more."""
    shutil.rmtree(_parts_folder(name, control), ignore_errors=True)


def _parts_folder(name: str, control: TrainingControl) -> Path:
    return control.folder / f"{name}.parts"
