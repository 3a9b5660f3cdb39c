"""A clip's work: calls of each network for a frame, and a call at another size or precision."""

from __future__ import annotations

from dataclasses import dataclass

from echoexport.profiles.modelling.module_groups import split_group
from echoexport.runtime.contract.manifest import Manifest, NetworkEntry
from echoexport.runtime.contract.network_work import NetworkWork, Work
from echoexport.runtime.sampling.sampler import SamplingSettings

__all__ = ["DENOISER", "FORECAST_MODES", "Demand", "count_calls", "find_demand", "scale_work"]

DENOISER = "denoising_unet"

FORECAST_MODES = ("stored", "fp16", "int8", "int8 bound")
"""How a network is taken to run.

"stored": as the bundle has it, all in float. "fp16": two bytes a value. "int8": the
denoiser's layers with weights in int8 (of an int8 bundle those that are), the rest and
every value between layers in fp16. "int8 bound": everything in int8, which no engine
does: the least time that there could be.
"""

_BYTES = {"float32": 4, "float16": 2}


@dataclass(frozen=True)
class Demand:
    """What one call asks of a device."""

    float_flops: float
    """Two for each multiply-accumulate in float."""
    int8_flops: float
    """The same in int8."""
    bytes: float
    """Bytes moved."""

    @property
    def flops(self) -> float:
        """Both kinds of operations."""
        return self.float_flops + self.int8_flops


def count_calls(manifest: Manifest, sampling: SamplingSettings, *, fps: float) -> dict[str, float]:
    """Network to calls for one frame of a clip under way; what runs once a portrait counts 0.

    The denoiser takes steps x (2 with guidance) / (window - overlap), since each window
    brings so many new frames. The audio encoder takes one call for each stretch of
    sound that it reads. The face encoder takes one a frame for poses, else none.
    """
    window = manifest.window.frames
    audio = manifest.audio
    calls = dict.fromkeys(manifest.networks, 0.0)
    calls[DENOISER] = sampling.steps * (2 if sampling.guided else 1) / (window - sampling.overlap)
    calls["vae_decoder"] = 1.0
    calls["audio_encoder"] = audio.rows_per_second / audio.context / fps
    calls[manifest.drive.network] = 1.0 if manifest.drive.every_frame else 0.0
    return calls


def scale_work(work: NetworkWork, *, ratio: float) -> NetworkWork:
    """The work for pictures of ``ratio`` times as many pixels.

    All that is done for each place of the picture grows with it; the products of a
    spatial self-attention, which have no weights, by its square. Weights stay.
    """
    return NetworkWork(
        {group: _scale_group(group, part, ratio=ratio) for group, part in work.by_group.items()}
    )


def find_demand(name: str, entry: NetworkEntry, work: Work, *, mode: str) -> Demand:
    """What one call asks for in one of the ``FORECAST_MODES``.

    The entry says what the bundle stores. Elementwise operations are left out: a peak
    is not stated for the units they run on, and they cost what they move.
    """
    if mode == "stored":
        return Demand(work.mac_flops, 0.0, work.bytes)
    between = work.fused_bytes / _BYTES[entry.inputs[0].dtype]  # as values
    if mode == "int8 bound":
        return Demand(0.0, work.mac_flops, entry.parameters + between)
    small = 0.0
    if mode == "int8":
        small = (
            work.int8_flops
            if entry.precision == "int8"
            else work.weighted_flops * (name == DENOISER)
        )
    share = small / work.weighted_flops if work.weighted_flops else 0.0
    weights = entry.parameters * (2.0 - min(share, 1.0))
    return Demand(work.mac_flops - small, small, weights + 2.0 * between)


def _scale_group(group: str, part: Work, *, ratio: float) -> Work:
    square = split_group(group)[1] == "self-attention"
    products = (part.mac_flops - part.weighted_flops) * (ratio**2 if square else ratio)
    weighted = part.weighted_flops * ratio
    return Work(
        mac_flops=round(weighted + products),
        weighted_flops=round(weighted),
        int8_flops=round(part.int8_flops * ratio),
        other_flops=round(part.other_flops * ratio),
        weight_bytes=part.weight_bytes,
        activation_bytes=round(part.activation_bytes * ratio),
        fused_bytes=round(part.fused_bytes * ratio),
        kernels=part.kernels,
    )
