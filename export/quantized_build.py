"""The build of an int8 bundle: the fp32 one first, then ranges, plan and Q/DQ, the quality it must keep, and speed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from echoexport.calibration.float_graph import FloatGraph
from echoexport.calibration.graph_lint import require_clean
from echoexport.calibration.layer_choice import ChoiceSettings, choose_denoiser_layers
from echoexport.calibration.network_plan import QuantizerSettings, plan_network
from echoexport.calibration.plan import SCHEMA as PLAN_SCHEMA
from echoexport.calibration.plan import NetworkPlan, QuantizationPlan, read_plan
from echoexport.calibration.policy import load_policy
from echoexport.calibration.quantize import quantize_network
from echoexport.calibration.sensitivity import Damage
from echoexport.calibration.sets import CalibrationSet, open_set
from echoexport.calibration.smoothing import apply_smoothing
from echoexport.export.build_settings import BuildSettings
from echoexport.export.composite import Part, describe_file
from echoexport.export.work import count_work
from echoexport.runtime.backends import EngineOptions
from echoexport.runtime.bundle import open_bundle
from echoexport.runtime.errors import CalibrationError, SettingError
from echoexport.runtime.manifest import Manifest, NetworkEntry, read_manifest
from echoexport.runtime.spec import NETWORKS
from echoexport.targets.spec import TargetSpec

Report = Callable[[str, int, int], None]

_DENOISER = "denoising_unet"


@dataclass(frozen=True, eq=False)
class FloatBundles:
    """What quantization starts from. float32: ranges and choices are measured on it. base: its graphs become int8."""

    float32: Path
    base: Path
    manifest: Manifest

    def graph(self, name: str) -> FloatGraph:
        """A network in fp32."""
        return FloatGraph(self.float32 / self.manifest.networks[name].graph)


@dataclass(frozen=True, eq=False)
class QuantizedNetworks:
    """The int8 networks that were written to ``folder``, the plan that they follow, and what their layers cost."""

    plan: QuantizationPlan
    parts: Mapping[str, Part]
    damage: tuple[Damage, ...] = ()


@contextmanager
def float_bundles(
    build: Callable[[Path, BuildSettings], Manifest], *, settings: BuildSettings, target: TargetSpec, near: Path
) -> Iterator[FloatBundles]:
    """The bundles to start from, built beside the output for as long as they are needed."""
    near.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{near.name}.float-", dir=near.parent) as folder:
        float32, half = Path(folder) / "fp32", Path(folder) / "fp16"
        plain = replace(settings, check="none", calibration=None, plan=None)
        manifest = build(float32, replace(plain, precision="fp32"))
        if target.kind == "cpu":
            yield FloatBundles(float32, float32, manifest)
            return
        build(half, replace(plain, precision="fp16"))
        yield FloatBundles(float32, half, manifest)


def quantize_bundles(
    floats: FloatBundles, folder: Path, *, settings: BuildSettings, target: TargetSpec, report: Report
) -> QuantizedNetworks:
    """Plan every network and write those that get int8 layers into ``folder``.

    Raises:
        CalibrationError: a set or plan that is broken, empty, or of another checkpoint.
        QualityError: the denoiser cannot be int8 at the quality asked for.
    """
    with found_set(floats, settings, report=report) as recorded:
        damage: tuple[Damage, ...] = ()
        if settings.plan is not None:
            plan = read_plan(settings.plan)
        else:
            plan, damage = make_plan(floats, recorded, settings=settings, target=target, report=report)
        parts = write_networks(floats, folder, plan, recorded=recorded, report=report)
    return QuantizedNetworks(plan, parts, damage)


def check_sources(settings: BuildSettings, *, builtin: bool) -> None:
    """Refuse a set or plan that cannot be used before anything is built.

    Raises:
        SettingError: no calibration set is named, and the checkpoint is not the built-in character's.
        CalibrationError: the set or the plan is broken, or the set of another size.
    """
    if settings.calibration is not None:
        source, size = open_set(settings.calibration).manifest.source, settings.size
        if size is not None and size != (source.width, source.height):
            raise CalibrationError(
                f"{settings.calibration}: was recorded at {source.width}x{source.height} px, this build is for "
                f"{size[0]}x{size[1]}; record another set, or build at its --size"
            )
    elif not builtin:
        raise SettingError(
            f"precision {settings.precision!r} needs a calibration set: record one with 'echoexport calibrate "
            "CHECKPOINT --portraits DIR --audio DIR -o SET', then build with --calibration SET"
        )
    if settings.plan is not None:
        read_plan(settings.plan)


@contextmanager
def found_set(floats: FloatBundles, settings: BuildSettings, *, report: Report) -> Iterator[CalibrationSet]:
    """The set that was named; else the built-in character's, which is recorded now.

    Raises:
        CalibrationError: the set is broken, or of another checkpoint or size.
    """
    from echoexport.calibration.recording import record_set
    from echoexport.calibration.recording_job import RecordingSettings
    from echoexport.export.demo.calibration_inputs import builtin_recording_inputs

    if settings.calibration is not None:
        recorded = open_set(settings.calibration)
        recorded.require_of(floats.manifest)
        yield recorded
        return
    with tempfile.TemporaryDirectory(prefix="echoexport-set-") as place:
        inputs = builtin_recording_inputs()
        yield record_set(
            floats.float32, inputs, Path(place) / "set", settings=RecordingSettings(steps=settings.steps), report=report
        )


def make_plan(
    floats: FloatBundles, recorded: CalibrationSet, *, settings: BuildSettings, target: TargetSpec, report: Report
) -> tuple[QuantizationPlan, tuple[Damage, ...]]:
    """Every network's plan from the set; the denoiser's keeps in float what the quality asked for needs."""
    quantizer, policies = QuantizerSettings(), load_policy(target.kind)
    plans: dict[str, NetworkPlan] = {}
    damage: tuple[Damage, ...] = ()
    for index, name in enumerate(NETWORKS):
        report(f"{name}: ranges", index, len(NETWORKS))
        graph = floats.graph(name)
        plan = plan_network(graph, partial(recorded.samples, name), policy=policies, settings=quantizer)
        if name == _DENOISER and plan.precision == "int8":
            choice = ChoiceSettings(
                budget=settings.quality, scheduler=floats.manifest.sampler.scheduler, steps=recorded.steps,
                guidance=recorded.manifest.sampling.guidance, measure_all=settings.sensitivity,
            )  # fmt: skip
            plan, damage = choose_denoiser_layers(
                graph, plan, list(recorded.samples(name)), settings=choice,
                decoder=floats.float32 / floats.manifest.networks["vae_decoder"].graph, report=report,
            )  # fmt: skip
        plans[name] = plan
    return QuantizationPlan(PLAN_SCHEMA, quantizer.method, recorded.digest, plans), damage


def write_networks(
    floats: FloatBundles, folder: Path, plan: QuantizationPlan, *, recorded: CalibrationSet, report: Report
) -> dict[str, Part]:
    """The plan's int8 networks as ONNX in ``folder``; those that stay float are not written.

    Their self-tests are calls of a real rendering: int8 cuts off what no calibration has seen, so noise would prove
    nothing.

    Raises:
        CalibrationError: the plan names a network that is none, or does not fit its graph.
        GraphError: a graph that breaks our rules.
    """
    unknown = sorted(plan.networks.keys() - set(NETWORKS))
    if unknown:
        raise CalibrationError(f"plan: network {unknown[0]!r}; known: {', '.join(NETWORKS)}")
    base = read_manifest(floats.base)
    parts = {}
    for index, (name, network) in enumerate(plan.networks.items()):
        if network.precision != "int8":
            continue
        report(f"{name}: int8", index, len(plan.networks))
        entry = base.networks[name]
        graph = FloatGraph(floats.base / entry.graph)
        with ExitStack() as stack:
            if network.smoothing:
                smooth = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
                graph = apply_smoothing(graph, network.smoothing, smooth / entry.graph)
            written = quantize_network(graph, network, folder / entry.graph)
        small = replace(entry, precision="int8")
        require_clean(FloatGraph(folder / entry.graph).model, small.describe(name))
        write_self_test(floats, recorded, small, folder=folder, name=name)
        files = {entry.graph: written.graph, entry.weights: written.weights}
        parts[name] = Part(folder, small, {**files, entry.self_test: describe_file(folder / entry.self_test)})
    return parts


def write_self_test(
    floats: FloatBundles, recorded: CalibrationSet, entry: NetworkEntry, *, folder: Path, name: str
) -> None:
    """A recorded call from the middle of a trajectory, in the network's own dtype, and the fp32 network's outputs."""
    steps = recorded.steps // 2
    samples = recorded.samples(name)
    first = next(samples)
    sample = first if first.step is None else next((one for one in samples if one.step == steps), first)
    inputs = {tensor.name: sample.inputs[tensor.name].astype(tensor.dtype) for tensor in entry.inputs}
    with open_bundle(floats.float32, options=EngineOptions(compute="fp32")) as bundle:
        outputs = bundle.network(name)(inputs)
    path = folder / entry.self_test
    path.parent.mkdir(exist_ok=True)
    # half precision is finer than int8 by far, and half of what would be a third of a small bundle
    halves = {f"output.{name}": value.astype(np.float16) for name, value in outputs.items()}
    arrays = {**{f"input.{name}": value for name, value in inputs.items()}, **halves}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
