"""The roofline: what each network reaches of what the device could do, and whether arithmetic or memory holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from echoexport.runtime.manifest import Manifest
from echoexport.runtime.work import NetworkWork
from echoexport.targets.spec import Figure, TargetSpec

__all__ = [
    "NOT_STORED",
    "NetworkRoofline",
    "Roof",
    "Roofline",
    "describe_target_roofs",
    "draw_roofline",
    "find_work",
    "place_network",
]

NOT_STORED = "work is not stored in this bundle; build the bundle again"


@dataclass(frozen=True)
class Roof:
    """What a device can do at most: FLOP/s (or operations of int8) and bytes/s; None is unknown, and why.

    source: where the figures come from, e.g. a data sheet or "measured here". reason: why one is missing.
    """

    compute: float | None
    bandwidth: float | None
    source: str
    reason: str = ""

    @property
    def ridge(self) -> float | None:
        """FLOP/byte from which on arithmetic is what limits."""
        return None if self.compute is None or self.bandwidth is None else self.compute / self.bandwidth


@dataclass(frozen=True)
class NetworkRoofline:
    """One network under one roof.

    seconds: the median call. flops, bytes: of one call, bytes with fused operations. intensity: flops by bytes.
    achieved_compute: FLOP/s. achieved_bandwidth: bytes/s. bound: "compute", "memory" or "unknown". roof_seconds: the
    least that the roof allows for a call. fraction: roof_seconds by seconds, 1 is all that can be had.
    """

    name: str
    seconds: float
    flops: int
    bytes: int
    intensity: float
    achieved_compute: float
    achieved_bandwidth: float
    bound: str
    roof_seconds: float | None
    fraction: float | None


@dataclass(frozen=True)
class Roofline:
    """Every network under two roofs: ``peak`` of the data sheet, ``probe`` as a quick test found it on this device.

    note: why there is nothing, "" where there is. by_peak, by_probe: in the order of the manifest's networks.
    """

    peak: Roof
    probe: Roof
    by_peak: tuple[NetworkRoofline, ...]
    by_probe: tuple[NetworkRoofline, ...]
    note: str = ""


def find_work(manifest: Manifest) -> dict[str, NetworkWork] | None:
    """Network to work, None where the bundle is older than that (see ``NOT_STORED``)."""
    found = {name: entry.work for name, entry in manifest.networks.items() if entry.work is not None}
    return found if len(found) == len(manifest.networks) else None


def describe_target_roofs(target: TargetSpec) -> dict[str, Roof]:
    """The data sheet's roofs by precision, "fp16" and "int8"."""
    bandwidth = target.hardware.memory_bandwidth
    figures = {"fp16": target.hardware.fp16_dense, "int8": target.hardware.int8_dense}
    return {name: _join_figures(figure, bandwidth) for name, figure in figures.items()}


def place_network(name: str, work: NetworkWork, seconds: float, *, roof: Roof) -> NetworkRoofline:
    """One network under one roof; seconds of its median call, above 0.

    The least time is max(FLOP / peak, bytes / bandwidth) (Williams, Waterman and Patterson, 2009). With only one of
    the two known there is no bound to tell.
    """
    total = work.total
    flops, moved = total.flops, total.bytes
    by_compute = None if roof.compute is None else flops / roof.compute
    by_memory = None if roof.bandwidth is None else moved / roof.bandwidth
    bound, least = "unknown", None
    if by_compute is not None and by_memory is not None:
        bound, least = ("compute", by_compute) if by_compute >= by_memory else ("memory", by_memory)
    return NetworkRoofline(
        name=name, seconds=seconds, flops=flops, bytes=moved, intensity=flops / max(moved, 1),
        achieved_compute=flops / seconds, achieved_bandwidth=moved / seconds, bound=bound, roof_seconds=least,
        fraction=None if least is None else least / seconds,
    )  # fmt: skip


def draw_roofline(manifest: Manifest, medians: Mapping[str, float], *, peak: Roof, probe: Roof) -> Roofline:
    """Every network that was timed: ``medians`` are seconds of a call, networks without one are left out."""
    works = find_work(manifest)
    if works is None:
        return Roofline(peak, probe, (), (), note=NOT_STORED)
    timed = [(name, works[name], medians[name]) for name in manifest.networks if medians.get(name, 0) > 0]
    by_peak, by_probe = (
        tuple(place_network(name, work, seconds, roof=roof) for name, work, seconds in timed) for roof in (peak, probe)
    )
    return Roofline(peak, probe, by_peak, by_probe)


def _join_figures(compute: Figure[float], bandwidth: Figure[float]) -> Roof:
    """A data sheet's TFLOPS or TOPS and GB/s."""
    return Roof(
        None if compute.value is None else compute.value * 1e12,
        None if bandwidth.value is None else bandwidth.value * 1e9,
        source="; ".join(dict.fromkeys(figure.source for figure in (compute, bandwidth) if figure.source)),
        reason="; ".join(dict.fromkeys(figure.reason for figure in (compute, bandwidth) if figure.reason)),
    )
