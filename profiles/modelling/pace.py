"""The model behind every forecast: how long a frame takes at least.

From it comes how fast a clip can be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from echoexport.profiles.modelling.demand import (
    DENOISER,
    Demand,
    count_calls,
    find_demand,
    scale_work,
)
from echoexport.profiles.modelling.roofline import Roof, Roofline, time_parts
from echoexport.runtime.contract.manifest import Manifest, NetworkEntry
from echoexport.runtime.contract.network_work import NetworkWork
from echoexport.runtime.sampling.sampler import SamplingSettings

__all__ = [
    "BAND",
    "FORMULA",
    "LAUNCH",
    "Case",
    "Pace",
    "call_real_time",
    "choose_mode",
    "find_efficiency",
    "model_pace",
]

BAND = (0.3, 0.6)
"""What engines reach of the roof: 30 to 60 %. The one audited diffusion figure on an Orin
works out to 28 % in int8."""

LAUNCH = 5e-6
"""About the seconds that launching a kernel on a GPU takes, an assumption: launches take
more time than kernels that are shorter."""

FORMULA = (
    "seconds a frame = sum over networks of calls a frame x max(FLOP / peak FLOP/s, bytes / "
    "peak bytes/s) / efficiency;"
    " frames a second = 1 / seconds a frame. FLOP: 2 for each multiply-accumulate; int8 and "
    "float parts by their own"
    " peaks. calls a frame: denoiser steps / (window - overlap), twice with guidance; decoder "
    "1. Left out: what"
    " runs once a portrait, launches of kernels, copies, reading the voice, encoding the video"
)

_PIXELLESS = "audio_encoder"


@dataclass(frozen=True)
class Case:
    """A way to run a bundle."""

    manifest: Manifest
    works: Mapping[str, NetworkWork]
    sampling: SamplingSettings
    """Of the sampling loop."""
    fps: float
    """Frames a second of the clip."""
    mode: str
    """A word of ``profiles.modelling.demand.MODES``."""
    pixels: float = 1.0
    """Pixels of the pictures, by those of the bundle."""
    decoder: float = 1.0
    """The decoder's work, by the bundle's own."""

    @property
    def calls(self) -> dict[str, float]:
        """Network to calls for one frame."""
        return count_calls(self.manifest, self.sampling, fps=self.fps)

    def demand(self, name: str) -> Demand:
        """What one call of a network asks for."""
        work = self.works[name]
        entry = self.manifest.networks[name]
        if self.pixels != 1.0 and name != _PIXELLESS:
            work = scale_work(work, ratio=self.pixels)
        found = find_demand(name, entry, work.total, mode=self.mode)
        if name != "vae_decoder":
            return found
        return Demand(
            *(self.decoder * value for value in (found.float_flops, found.int8_flops, found.bytes))
        )

    def changed(self, **changes: Any) -> Case:
        """The same case with other fields; ``steps`` and ``overlap`` are its sampling's."""
        for_sampling = {key: changes.pop(key) for key in ("steps", "overlap") if key in changes}
        return replace(self, sampling=replace(self.sampling, **for_sampling), **changes)


@dataclass(frozen=True)
class Pace:
    """How fast a clip is when the whole roof is reached."""

    fps: float
    """Frames a second."""
    bound: str
    """What most of the time waits for, "compute" or "memory"."""
    kernel_seconds: float | None = None
    """Seconds of a kernel on average, None where bundles do not say how many there are."""

    def at(self, efficiency: float | None) -> float | None:
        """Frames a second at a part of the roof; None for an unknown part."""
        return None if efficiency is None else self.fps * efficiency

    @property
    def launch_bound(self) -> bool:
        """Whether launches take longer than kernels, even at the low end of the band."""
        return self.kernel_seconds is not None and self.kernel_seconds / BAND[0] < LAUNCH


def model_pace(case: Case, roof: Roof) -> Pace | None:
    """How fast a clip under way is at most, by :data:`FORMULA` with efficiency 1.

    None without the peaks it needs.
    """
    compute = memory = kernels = 0.0
    for name, calls in case.calls.items():
        if not calls:
            continue
        demand = case.demand(name)
        seconds = time_parts(
            roof, float_flops=demand.float_flops, int8_flops=demand.int8_flops, moved=demand.bytes
        )
        if seconds is None:
            return None
        kernels += calls * case.works[name].total.kernels
        if seconds[0] >= seconds[1]:
            compute += calls * seconds[0]
        else:
            memory += calls * seconds[1]
    total = compute + memory
    if not total:
        return None
    return Pace(
        1 / total,
        "compute" if compute >= memory else "memory",
        total / kernels if kernels else None,
    )


def find_efficiency(roofline: Roofline, calls: Mapping[str, float]) -> float | None:
    """The part of the probe's roof that a clip under way reaches on this device, at most 1.

    It is least seconds by measured seconds, both summed over the calls of a frame. None
    where a network that runs for each frame was not placed under the probe's roof.
    """
    placed = {network.name: network for network in roofline.by_probe}
    least = taken = 0.0
    for name, count in calls.items():
        # the voice is encoded in one go before a clip: too rare and too small to be
        # worth missing the figure for
        if not count or (name == _PIXELLESS and name not in placed):
            continue
        network = placed.get(name)
        if network is None or network.roof_seconds is None:
            return None
        least += count * network.roof_seconds
        taken += count * network.seconds
    return min(least / taken, 1.0) if taken else None


def call_real_time(pace: Pace | None, *, fps: float, on_gpu: bool = True) -> str:
    """Whether a pace is real time: "yes", "perhaps", "no" or "unknown".

    It is "yes" where the low end of :data:`BAND` is enough, "perhaps" where only the
    high end is. On a GPU whose time would go into launches, which the model leaves out,
    it is no more than "perhaps".
    """
    if pace is None:
        return "unknown"
    low, high = (pace.fps * part for part in BAND)
    if low >= fps and not (on_gpu and pace.launch_bound):
        return "yes"
    return "perhaps" if high >= fps else "no"


def choose_mode(entries: Mapping[str, NetworkEntry]) -> str:
    """How a bundle runs on a GPU: "int8" where its denoiser is, else "fp16"."""
    return "int8" if entries[DENOISER].precision == "int8" else "fp16"
