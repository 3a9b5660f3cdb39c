"""The build of an int8 bundle.

The fp32 one first, then ranges, plan and Q/DQ, the quality it must keep, and speed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from echoexport.calibration.choosing.layer_choice import ChoiceSettings, choose_denoiser_layers
from echoexport.calibration.choosing.network_plan import (
    QuantizerSettings,
    keep_overflows,
    plan_network,
    require_followable,
)
from echoexport.calibration.choosing.policy import load_policy
from echoexport.calibration.choosing.sensitivity import Damage
from echoexport.calibration.choosing.smoothing import apply_smoothing
from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.graphs.quantize import quantize_network
from echoexport.calibration.lint.graph_lint import require_clean
from echoexport.calibration.observing.overflows import Overflow, find_settleable
from echoexport.calibration.plan import SCHEMA as PLAN_SCHEMA
from echoexport.calibration.plan import NetworkPlan, QuantizationPlan, read_plan
from echoexport.calibration.progress import ProgressFolder
from echoexport.calibration.recording.sets import CalibrationSet, open_set
from echoexport.export.build.fp16_graphs import settle_bundle, settle_network
from echoexport.export.build.parts import Part
from echoexport.export.build.progress import BuildProgress, find_builtin_set, keep_damage
from echoexport.export.build.settings import SMALL, BuildSettings
from echoexport.export.graphs.count_work import count_work
from echoexport.export.output_folder import check_output
from echoexport.runtime.bundle.files import describe_file
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.contract.families.echomimic_v1 import NETWORKS
from echoexport.runtime.contract.manifest import Manifest, NetworkEntry, read_manifest
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import CalibrationError, SettingError
from echoexport.runtime.progress import Progress
from echoexport.targets.spec import TargetSpec

_DENOISER = "denoising_unet"
_LARGE = 1_000_000_000  # bytes of weights


@dataclass(frozen=True, eq=False)
class FloatBundles:
    """What quantization starts from."""

    float32: Path
    """Ranges and choices are measured on it."""
    base: Path
    """Its graphs become int8."""
    manifest: Manifest

    def graph(self, name: str) -> FloatGraph:
        """A network in fp32."""
        return FloatGraph(self.float32 / self.manifest.networks[name].graph)

    @property
    def precision(self) -> str:
        """Of ``base``: "fp32" or "fp16"."""
        return "fp32" if self.base == self.float32 else "fp16"


@dataclass(frozen=True, eq=False)
class QuantizedNetworks:
    """The int8 networks that were written to ``folder``, the plan that they follow, and what their layers cost."""

    plan: QuantizationPlan
    parts: Mapping[str, Part]
    damage: tuple[Damage, ...] = ()
    progress: BuildProgress | None = None
    """What was kept meanwhile, to be forgotten when the bundle is in place."""


@contextmanager
def float_bundles(
    build: Callable[[Path, BuildSettings], Manifest],
    *,
    settings: BuildSettings,
    target: TargetSpec,
    near: Path,
) -> Iterator[FloatBundles]:
    """The bundles to start from, built beside the output for as long as they are needed.

    Raises:
        OutputError: what lies at the output must stay.
    """
    near = Path(os.path.realpath(near))
    check_output(near)
    near.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{near.name}.float-", dir=near.parent) as folder:
        float32 = Path(folder) / "fp32"
        half = Path(folder) / "fp16"
        plain = replace(settings, check="none", calibration=None, plan=None, progress=None)
        manifest = build(float32, replace(plain, precision="fp32"))
        if target.kind == "cpu" and settings.precision in SMALL:
            yield FloatBundles(float32, float32, manifest)
            return
        build(half, replace(plain, precision="fp16"))
        yield FloatBundles(float32, half, manifest)


def quantize_bundles(
    floats: FloatBundles,
    folder: Path,
    *,
    settings: BuildSettings,
    target: TargetSpec,
    report: Progress,
) -> QuantizedNetworks:
    """Plan every network and write those that get int8 layers into ``folder``.

    Raises:
        CalibrationError: a set or plan that is broken, empty, or of another checkpoint.
        GraphError: an input or output of a network is beyond fp16.
        QualityError: the denoiser cannot be int8 at the quality asked for.
    """
    with found_set(floats, settings, report=report) as recorded:
        damage: tuple[Damage, ...] = ()
        progress = BuildProgress(settings.progress, floats.manifest, recorded.digest)
        if settings.plan is not None:
            plan = read_plan(settings.plan)
        else:
            plan, damage = make_plan(
                floats, recorded, settings=settings, target=target, report=report, progress=progress
            )
        parts = write_networks(floats, folder, plan, recorded=recorded, report=report)
    if floats.precision == "fp16":
        settle_bundle(floats.float32, floats.base, plan.networks)
    return QuantizedNetworks(plan, parts, damage, progress)


def check_sources(settings: BuildSettings, *, builtin: bool) -> None:
    """Refuse a set or plan that cannot be used before anything is built.

    Raises:
        SettingError: no calibration set is named, and the checkpoint is not the
            built-in character's. CalibrationError: the set or the plan is broken, or
            the set of another size.
    """
    if settings.calibration is not None:
        source = open_set(settings.calibration).manifest.source
        size = settings.size
        if size is not None and size != (source.width, source.height):
            raise CalibrationError(
                f"{settings.calibration}: was recorded at {source.width}x{source.height} px, "
                "this build is for "
                f"{size[0]}x{size[1]}; record another set, or build at its --size"
            )
    elif settings.precision in SMALL and not builtin:
        raise SettingError(
            f"precision {settings.precision!r} needs a calibration set: record one with "
            "'echoexport calibrate "
            "CHECKPOINT --portraits DIR --audio DIR -o SET', then build with --calibration SET"
        )
    if settings.plan is not None:
        read_plan(settings.plan)


@contextmanager
def found_set(
    floats: FloatBundles, settings: BuildSettings, *, report: Progress
) -> Iterator[CalibrationSet]:
    """The set that was named; else the built-in character's, which is recorded now.

    Raises:
        CalibrationError: the set is broken, or of another checkpoint or size.
    """
    if settings.calibration is not None:
        recorded = open_set(settings.calibration)
        recorded.require_of(floats.manifest)
        yield recorded
        return
    with find_builtin_set(floats.float32, floats.manifest, settings, report=report) as recorded:
        yield recorded


def make_plan(
    floats: FloatBundles,
    recorded: CalibrationSet,
    *,
    settings: BuildSettings,
    target: TargetSpec,
    report: Progress,
    progress: BuildProgress,
) -> tuple[QuantizationPlan, tuple[Damage, ...]]:
    """Every network's plan from the set.

    The denoiser's keeps in float what the quality asked for needs.

    Of fp16 networks what overflows on the set is computed in fp32. ``progress`` keeps
    what is found on the way.
    """
    quantizer = QuantizerSettings()
    policies = load_policy(target.kind)
    plans: dict[str, NetworkPlan] = {}
    damage: tuple[Damage, ...] = ()
    for index, name in enumerate(NETWORKS):
        report(f"{name}: ranges", index, len(NETWORKS))
        graph = floats.graph(name)
        own = progress.of_network(name, repr((quantizer, policies.networks[name])))
        plan = plan_network(
            graph,
            partial(recorded.samples, name),
            policy=policies,
            settings=quantizer,
            progress=own,
            report=_count_to(recorded.count(name), report),
        )
        if floats.precision == "fp16":
            plan = keep_overflows(
                graph, plan, find_overflowing(graph, recorded, progress=own, report=report)
            )
        if name == _DENOISER and plan.precision == "int8":
            choice = ChoiceSettings(
                budget=settings.quality,
                scheduler=floats.manifest.sampler.scheduler,
                steps=recorded.steps,
                guidance=recorded.manifest.sampling.guidance,
                measure_all=settings.sensitivity,
                probes=_count_probes(graph),
            )
            plan, damage = choose_denoiser_layers(
                graph,
                plan,
                recorded.samples(name),
                settings=choice,
                known=keep_damage(own, plan, choice),
                decoder=floats.float32 / floats.manifest.networks["vae_decoder"].graph,
                report=report,
            )
        plans[name] = (
            plan if plan.precision == "int8" else replace(plan, precision=floats.precision)
        )
    return QuantizationPlan(PLAN_SCHEMA, quantizer.method, recorded.digest, plans), damage


def _count_probes(graph: FloatGraph) -> int:
    """Trajectories to judge by.

    A call of the full-size denoiser takes most of a minute on two cores.
    """
    return 1 if graph.path.with_suffix(".bin").stat().st_size > _LARGE else 2


def find_overflowing(
    graph: FloatGraph, recorded: CalibrationSet, *, progress: ProgressFolder, report: Progress
) -> tuple[Overflow, ...]:
    """What fp16 would spoil of a network on the set.

    What an earlier build found is not looked for again.

    Raises:
        GraphError: an input or output of the network is beyond fp16.
        CalibrationError: no samples of it, or a value that is not finite.
    """
    if (kept := progress.read("overflows")) is not None:
        return tuple(parse(Overflow, each, where="overflow") for each in kept)
    counted = _count_to(recorded.count(graph.name), report)
    found = find_settleable(graph, recorded.samples(graph.name), report=counted)
    progress.write("overflows", [dump(each) for each in found])
    return found


def _count_to(total: int, report: Progress) -> Progress:
    """A report of phases that do not know how many samples there are."""
    return lambda what, done, of: report(what, done, of or total)


def write_networks(
    floats: FloatBundles,
    folder: Path,
    plan: QuantizationPlan,
    *,
    recorded: CalibrationSet,
    report: Progress,
) -> dict[str, Part]:
    """The plan's int8 networks as ONNX in ``folder``; those that stay float are not written.

    Their self-tests are calls of a real rendering: int8 cuts off what no calibration
    has seen, so noise would prove nothing.

    Raises:
        CalibrationError: the plan names a network that is none, or does not fit its
            graph. GraphError: a graph that breaks our rules.
    """
    check_networks(plan)
    base = read_manifest(floats.base)
    parts = {}
    for index, (name, network) in enumerate(plan.networks.items()):
        if network.precision != "int8":
            continue
        report(f"{name}: int8", index, len(plan.networks))
        entry = base.networks[name]
        graph = FloatGraph(floats.base / entry.graph)
        half = network if floats.precision == "fp16" else replace(network, float32_nodes=())
        require_followable(graph, half)
        with ExitStack() as stack:
            if network.smoothing:
                smooth = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
                graph = apply_smoothing(graph, network.smoothing, smooth / entry.graph)
            written = quantize_network(graph, network, folder / entry.graph)
        model = FloatGraph(folder / entry.graph).model
        small = replace(
            entry, precision="int8", int8_parameters=written.int8_values, work=count_work(model)
        )
        require_clean(model, small.describe(name))
        settled = settle_network(
            floats.float32 / entry.graph, folder / entry.graph, half, entry=small
        )
        write_self_test(floats, recorded, small, folder=folder, name=name)
        files = {entry.graph: settled, entry.weights: written.weights}
        parts[name] = Part(
            folder, small, {**files, entry.self_test: describe_file(folder / entry.self_test)}
        )
    return parts


def check_networks(plan: QuantizationPlan) -> None:
    """Raises CalibrationError for a plan of a network that is none."""
    unknown = sorted(plan.networks.keys() - set(NETWORKS))
    if unknown:
        raise CalibrationError(f"plan: network {unknown[0]!r}; known: {', '.join(NETWORKS)}")


def write_self_test(
    floats: FloatBundles, recorded: CalibrationSet, entry: NetworkEntry, *, folder: Path, name: str
) -> None:
    """A recorded call from the middle of a trajectory, in the network's own dtype, and the fp32 network's outputs."""
    steps = recorded.steps // 2
    samples = recorded.samples(name)
    first = next(samples)
    sample = (
        first if first.step is None else next((one for one in samples if one.step == steps), first)
    )
    inputs = {
        tensor.name: sample.inputs[tensor.name].astype(tensor.dtype) for tensor in entry.inputs
    }
    with open_bundle(floats.float32, options=EngineOptions(compute="fp32")) as bundle:
        outputs = bundle.network(name)(inputs)
    path = folder / entry.self_test
    path.parent.mkdir(exist_ok=True)
    # half precision is finer than int8 by far, and half of what would be a third of a
    # small bundle
    halves = {f"output.{name}": value.astype(np.float16) for name, value in outputs.items()}
    arrays = {**{f"input.{name}": value for name, value in inputs.items()}, **halves}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
