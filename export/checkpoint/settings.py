"""``echoexport.yaml`` in a checkpoint folder.

What the original keeps in its own yaml, where it differs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from echoexport.export.checkpoint.variants import Variant
from echoexport.runtime.contract.noise_schedule import SchedulerConfig
from echoexport.runtime.errors import CheckpointError, SettingError
from echoexport.targets.strict_yaml import StrictLoader

SETTINGS_NAME = "echoexport.yaml"


@dataclass(frozen=True)
class CheckpointSettings:
    """Defaults are the original's (its inference configuration and scripts).

    ``sampler`` may hold steps, guidance, noise_clamp, window_shift, shared_noise,
    overlap and hold, over the variant's own.
    """

    motion_heads: int = 8
    motion_norm_groups: int = 32
    audio_ratio: float = 3.0
    vae_scaling: float = 0.18215
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    sampler: Mapping[str, Any] = field(default_factory=dict)

    def apply_to(self, variant: Variant) -> Variant:
        """The variant with this file's sampler settings."""
        return replace(variant, **self.sampler)


# The type of each, and whether null is one of its values.
_SAMPLER_TYPES: dict[str, tuple[type[int] | type[float], bool]] = {
    "steps": (int, False),
    "guidance": (float, False),
    "noise_clamp": (float, True),
    "window_shift": (int, False),
    "shared_noise": (float, False),
    "overlap": (int, False),
    "hold": (int, False),
}


def read_checkpoint_settings(folder: Path) -> CheckpointSettings:
    """The folder's ``echoexport.yaml``, or the defaults where there is none.

    Raises:
        CheckpointError: the file is not YAML, holds an unknown key, or a value of the
            wrong type.
    """
    path = folder / SETTINGS_NAME
    if not path.is_file():
        return CheckpointSettings()
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=StrictLoader)
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
    ) as error:  # ValueError: bad UTF-8, bad dates
        raise CheckpointError(f"{path}: not readable YAML: {str(error).splitlines()[0]}") from error
    found = {} if found is None else found
    defaults = CheckpointSettings()
    numbers = {
        f.name: getattr(defaults, f.name)
        for f in fields(defaults)
        if f.name not in ("scheduler", "sampler")
    }
    _check_keys(path, "", found, known=(*numbers, "scheduler", "sampler"))
    values = {
        name: _number(path, name, found.get(name, default), like=default)
        for name, default in numbers.items()
    }
    return CheckpointSettings(
        **values,
        scheduler=_read_scheduler(path, found.get("scheduler", {})),
        sampler=_read_sampler(path, found.get("sampler", {})),
    )


def _check_keys(path: Path, where: str, found: Any, *, known: tuple[str, ...]) -> None:
    if not isinstance(found, dict):
        raise CheckpointError(
            f"{path}: {where or 'the file'} is a {type(found).__name__}; a mapping is wanted"
        )
    for key in found:
        if key not in known:
            raise CheckpointError(
                f"{path}: unknown key {where + str(key)!r}; known: {', '.join(known)}"
            )


def _is_positive(value: Any, kinds: tuple[type, ...]) -> bool:
    """A finite number above zero; True and False are no numbers."""
    number = isinstance(value, kinds) and not isinstance(value, bool)
    return number and bool(0 < value < math.inf)


def _number(path: Path, name: str, value: Any, *, like: Any) -> Any:
    wanted = (int,) if isinstance(like, int) else (int, float)
    if not _is_positive(value, wanted):
        raise CheckpointError(
            f"{path}: {name} is {value!r}; a positive {wanted[-1].__name__} is wanted"
        )
    return type(like)(value)


def _read_scheduler(path: Path, found: Any) -> SchedulerConfig:
    default = asdict(SchedulerConfig())
    _check_keys(path, "scheduler.", found, known=tuple(default))
    values = dict(default)
    for key, value in found.items():
        wanted = type(default[key])
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise CheckpointError(
                f"{path}: scheduler.{key} is {value!r}; a {wanted.__name__} is wanted"
            )
        values[key] = wanted(value)
    try:
        return SchedulerConfig(**values)
    except SettingError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _read_sampler(path: Path, found: Any) -> dict[str, Any]:
    _check_keys(path, "sampler.", found, known=tuple(_SAMPLER_TYPES))
    values: dict[str, Any] = {}
    for key, value in found.items():
        kind, optional = _SAMPLER_TYPES[key]
        if value is None and optional:
            values[key] = None
        elif _is_positive(value, (int, kind)):
            values[key] = kind(value)
            if key == "shared_noise" and values[key] > 1:
                raise CheckpointError(
                    f"{path}: sampler.{key} is {value!r}; a share of at most 1 is wanted"
                )
        else:
            number = "whole number" if kind is int else "number"
            raise CheckpointError(
                f"{path}: sampler.{key} is {value!r}; a {number} above 0 is wanted"
            )
    return values
