"""What to change to reach real time: options with their modelled pace and their cost.

Costs were measured on the built-in character.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from echoexport.profiles.modelling.pace import BAND, Case, call_real_time, model_pace
from echoexport.profiles.modelling.roofline import Roof
from echoexport.runtime.contract.schema import parse
from echoexport.runtime.contract.settings import spell_steps

__all__ = [
    "NOT_MEASURED",
    "OptionCosts",
    "OptionForecast",
    "QualityCost",
    "list_options",
    "read_option_costs",
]

FORECAST_SCHEMA = 1
NOT_MEASURED = "not measured"

_STEPS = (6, 4, 2)
_SIDES = (0.75, 0.5)
# Pixels; nobody wants a smaller picture, and the VAE needs a multiple of 64 for four
# levels.
_LEAST_SIDE = 128
_SIDE_UNIT = 64
# TAESD's decoder: 141 GFLOP at 512 x 512 px, counted from its shapes; it grows with the
# pixels alone.
_SMALL_DECODER = 141e9 / 512**2


@dataclass(frozen=True)
class QualityCost:
    """What an option does to the picture of the built-in character, against its defaults.

    None was not measured.
    """

    psnr: float | None
    """In dB."""
    ssim: float | None
    """From 0 to 1."""
    lip_sync_change: float | None
    """Change of the correlation of the mouth with the sound."""
    note: str
    """The conditions, or why there is nothing."""


@dataclass(frozen=True)
class OptionForecast:
    """One change on one board."""

    name: str
    """E.g. "4 steps"."""
    fps_low: float | None
    """Modelled frames a second at the low end of the band."""
    fps_high: float | None
    """The same at the high end."""
    fps_here: float | None
    """The same at the efficiency found on this device."""
    real_time: str
    cost: QualityCost
    origin: str = "modelled"
    """Always "modelled"."""


@dataclass(frozen=True)
class OptionCosts:
    """The costs that ship with the package."""

    schema: int
    note: str
    costs: Mapping[str, QualityCost]
    """By key, e.g. "steps 4 to 2"."""
    conditions: Mapping[str, Any] = field(default_factory=dict)
    """What the costs were measured under."""

    def find(self, *keys: str) -> QualityCost:
        """The cost under that one key.

        Several changes at once, or a key that nobody measured, have none.
        """
        if len(keys) == 1 and keys[0] in self.costs:
            return self.costs[keys[0]]
        return QualityCost(None, None, None, NOT_MEASURED)


@dataclass(frozen=True)
class _Option:
    """One change: its name, the key of its cost, and the case that it makes."""

    name: str
    keys: tuple[str, ...]
    case: Case


def read_option_costs() -> OptionCosts:
    """The costs in ``data/option_costs.json``.

    Raises:
        ValueError: the file is not what this release wrote.
    """
    entry = files("echoexport.profiles") / "data" / "option_costs.json"
    return parse(
        OptionCosts, json.loads(entry.read_text(encoding="utf-8")), where="option_costs.json"
    )


def list_options(
    case: Case, roof: Roof, *, efficiency: float | None, costs: OptionCosts, on_gpu: bool = True
) -> tuple[OptionForecast, ...]:
    """Each change alone, then the strongest of each kind together, on the device under ``roof``."""
    found = []
    for option in _list_changes(case):
        pace = model_pace(option.case, roof)
        low, high, here = (None if pace is None else pace.at(part) for part in (*BAND, efficiency))
        verdict = call_real_time(pace, fps=case.fps, on_gpu=on_gpu)
        found.append(
            OptionForecast(option.name, low, high, here, verdict, costs.find(*option.keys))
        )
    return tuple(found)


def _list_changes(case: Case) -> Iterator[_Option]:
    last = case
    names = list[str]()
    for group in (
        _fewer_steps(case),
        _smaller_sides(case),
        _no_overlap(case),
        _small_decoder(case),
        _int8(case),
    ):
        found = list(group)
        for name, key, changes in found:
            yield _Option(name, (key,), case.changed(**changes))
        if found:
            name, _, changes = found[-1]
            names.append(name)
            last = last.changed(**changes)
    if len(names) > 1:
        yield _Option("all of: " + ", ".join(names), tuple(names), last)


_Change = tuple[str, str, dict[str, Any]]


def _fewer_steps(case: Case) -> Iterator[_Change]:
    for steps in _STEPS:
        if steps < case.sampling.steps:
            yield spell_steps(steps), f"steps {case.sampling.steps} to {steps}", {"steps": steps}


def _smaller_sides(case: Case) -> Iterator[_Change]:
    width = case.manifest.picture.width
    height = case.manifest.picture.height
    for part in _SIDES:
        sides = [round(side * part / _SIDE_UNIT) * _SIDE_UNIT for side in (width, height)]
        if min(sides) >= _LEAST_SIDE and sides != [width, height]:
            name = f"{sides[0]} x {sides[1]} px"
            yield name, f"size {name}", {"pixels": sides[0] * sides[1] / (width * height)}


def _no_overlap(case: Case) -> Iterator[_Change]:
    if case.sampling.overlap:
        yield "windows without overlap", f"overlap {case.sampling.overlap} to 0", {"overlap": 0}


def _small_decoder(case: Case) -> Iterator[_Change]:
    """Only where the bundle's own decoder is clearly larger."""
    picture = case.manifest.picture
    own = case.works["vae_decoder"].total.mac_flops
    part = _SMALL_DECODER * picture.width * picture.height / own if own else 1.0
    if part < 0.5:
        yield (
            f"a decoder of {100 * part:.0f} % of the work (as TAESD)",
            "small decoder",
            {"decoder": part},
        )


def _int8(case: Case) -> Iterator[_Change]:
    if case.mode != "int8":
        yield "denoiser in int8", "int8", {"mode": "int8"}
