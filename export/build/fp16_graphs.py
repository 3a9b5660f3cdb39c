"""What fp16 would spoil, found on a set, and fp16 networks rewritten to compute it in fp32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from echoexport.calibration.choosing.network_plan import require_followable
from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.lint.graph_lint import require_clean
from echoexport.calibration.observing.overflows import (
    Overflow,
    find_settleable,
    list_float32,
    widen_half,
)
from echoexport.calibration.plan import NetworkPlan
from echoexport.calibration.progress import ProgressFolder
from echoexport.calibration.recording.sets import CalibrationSet
from echoexport.export.build.live_samples import count_live_samples, take_samples
from echoexport.runtime.bundle.files import describe_file
from echoexport.runtime.contract.manifest import (
    FileEntry,
    NetworkEntry,
    read_manifest,
    write_manifest,
)
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.files.aside import replaced_file
from echoexport.runtime.progress import Progress

NOT_SETTLED = (
    "values beyond fp16's range were not looked for on real activations: record a set with "
    "'echoexport calibrate', and build with --calibration SET"
)


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
    counted = count_to(count_live_samples(graph.name, recorded), report)
    found = find_settleable(graph, take_samples(graph, recorded), report=counted)
    progress.write("overflows", [dump(each) for each in found])
    return found


def count_to(total: int, report: Progress) -> Progress:
    """A report for phases that do not know how many samples there are."""
    return lambda what, done, of: report(what, done, of or total)


def settle_graphs(float32: Path, half: Path, networks: Mapping[str, NetworkPlan]) -> None:
    """Rewrite an fp16 bundle as the plans' ``float32_nodes`` say.

    ``float32`` is the same bundle in fp32.

    Raises:
        CalibrationError: a plan that does not fit its graph.
        GraphError: a graph that breaks our rules.
    """
    manifest = read_manifest(half)
    files = dict(manifest.files)
    for name, plan in networks.items():
        entry = manifest.networks[name]
        files[entry.graph] = settle_network(
            float32 / entry.graph, half / entry.graph, plan, entry=entry
        )
    write_manifest(replace(manifest, files=files), half)


def settle_network(
    source: Path, path: Path, plan: NetworkPlan, *, entry: NetworkEntry
) -> FileEntry:
    """Rewrite one graph, fp16 or int8 with fp16 around, in place.

    ``source`` is the network's fp32 graph.

    Raises:
        CalibrationError, GraphError: as ``settle_graphs``.
    """
    graph = FloatGraph(path)
    if plan.float32_nodes:
        float32 = FloatGraph(source)
        require_followable(float32, plan)
        model = widen_half(float32, graph.model, plan.float32_nodes)
        require_clean(model, entry.describe(graph.name), float32=list_float32(model))
        # a new file: what is linked to the old one keeps it
        with replaced_file(path) as aside:
            aside.write_bytes(model.SerializeToString(deterministic=True))
    return describe_file(path)


def describe_settled(networks: Mapping[str, NetworkPlan]) -> list[str]:
    """One note on how many nodes of which network are computed in fp32; none where no node is."""
    counts = {
        name: len(plan.float32_nodes) for name, plan in networks.items() if plan.float32_nodes
    }
    told = ", ".join(f"{count} nodes of {name}" for name, count in counts.items())
    return [f"computed in fp32 where fp16 would overflow or lose digits: {told}"] if counts else []
