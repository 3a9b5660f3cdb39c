"""Could this board ever do it: frames a second as a model gives them, never measured.

The boards are those that nobody has at hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from echoexport.profiles.modelling.forecast_options import (
    OptionForecast,
    QualityCost,
    list_options,
    read_option_costs,
)
from echoexport.profiles.modelling.pace import (
    BAND,
    FORMULA,
    LAUNCH,
    Case,
    call_real_time,
    choose_mode,
    find_efficiency,
    model_pace,
)
from echoexport.profiles.modelling.roofline import (
    NOT_STORED,
    Roof,
    Roofline,
    find_roof,
    find_work,
)
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.sampling.sampler import SamplingSettings
from echoexport.targets.spec import TargetSpec

__all__ = [
    "BAND",
    "FORMULA",
    "LAUNCH_CAVEAT",
    "BoardForecast",
    "Forecast",
    "ForecastInputs",
    "OptionForecast",
    "QualityCost",
    "make_forecast",
]

LAUNCH_CAVEAT = (
    f"kernels this small take less than the {LAUNCH * 1e6:.0f} us that launching one may: "
    "expect far fewer frames"
)


@dataclass(frozen=True)
class ForecastInputs:
    """What the model is given."""

    width: int
    """Of the pictures in pixels."""
    height: int
    """Of the pictures in pixels."""
    fps: float
    """Frames a second of the clip."""
    steps: int
    """Of the sampling loop."""
    window: int
    """Frames of a window."""
    overlap: int
    """Frames that neighbouring windows share."""
    guided: bool
    """Whether each step takes two calls of the denoiser."""
    precision: str
    """What GPUs are taken to run: "fp16" or "int8"."""
    calls: Mapping[str, float]
    """Network to calls for one frame once the clip is under way."""
    flops: Mapping[str, float]
    """Network to multiply-accumulate operations of one call in ``precision``, two for
    each."""
    bytes: Mapping[str, float]
    """Network to what one call moves in ``precision``."""


@dataclass(frozen=True)
class BoardForecast:
    """One board."""

    target: str
    """Name of its target."""
    title: str
    """Its name for people."""
    precision: str
    """What it is taken to run."""
    fps_low: float | None
    """Frames a second at the low end of the band; None where the target file has no
    peaks."""
    fps_high: float | None
    """The same at the high end."""
    fps_here: float | None
    """The same at the efficiency found on this device, None where there is none."""
    bound: str
    """What most of the time waits for."""
    real_time: str
    """It is "yes" at the low end of the band, "perhaps" at the high end only, else
    "no", or "unknown"."""
    reason: str = ""
    """Why there are no figures."""
    caveat: str = ""
    """What the model leaves out but may decide."""
    origin: str = "modelled"
    """Always "modelled"."""


@dataclass(frozen=True)
class Forecast:
    """Every board at the bundle's settings, and what to change on one of them."""

    formula: str
    band: tuple[float, float]
    efficiency_here: float | None
    """Part of the probe's roof that the bundle reached on this device, None where it
    was not found."""
    inputs: ForecastInputs | None
    boards: tuple[BoardForecast, ...]
    options: tuple[OptionForecast, ...]
    options_target: str
    """The board that the options are for, the bundle's own."""
    costs_note: str = ""
    """How the options' costs were found."""
    note: str = ""
    """Why there is nothing, else ""."""


def make_forecast(
    manifest: Manifest,
    sampling: SamplingSettings,
    *,
    fps: float,
    roofline: Roofline,
    targets: Sequence[TargetSpec],
) -> Forecast:
    """Model a bundle on every target, at these settings and ``fps`` frames a second.

    A target without peaks that is the bundle's own stands under ``roofline.probe``. The
    options are for that target.
    """
    works = find_work(manifest)
    own = manifest.target
    if works is None:
        return Forecast(FORMULA, BAND, None, None, (), (), own, note=NOT_STORED)
    case = Case(manifest, works, sampling, fps, choose_mode(manifest.networks))
    efficiency = find_efficiency(roofline, case.calls)
    costs = read_option_costs()
    boards: list[BoardForecast] = []
    options: tuple[OptionForecast, ...] = ()
    for target in targets:
        how, roof = _place_case(case, target, roofline)
        boards.append(_forecast_board(target, how, roof, efficiency=efficiency))
        if target.name == own:
            options = list_options(
                how, roof, efficiency=efficiency, costs=costs, on_gpu=target.kind != "cpu"
            )
    return Forecast(
        formula=FORMULA,
        band=BAND,
        efficiency_here=efficiency,
        inputs=_describe_inputs(case),
        boards=tuple(boards),
        options=options,
        options_target=own,
        costs_note=f"{costs.note}. It is a drawn character: photographs may lose more.",
    )


def _place_case(case: Case, target: TargetSpec, roofline: Roofline) -> tuple[Case, Roof]:
    """How a bundle runs on a board, and under which roof."""
    roof = find_roof(target)
    if target.name != case.manifest.target or model_pace(case, roof) is not None:
        return case, roof
    return case.changed(mode="int8" if case.mode == "int8" else "stored"), roofline.probe


def _forecast_board(
    target: TargetSpec, case: Case, roof: Roof, *, efficiency: float | None
) -> BoardForecast:
    pace = model_pace(case, roof)
    on_gpu = target.kind != "cpu"
    low, high, here = (None if pace is None else pace.at(part) for part in (*BAND, efficiency))
    caveat = LAUNCH_CAVEAT if pace is not None and on_gpu and pace.launch_bound else ""
    return BoardForecast(
        target=target.name,
        title=target.title,
        precision=case.mode,
        fps_low=low,
        fps_high=high,
        fps_here=here,
        bound=pace.bound if pace else "unknown",
        real_time=call_real_time(pace, fps=case.fps, on_gpu=on_gpu),
        reason="" if pace else roof.reason or "no peaks are known",
        caveat=caveat,
    )


def _describe_inputs(case: Case) -> ForecastInputs:
    picture = case.manifest.picture
    sampling = case.sampling
    demands = {name: case.demand(name) for name in case.works}
    return ForecastInputs(
        width=picture.width,
        height=picture.height,
        fps=case.fps,
        steps=sampling.steps,
        window=case.manifest.window.frames,
        overlap=sampling.overlap,
        guided=sampling.guided,
        precision=case.mode,
        calls=case.calls,
        flops={name: demand.flops for name, demand in demands.items()},
        bytes={name: demand.bytes for name, demand in demands.items()},
    )
