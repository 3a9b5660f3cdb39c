"""``echoexport.yaml`` in a checkpoint folder: what the original keeps in its own yaml, where it differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from echoexport.export.checkpoint.variants import Variant
from echoexport.runtime.errors import CheckpointError
from echoexport.runtime.scheduler import SchedulerConfig

FILE_NAME = "echoexport.yaml"


@dataclass(frozen=True)
class CheckpointSettings:
    """Defaults are the original's (its inference configuration and scripts).

    ``sampler`` may hold steps, guidance, noise_clamp and window_shift, over the variant's own.
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


_SAMPLER_TYPES: dict[str, tuple[type, ...]] = {
    "steps": (int,),
    "guidance": (int, float),
    "noise_clamp": (int, float, type(None)),
    "window_shift": (int,),
}


def read_settings(folder: Path) -> CheckpointSettings:
    """The folder's ``echoexport.yaml``, or the defaults where there is none.

    Raises:
        CheckpointError: the file is not YAML, holds an unknown key, or a value of the wrong type.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return CheckpointSettings()
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: not readable YAML: {str(error).splitlines()[0]}") from error
    defaults = CheckpointSettings()
    numbers = {f.name: getattr(defaults, f.name) for f in fields(defaults) if f.name not in ("scheduler", "sampler")}
    _check_keys(path, "", found, known=(*numbers, "scheduler", "sampler"))
    values = {name: _number(path, name, found.get(name, default), like=default) for name, default in numbers.items()}
    return CheckpointSettings(
        **values,
        scheduler=_read_scheduler(path, found.get("scheduler", {})),
        sampler=_read_sampler(path, found.get("sampler", {})),
    )


def _check_keys(path: Path, where: str, found: Any, *, known: tuple[str, ...]) -> None:
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: {where or 'the file'} is a {type(found).__name__}; a mapping is wanted")
    for key in found:
        if key not in known:
            raise CheckpointError(f"{path}: unknown key {where + str(key)!r}; known: {', '.join(known)}")


def _number(path: Path, name: str, value: Any, *, like: Any) -> Any:
    wanted = (int,) if isinstance(like, int) else (int, float)
    if isinstance(value, bool) or not isinstance(value, wanted) or value <= 0:
        raise CheckpointError(f"{path}: {name} is {value!r}; a positive {wanted[-1].__name__} is wanted")
    return type(like)(value)


def _read_scheduler(path: Path, found: Any) -> SchedulerConfig:
    default = asdict(SchedulerConfig())
    _check_keys(path, "scheduler.", found, known=tuple(default))
    for key, value in found.items():
        wanted = type(default[key])
        if not isinstance(value, wanted) and not (wanted is float and isinstance(value, int)):
            raise CheckpointError(f"{path}: scheduler.{key} is {value!r}; a {wanted.__name__} is wanted")
    return SchedulerConfig(**{**default, **found})


def _read_sampler(path: Path, found: Any) -> dict[str, Any]:
    _check_keys(path, "sampler.", found, known=tuple(_SAMPLER_TYPES))
    for key, value in found.items():
        if isinstance(value, bool) or not isinstance(value, _SAMPLER_TYPES[key]) or (value is not None and value <= 0):
            raise CheckpointError(f"{path}: sampler.{key} is {value!r}; a positive number is wanted")
    return dict(found)
