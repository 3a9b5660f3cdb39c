"""The roofline: what each network reaches of the device, and what holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.contract.network_work import NetworkWork
from echoexport.targets.spec import TargetSpec

__all__ = [
    "NOT_STORED",
    "NetworkRoofline",
    "Roof",
    "Roofline",
    "draw_roofline",
    "find_roof",
    "find_work",
    "place_network",
    "time_parts",
]

NOT_STORED = "work is not stored in this bundle; build the bundle again"


@dataclass(frozen=True)
class Roof:
    """What a device can do at most; None is unknown, and why."""

    compute: float | None
    """FLOP/s of matrix products in the float type that runs there."""
    bandwidth: float | None
    """Bytes/s."""
    int8: float | None = None
    """Operations/s with int8 operands."""
    source: str = ""
    """Where the figures come from."""
    reason: str = ""
    """Why one is missing."""

    @property
    def ridge(self) -> float | None:
        """FLOP/byte from which on arithmetic is what limits."""
        return (
            None
            if self.compute is None or self.bandwidth is None
            else self.compute / self.bandwidth
        )


@dataclass(frozen=True)
class NetworkRoofline:
    """One network under one roof."""

    name: str
    """Of the network."""
    seconds: float
    """The median call."""
    flops: int
    """Two for each multiply-accumulate of a call, as peaks are stated; elementwise
    operations cost what they move."""
    bytes: int
    """Bytes that a call moves, with fused operations."""
    intensity: float
    """``flops`` by ``bytes``."""
    achieved_compute: float
    """FLOP/s."""
    achieved_bandwidth: float
    """Bytes/s."""
    bound: str
    """What holds it: "compute", "memory" or "unknown"."""
    roof_seconds: float | None
    """The least that the roof allows for a call."""
    fraction: float | None
    """``roof_seconds`` by ``seconds``; 1 is all that can be had."""


@dataclass(frozen=True)
class Roofline:
    """Every network under two roofs."""

    peak: Roof
    """The data sheet's roof."""
    probe: Roof
    """The roof that a quick test found on this device."""
    by_peak: tuple[NetworkRoofline, ...]
    """In the order of the manifest's networks."""
    by_probe: tuple[NetworkRoofline, ...]
    """In the order of the manifest's networks."""
    note: str = ""
    """Why there is nothing, "" where there is."""


def find_work(manifest: Manifest) -> dict[str, NetworkWork] | None:
    """Network to work, None where the bundle is older than that (see ``NOT_STORED``)."""
    found = {
        name: entry.work for name, entry in manifest.networks.items() if entry.work is not None
    }
    return found if len(found) == len(manifest.networks) else None


def find_roof(target: TargetSpec) -> Roof:
    """The data sheet's roof: dense fp16 and int8 peaks, and bandwidth."""
    hardware = target.hardware
    figures = (hardware.fp16_dense, hardware.memory_bandwidth, hardware.int8_dense)
    compute, bandwidth, int8 = (
        None if figure.value is None else figure.value * unit
        for figure, unit in zip(figures, (1e12, 1e9, 1e12), strict=True)
    )
    sources = dict.fromkeys(figure.source for figure in figures if figure.source)
    reasons = dict.fromkeys(figure.reason for figure in figures if figure.reason)
    return Roof(compute, bandwidth, int8, source="; ".join(sources), reason="; ".join(reasons))


def time_parts(
    roof: Roof, *, float_flops: float, int8_flops: float, moved: float
) -> tuple[float, float] | None:
    """The least seconds by arithmetic and by memory.

    None where a peak that is needed is unknown.
    """
    parts = ((float_flops, roof.compute), (int8_flops, roof.int8))
    if roof.bandwidth is None or any(flops and peak is None for flops, peak in parts):
        return None
    return sum(
        flops / peak for flops, peak in parts if flops and peak is not None
    ), moved / roof.bandwidth


def place_network(name: str, work: NetworkWork, seconds: float, *, roof: Roof) -> NetworkRoofline:
    """One network under one roof; ``seconds`` are of its median call, above 0.

    The least time is max(FLOP / peak, bytes / bandwidth) (Williams, Waterman and
    Patterson, 2009), int8 layers and others by their own peaks. Where one of the peaks
    is unknown there is no bound to tell.
    """
    total = work.total
    flops = total.mac_flops
    moved = total.bytes
    parts = time_parts(
        roof, float_flops=flops - total.int8_flops, int8_flops=total.int8_flops, moved=moved
    )
    bound, least = (
        ("unknown", None)
        if parts is None
        else ("compute" if parts[0] >= parts[1] else "memory", max(parts))
    )
    return NetworkRoofline(
        name=name,
        seconds=seconds,
        flops=flops,
        bytes=moved,
        intensity=flops / max(moved, 1),
        achieved_compute=flops / seconds,
        achieved_bandwidth=moved / seconds,
        bound=bound,
        roof_seconds=least,
        fraction=None if least is None else least / seconds,
    )


def draw_roofline(
    manifest: Manifest, medians: Mapping[str, float], *, peak: Roof, probe: Roof
) -> Roofline:
    """Every network that was timed, under both roofs.

    ``medians`` are seconds of a call; networks without one are left out.
    """
    works = find_work(manifest)
    if works is None:
        return Roofline(peak, probe, (), (), note=NOT_STORED)
    timed = [
        (name, works[name], medians[name]) for name in manifest.networks if medians.get(name, 0) > 0
    ]
    by_peak, by_probe = (
        tuple(place_network(name, work, seconds, roof=roof) for name, work, seconds in timed)
        for roof in (peak, probe)
    )
    return Roofline(peak, probe, by_peak, by_probe)
