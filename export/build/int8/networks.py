"""The plan's int8 networks, written: Q/DQ, float islands, and self-tests of recorded calls."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from echoexport.calibration.choosing.network_plan import require_followable
from echoexport.calibration.choosing.smoothing import apply_smoothing
from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.graphs.quantize import QuantizedFiles, quantize_network
from echoexport.calibration.lint.graph_lint import require_clean
from echoexport.calibration.plan import NetworkPlan, QuantizationPlan
from echoexport.calibration.recording.sets import CalibrationSet
from echoexport.calibration.sample import Sample
from echoexport.export.build.fp16_graphs import settle_network
from echoexport.export.build.parts import Part
from echoexport.export.build.sources import FloatBundles, check_networks
from echoexport.export.graphs.count_work import count_work
from echoexport.runtime.bundle.files import describe_file
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.contract.manifest import NetworkEntry, read_manifest
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.progress import Progress


def write_networks(
    floats: FloatBundles,
    folder: Path,
    *,
    plan: QuantizationPlan,
    recorded: CalibrationSet,
    report: Progress,
) -> dict[str, Part]:
    """The plan's int8 networks as ONNX in ``folder``; those that stay float are not written.

    Their self-tests are calls of a real rendering: int8 cuts off what no calibration
    has seen, so noise would prove nothing.

    Raises:
        CalibrationError: the plan names a network that is none, or does not fit its
            graph.
        GraphError: a graph that breaks our rules.
    """
    check_networks(plan, floats.manifest)
    folder.mkdir(exist_ok=True)
    parts = {}
    for index, (name, network) in enumerate(plan.networks.items()):
        if network.precision == "int8":
            report(f"{name}: int8", index, len(plan.networks))
            part = _write_network(floats, folder, name=name, network=network)
            write_self_test(floats, recorded, part.entry, folder=folder, name=name)
            proof = part.entry.self_test
            parts[name] = replace(part, files={**part.files, proof: describe_file(folder / proof)})
    return parts


def _write_network(floats: FloatBundles, folder: Path, *, name: str, network: NetworkPlan) -> Part:
    """One network's graph and weights; its self-test is not there yet."""
    entry = read_manifest(floats.base).networks[name]
    graph = FloatGraph(floats.base / entry.graph)
    half = network if floats.precision == "fp16" else replace(network, float32_nodes=())
    require_followable(graph, half)
    written = _quantize(graph, network, folder / entry.graph)
    model = FloatGraph(folder / entry.graph).model
    small = replace(
        entry, precision="int8", int8_parameters=written.int8_values, work=count_work(model)
    )
    require_clean(model, small.describe(name))
    settled = settle_network(floats.float32 / entry.graph, folder / entry.graph, half, entry=small)
    return Part(folder, small, {entry.graph: settled, entry.weights: written.weights})


def _quantize(graph: FloatGraph, network: NetworkPlan, path: Path) -> QuantizedFiles:
    with ExitStack() as stack:
        if network.smoothing:
            smooth = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=path.parent)))
            graph = apply_smoothing(graph, network.smoothing, smooth / path.name)
        return quantize_network(graph, network, path)


def _pick_sample(recorded: CalibrationSet, name: str) -> Sample:
    """A call in the middle of a trajectory; the first where the network is in none."""
    samples = recorded.samples(name)
    first = next(samples)
    if first.step is None:
        return first
    return next((one for one in samples if one.step == recorded.steps // 2), first)


def write_self_test(
    floats: FloatBundles, recorded: CalibrationSet, entry: NetworkEntry, *, folder: Path, name: str
) -> None:
    """A recorded call in the network's own dtype, and the fp32 network's outputs.

    The call is one from the middle of a trajectory.
    """
    sample = _pick_sample(recorded, name)
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
