"""Could this board ever do it: frames a second as a model gives them, never measured, for boards nobody has at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["BAND", "FORMULA", "BoardForecast", "Forecast", "ForecastInputs", "OptionForecast", "QualityCost"]

BAND = (0.3, 0.6)
"""What engines reach of the roof: 30 to 60 % in what NVIDIA and MLPerf publish of diffusion on Ampere GPUs."""

FORMULA = (
    "seconds a frame = sum over networks of calls a frame x max(FLOP / peak FLOP/s, bytes / peak bytes/s) / efficiency;"
    " frames a second = 1 / that"
)


@dataclass(frozen=True)
class ForecastInputs:
    """What the model is given. fps: of the clip. window, overlap: frames. guided: two denoiser calls a step.

    calls: network to calls for one frame once the clip is under way. flops, bytes: of one call, bytes as stored in
    ``precision``.
    """

    width: int
    height: int
    fps: float
    steps: int
    window: int
    overlap: int
    guided: bool
    precision: str
    calls: Mapping[str, float]
    flops: Mapping[str, int]
    bytes: Mapping[str, int]


@dataclass(frozen=True)
class BoardForecast:
    """One board. ``precision``: what it would run. ``fps_low`` and ``fps_high`` are the band's ends, ``fps_here`` is at
    the efficiency found on this device (None where it was not), ``bound`` what limits most of the time.

    All None, with a reason, where the target file has no peaks. ``real_time``: "yes" at the low end of the band,
    "perhaps" within it, "no", "unknown". origin is always "modelled".
    """

    target: str
    title: str
    precision: str
    fps_low: float | None
    fps_high: float | None
    fps_here: float | None
    bound: str
    real_time: str
    reason: str = ""
    origin: str = "modelled"


@dataclass(frozen=True)
class QualityCost:
    """What an option does to the picture of the built-in character, against its defaults; None was not measured.

    psnr: dB. ssim: 0 to 1. lip_sync_change: of the correlation of the mouth with the voice. note: the conditions, or
    why there is nothing.
    """

    psnr: float | None
    ssim: float | None
    lip_sync_change: float | None
    note: str


@dataclass(frozen=True)
class OptionForecast:
    """One change on one board, e.g. "4 steps", its modelled frames a second and its cost. origin is "modelled"."""

    name: str
    fps_low: float | None
    fps_high: float | None
    fps_here: float | None
    real_time: str
    cost: QualityCost
    origin: str = "modelled"


@dataclass(frozen=True)
class Forecast:
    """Every board at the bundle's settings, and what to change on the bundle's own target.

    efficiency_here: part of the probe's roof that the bundle reached on this device, None where it was not found.
    note: why there is nothing, "" where there is.
    """

    formula: str
    band: tuple[float, float]
    efficiency_here: float | None
    inputs: ForecastInputs | None
    boards: tuple[BoardForecast, ...]
    options: tuple[OptionForecast, ...]
    options_target: str
    note: str = ""
