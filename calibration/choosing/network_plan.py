"""One network on its way to int8: its ranges, its smoothing and the plan of its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from echoexport.calibration.choosing.policy import Policy, plan_layers
from echoexport.calibration.choosing.smoothing import SmoothingSettings, find_smoothing
from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.observing.overflows import Overflow
from echoexport.calibration.observing.ranges import (
    ActivationRanges,
    RangeSettings,
    SampleReader,
    collect_ranges,
)
from echoexport.calibration.plan import NetworkPlan, Smoothing
from echoexport.calibration.progress import NO_PROGRESS, ProgressFolder
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.errors import CalibrationError
from echoexport.runtime.progress import Progress


@dataclass(frozen=True)
class QuantizerSettings:
    """How ranges are found, and whether linears are smoothed.

    The defaults are what came out best on the demo character
    (tests/benchmarks/results/calibration_methods.json).
    """

    ranges: RangeSettings = field(
        default_factory=lambda: RangeSettings(method="minmax", combine="mean")
    )
    smooth: bool = True
    smoothing: SmoothingSettings = field(default_factory=SmoothingSettings)

    @property
    def method(self) -> str:
        """In words, for the plan."""
        return f"{self.ranges.method}, {self.ranges.combine} over steps{', smoothed' * self.smooth}"


def plan_network(
    graph: FloatGraph,
    samples: SampleReader,
    *,
    policy: Policy,
    settings: QuantizerSettings,
    report: Progress | None = None,
    progress: ProgressFolder = NO_PROGRESS,
) -> NetworkPlan:
    """The policy's plan of a network with the ranges that these samples give.

    Activations are smoothed where that pays. ``progress`` belongs to these arguments
    alone and keeps ranges, smoothing and plan; a plan that it holds is returned as it
    is.

    Raises:
        CalibrationError: no samples, or an activation that is not finite.
        MissingPackageError, BackendError: no engine, or the engine does not take the
            graph.
    """
    if (kept := progress.read("plan")) is not None:
        return parse(NetworkPlan, kept, where="plan")
    ruled = plan_layers(graph, policy, lambda value: 1.0)
    values = {
        graph.layers[name].value for name, layer in ruled.layers.items() if layer.mode == "int8"
    }
    if not values:
        return restate_precision(ruled)
    wanted = replace(settings.ranges, values=tuple(sorted(values | ruled.skips.keys())))
    simple = replace(wanted, method="minmax")
    maxima = collect_ranges(graph, samples, settings=simple, report=report, progress=progress)
    smoothing = _smooth(graph, maxima, samples, settings=settings, progress=progress)
    found = collect_ranges(
        graph, samples, settings=wanted, maxima=maxima, smoothing=smoothing, report=report
    )
    plan = restate_precision(replace(plan_layers(graph, policy, found.amax), smoothing=smoothing))
    progress.write("plan", dump(plan))
    return plan


def _smooth(
    graph: FloatGraph,
    maxima: ActivationRanges,
    samples: SampleReader,
    *,
    settings: QuantizerSettings,
    progress: ProgressFolder,
) -> dict[str, Smoothing]:
    if not settings.smooth:
        return {}
    if (kept := progress.read("smoothing")) is not None:
        return {
            value: parse(Smoothing, entry, where=f"smoothing.{value}")
            for value, entry in kept.items()
        }
    found = find_smoothing(graph, maxima, samples=samples, settings=settings.smoothing)
    progress.write("smoothing", dump(found))
    return found


def keep_float(plan: NetworkPlan, reasons: Mapping[str, str]) -> NetworkPlan:
    """The plan with these layers left in float, each for its reason."""
    kept = {
        name: replace(plan.layers[name], mode="float", reason=reason)
        for name, reason in reasons.items()
    }
    return restate_precision(replace(plan, layers={**plan.layers, **kept}))


def keep_overflows(
    graph: FloatGraph, plan: NetworkPlan, overflows: Sequence[Overflow]
) -> NetworkPlan:
    """The plan of an fp16 network that computes these nodes in fp32.

    Layers among them stay float: a scale would be fp16 and the layer's input fp32, and
    int8 cuts off what overflows fp16 as well.
    """
    found = {each.node: each for each in overflows}
    named = {
        name: found[graph.layers[name].node]
        for name in plan.layers
        if name in graph.layers and graph.layers[name].node in found
    }
    reasons = {name: f"overflow: {each.kind} of {each.peak:.3g}" for name, each in named.items()}
    read = {value for node in graph.model.graph.node if node.name in found for value in node.input}
    skips = {value: amax for value, amax in plan.skips.items() if value not in read}
    return keep_float(replace(plan, float32_nodes=tuple(found), skips=skips), reasons)


def require_followable(graph: FloatGraph, plan: NetworkPlan) -> None:
    """Refuse a plan, perhaps edited, whose nodes in fp32 cannot be.

    They must be nodes of the graph, and none may be a layer that is to be int8.

    Raises:
        CalibrationError: names the node or layer.
    """
    kept = set(plan.float32_nodes)
    if unknown := sorted(kept - {node.name for node in graph.model.graph.node}):
        raise CalibrationError(
            f"plan: {graph.name}, float32_nodes: no node is called {unknown[0]!r}; leave it out"
        )
    for name, layer in plan.layers.items():
        if layer.mode != "float" and name in graph.layers and graph.layers[name].node in kept:
            raise CalibrationError(
                f"plan: {graph.name}, layer {name}: mode {layer.mode!r}, but its node "
                f"{graph.layers[name].node!r} is "
                "among float32_nodes; make it 'float', or take the node out of these"
            )


def restate_precision(plan: NetworkPlan) -> NetworkPlan:
    """The plan with its precision as its layers have it."""
    small = any(layer.mode != "float" for layer in plan.layers.values())
    return replace(plan, precision="int8" if small else "fp32")
