"""The plan of an int8 build.

It has ranges of every network on the set, and what of the denoiser stays in float.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from echoexport.calibration.choosing.layer_choice import ChoiceSettings, choose_denoiser_layers
from echoexport.calibration.choosing.network_plan import (
    QuantizerSettings,
    keep_overflows,
    plan_network,
)
from echoexport.calibration.choosing.policy import load_policy
from echoexport.calibration.choosing.sensitivity import Damage
from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.plan import PLAN_SCHEMA, NetworkPlan, QuantizationPlan, read_plan
from echoexport.calibration.progress import ProgressFolder
from echoexport.calibration.recording.sets import CalibrationSet
from echoexport.export.build.fp16_graphs import count_to, find_overflowing
from echoexport.export.build.job import BundleJob
from echoexport.export.build.progress import BuildProgress, keep_damage
from echoexport.export.build.sources import FloatBundles
from echoexport.runtime.contract.families import find_family
from echoexport.runtime.progress import Progress

_DENOISER = "denoising_unet"
_LARGE = 1_000_000_000  # bytes of weights


@dataclass(frozen=True, eq=False)
class PlannedNetworks:
    """The plan to follow, and what was found on the way."""

    plan: QuantizationPlan
    damage: tuple[Damage, ...]
    """What layers of the denoiser cost in int8; nothing where a plan was given."""
    progress: BuildProgress
    """What was kept meanwhile, to be forgotten when the bundle is in place."""


def plan_networks(
    floats: FloatBundles, recorded: CalibrationSet, *, job: BundleJob
) -> PlannedNetworks:
    """The plan that was given, or one made from the set.

    Raises:
        CalibrationError: a set or plan that is broken, empty, or of another checkpoint.
        GraphError: an input or output of a network is beyond fp16.
        QualityError: the denoiser cannot be int8 at the quality asked for.
    """
    progress = BuildProgress(job.settings.progress, floats.manifest, recorded.digest)
    if job.settings.plan is not None:
        return PlannedNetworks(read_plan(job.settings.plan), (), progress)
    plan, damage = make_plan(floats, recorded, job=job, progress=progress)
    return PlannedNetworks(plan, damage, progress)


def make_plan(
    floats: FloatBundles, recorded: CalibrationSet, *, job: BundleJob, progress: BuildProgress
) -> tuple[QuantizationPlan, tuple[Damage, ...]]:
    """Every network's plan from the set.

    The denoiser's keeps in float what the quality asked for needs. Of fp16 networks
    what overflows on the set is computed in fp32. ``progress`` keeps what is found on
    the way.

    Raises:
        CalibrationError, GraphError, QualityError: as ``plan_networks``.
    """
    quantizer = QuantizerSettings()
    networks = floats.manifest.networks
    family = find_family(floats.manifest.family)
    policies = load_policy(job.target.kind, family=family)
    plans: dict[str, NetworkPlan] = {}
    damage: tuple[Damage, ...] = ()
    for index, name in enumerate(networks):
        job.report(f"{name}: ranges", index, len(networks))
        if name in family.shares:
            own = progress.of_network(name, "float")
            plans[name] = _plan_in_float(name, floats, recorded, progress=own, report=job.report)
            continue
        graph = floats.graph(name)
        own = progress.of_network(name, repr((quantizer, policies.networks[name])))
        plan = plan_network(
            graph,
            partial(recorded.samples, name),
            policy=policies,
            settings=quantizer,
            progress=own,
            report=count_to(recorded.count(name), job.report),
        )
        if floats.precision == "fp16":
            found = find_overflowing(graph, recorded, progress=own, report=job.report)
            plan = keep_overflows(graph, plan, found)
        if name == _DENOISER and plan.precision == "int8":
            plan, damage = _choose_layers(plan, floats, recorded, job=job, progress=own)
        if plan.precision != "int8":
            plan = replace(plan, precision=floats.precision)
        plans[name] = plan
    return QuantizationPlan(PLAN_SCHEMA, quantizer.method, recorded.digest, plans), damage


def _plan_in_float(
    name: str,
    floats: FloatBundles,
    recorded: CalibrationSet,
    *,
    progress: ProgressFolder,
    report: Progress,
) -> NetworkPlan:
    """A network for live stays in float: no set has its own calls to prove int8 on."""
    if floats.precision == "fp32":
        return NetworkPlan("fp32")
    found = find_overflowing(floats.graph(name), recorded, progress=progress, report=report)
    return NetworkPlan("fp16", float32_nodes=tuple(one.node for one in found))


def _choose_layers(
    plan: NetworkPlan,
    floats: FloatBundles,
    recorded: CalibrationSet,
    *,
    job: BundleJob,
    progress: ProgressFolder,
) -> tuple[NetworkPlan, tuple[Damage, ...]]:
    """The denoiser's plan with those layers in float that the quality asked for needs."""
    graph = floats.graph(_DENOISER)
    settings = ChoiceSettings(
        budget=job.settings.quality,
        scheduler=floats.manifest.sampler.scheduler,
        steps=recorded.steps,
        guidance=recorded.manifest.sampling.guidance,
        measure_all=job.settings.sensitivity,
        probes=_count_probes(graph),
    )
    return choose_denoiser_layers(
        graph,
        plan,
        recorded.samples(_DENOISER),
        settings=settings,
        known=keep_damage(progress, plan, settings),
        decoder=floats.float32 / floats.manifest.networks["vae_decoder"].graph,
        report=job.report,
    )


def _count_probes(graph: FloatGraph) -> int:
    """Trajectories to judge by.

    A call of the full-size denoiser takes most of a minute on two cores.
    """
    return 1 if graph.path.with_suffix(".bin").stat().st_size > _LARGE else 2
