"""One network on its way to int8: its ranges, its smoothing, and the plan that policy and ranges make of its layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from echoexport.calibration.float_graph import FloatGraph
from echoexport.calibration.plan import NetworkPlan
from echoexport.calibration.policy import Policy, plan_layers
from echoexport.calibration.ranges import RangeSettings, Samples, collect_ranges
from echoexport.calibration.smoothing import SmoothingSettings, find_smoothing

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class QuantizerSettings:
    """How ranges are found, and whether linears are smoothed. The defaults are what came out best on the demo character
    (tests/benchmarks/results/calibration_methods.json)."""

    ranges: RangeSettings = field(default_factory=lambda: RangeSettings(method="minmax", combine="mean"))
    smooth: bool = True
    smoothing: SmoothingSettings = field(default_factory=SmoothingSettings)

    @property
    def method(self) -> str:
        """In words, for the plan."""
        return f"{self.ranges.method}, {self.ranges.combine} over steps{', smoothed' * self.smooth}"


def plan_network(
    graph: FloatGraph, samples: Samples, *, policy: Policy, settings: QuantizerSettings, report: Report | None = None
) -> NetworkPlan:
    """Ranges of what the layers read on these samples, smoothed where that pays, and the policy's plan with them.

    Raises:
        CalibrationError: no samples, or an activation that is not finite.
        MissingPackageError, BackendError: no engine, or the engine does not take the graph.
    """
    modes = plan_layers(graph, policy, lambda value: 1.0).layers
    values = {graph.layers[name].value for name, layer in modes.items() if layer.mode == "int8"}
    if not values:
        return settle_precision(plan_layers(graph, policy, lambda value: 1.0))
    wanted = replace(settings.ranges, values=tuple(sorted(values)))
    maxima = collect_ranges(graph, samples, settings=replace(wanted, method="minmax"), report=report)
    smoothing = {}
    if settings.smooth:
        smoothing = find_smoothing(graph, maxima, samples=samples, settings=settings.smoothing)
    found = collect_ranges(graph, samples, settings=wanted, maxima=maxima, smoothing=smoothing, report=report)
    return settle_precision(replace(plan_layers(graph, policy, found.amax), smoothing=smoothing))


def keep_float(plan: NetworkPlan, reasons: Mapping[str, str]) -> NetworkPlan:
    """The plan with these layers left in float, each for its reason."""
    kept = {name: replace(plan.layers[name], mode="float", reason=reason) for name, reason in reasons.items()}
    return settle_precision(replace(plan, layers={**plan.layers, **kept}))


def settle_precision(plan: NetworkPlan) -> NetworkPlan:
    """The plan with its precision as its layers have it."""
    small = any(layer.mode != "float" for layer in plan.layers.values())
    return replace(plan, precision="int8" if small else "fp32")
