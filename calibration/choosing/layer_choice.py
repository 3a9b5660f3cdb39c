"""Which of the denoiser's layers stay float.

Whole trajectories are run, and the frames that they end in are judged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoexport.calibration.choosing.network_plan import keep_float
from echoexport.calibration.choosing.sensitivity import (
    Damage,
    choose_layers,
    group_layers,
    measure_damage,
    measure_psnr,
)
from echoexport.calibration.choosing.smoothing import apply_smoothing
from echoexport.calibration.choosing.trajectory import (
    TrajectorySettings,
    choose_starts,
    run_trajectory,
)
from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.graphs.switches import SwitchableNetwork, open_inference
from echoexport.calibration.plan import NetworkPlan
from echoexport.calibration.sample import Sample
from echoexport.runtime.contract.noise_schedule import SchedulerConfig
from echoexport.runtime.decoding.pixels import to_pixels
from echoexport.runtime.files.temporary import temporary_folder
from echoexport.runtime.progress import Progress
from echoexport.runtime.sampling.denoiser import is_guided

_MARGIN = 1.0
"""dB above the budget that the short trajectories must reach: whole clips add windows,
and engines round otherwise."""


@dataclass(frozen=True)
class ChoiceSettings:
    """How the layers that stay float are found."""

    budget: float
    """PSNR in dB of the final frames against fp32."""
    scheduler: SchedulerConfig
    """Of the sampling, as are steps and guidance."""
    steps: int
    guidance: float = 1.0
    probes: int = 2
    """Trajectories that qualities are measured on; damages are measured on the first."""
    groups: int = 200
    """Groups of layers judged together, at most."""
    measure_all: bool = False
    """Whether to measure what each costs even where all in int8 is good enough."""
    threads: int = 0


@dataclass(frozen=True)
class Known:
    """Errors of groups of layers that were measured already, and whom to tell of each new one."""

    errors: Mapping[tuple[str, ...], float] = field(default_factory=dict)
    add: Callable[[Damage], None] | None = None


def choose_denoiser_layers(
    graph: FloatGraph,
    plan: NetworkPlan,
    samples: Iterable[Sample],
    *,
    settings: ChoiceSettings,
    decoder: Path,
    report: Progress | None = None,
    known: Known | None = None,
) -> tuple[NetworkPlan, tuple[Damage, ...]]:
    """The plan with the fewest layers in float that the budget needs.

    Beside it stands what layers cost, where that was measured. ``decoder`` is the fp32
    VAE decoder's graph. ``known`` is what an earlier run measured; it is told of what
    this one does.

    Raises:
        QualityError: the budget is out of reach.
        CalibrationError: the samples hold no first step.
        MissingPackageError: onnxruntime is not installed.
    """
    report = report or (lambda what, done, total: None)
    with temporary_folder("layers") as folder:
        smooth = (
            apply_smoothing(graph, plan.smoothing, folder / graph.path.name)
            if plan.smoothing
            else graph
        )
        with SwitchableNetwork(smooth, plan, folder=folder, threads=settings.threads) as network:
            probes = _Probes(network, samples, settings, decoder, report=report)
            return _choose(
                graph, plan, probes, settings=settings, report=report, known=known or Known()
            )


def _choose(
    graph: FloatGraph,
    plan: NetworkPlan,
    probes: _Probes,
    *,
    settings: ChoiceSettings,
    report: Progress,
    known: Known,
) -> tuple[NetworkPlan, tuple[Damage, ...]]:
    names = probes.network.layers
    if not settings.measure_all and probes.judge(names) >= settings.budget + _MARGIN:
        return plan, ()
    groups = group_layers((graph.layers[name] for name in names), most=settings.groups)
    damages = measure_damage(
        probes.run_first,
        groups,
        known=known.errors,
        on_damage=known.add,
        report=lambda done, total: report("denoising_unet: what layers cost", done, total),
    )
    choice = choose_layers(damages, probes.judge, budget=settings.budget, margin=_MARGIN)
    reasons = {
        name: f"sensitivity: {damage.snr:.1f} dB alone at the end of the trajectory"
        for damage in choice.kept
        for name in damage.layers
    }
    return keep_float(plan, reasons), damages


class _Probes:
    """Trajectories with some layers in int8, held to the same ones in float."""

    def __init__(
        self,
        network: SwitchableNetwork,
        samples: Iterable[Sample],
        settings: ChoiceSettings,
        decoder: Path,
        *,
        report: Progress,
    ) -> None:
        self.network = network
        self._report = report
        self._starts = choose_starts(
            [one for one in samples if one.step == 0], most=settings.probes
        )
        self._settings = TrajectorySettings(settings.scheduler, settings.steps, settings.guidance)
        self._decoder: Any = open_inference(decoder, threads=settings.threads)
        self._wanted = [self._decode(latents) for latents in self._run(self._starts, ())]

    def run_first(self, quantized: Collection[str]) -> list[NDArray[np.float32]]:
        """The latents of the first trajectory."""
        return self._run(self._starts[:1], quantized, report=lambda what, done, total: None)

    def judge(self, quantized: Collection[str]) -> float:
        """PSNR in dB of the frames of all trajectories, mean."""
        found = [self._decode(latents) for latents in self._run(self._starts, quantized)]
        return float(
            np.mean(
                [measure_psnr(one, other) for one, other in zip(found, self._wanted, strict=True)]
            )
        )

    def _run(
        self,
        starts: Sequence[Sample],
        quantized: Collection[str],
        *,
        report: Progress | None = None,
    ) -> list[NDArray[np.float32]]:
        """At full size a call takes a minute, so each is told of."""
        done = 0
        total = (
            len(starts) * self._settings.steps * (2 if is_guided(self._settings.guidance) else 1)
        )
        what = f"denoising_unet: trajectories with {len(quantized)} layers in int8"

        def denoise(inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
            nonlocal done
            (report or self._report)(what, done, total)
            done += 1
            return self.network(inputs, quantized=quantized)

        return [run_trajectory(denoise, start, settings=self._settings) for start in starts]

    def _decode(self, latents: NDArray[np.float32]) -> NDArray[np.uint8]:
        frames = range(latents.shape[2])
        return np.stack(
            [to_pixels(self._decoder.run(None, {"latents": latents[:, :, i]})[0]) for i in frames]
        )
