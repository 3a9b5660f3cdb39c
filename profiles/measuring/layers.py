"""Where a network's time goes, layer by layer, told in our modules' names."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from echoexport.profiles.measuring.latency import read_self_test_inputs
from echoexport.profiles.measuring.onnx_nodes import GraphNode, OnnxGraph, read_graph
from echoexport.profiles.modelling.module_groups import OTHER, find_group
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.engine.layer_times import LayerRecord
from echoexport.runtime.errors import GraphError, SettingError

__all__ = ["LayerTable", "LayerTime", "assign_layers", "group_nodes", "measure_layers"]

_CONTRACTIONS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_BEFORE_GAIN = 2  # nodes: a reshape, and the product itself
_SEPARATORS = "/_."  # before what an engine hangs on a node's name


@dataclass(frozen=True)
class LayerTime:
    """A layer's share of one call for one of our groups.

    A layer that was fused from nodes of several groups has one entry for each of them.
    """

    name: str
    kind: str
    """The engine's own word for what it does."""
    seconds: float
    group: str
    """See ``profiles.modelling.module_groups``."""


@dataclass(frozen=True)
class LayerTable:
    """One network's layers in the order of their execution, *measured*.

    Timing each layer costs time, so shares mean more than seconds, and a call that is
    not profiled is quicker.
    """

    network: str
    calls: int
    wall: float
    """Seconds of the whole call by the host's clock on the same engine, the median."""
    layers: tuple[LayerTime, ...]
    """Each the median over ``calls``."""

    @property
    def seconds(self) -> float:
        """All layers together."""
        return sum(layer.seconds for layer in self.layers)

    @property
    def groups(self) -> Mapping[str, float]:
        """Seconds of each group, the largest first."""
        found: dict[str, float] = {}
        for layer in self.layers:
            found[layer.group] = found.get(layer.group, 0.0) + layer.seconds
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    @property
    def other_share(self) -> float:
        """The part, 0 to 1, of what belongs to none of our groups or cannot be told."""
        return self.groups.get(OTHER, 0.0) / self.seconds if self.seconds else 0.0


def measure_layers(bundle: Bundle, name: str, *, calls: int = 10) -> LayerTable:
    """Time the layers of one network on its self-test's inputs.

    An engine is opened for this alone. A first call warms up, besides ``calls``. A
    network whose graph does not travel with its engine, or cannot be read, has "other"
    layers only.

    Raises:
        SettingError: fewer than one call.
        UnknownNameError: no such network.
        BundleError: its files are not what the manifest says.
        BackendError: it does not open or run, or its backend times no layers.
    """
    if calls < 1:
        raise SettingError(f"{calls} calls: at least 1 is wanted to time layers")
    network = bundle.open_profiled(name)
    try:
        inputs = read_self_test_inputs(bundle, name)
        seconds = []
        for _ in range(calls + 1):
            before = network.seconds
            network(inputs)
            seconds.append(network.seconds - before)
        records = network.read_layers()
    finally:
        network.close()
    graph = bundle.folder / bundle.graph_of(name)
    return LayerTable(
        name, calls, statistics.median(seconds[1:]), assign_layers(records, _read_graph(graph))
    )


def assign_layers(records: Iterable[LayerRecord], graph: OnnxGraph) -> tuple[LayerTime, ...]:
    """Layers of an engine by our groups, through the nodes of the graph that they come from.

    A layer's nodes are those that it names as its origins, else the one that its own
    name begins with. Where these hold products (convolutions, matrix products), the
    products' groups share its time by their number, else the groups of all its nodes. A
    layer that has no node, as what only moves values often has, goes with the first
    layer that it reads from. The rest is "other".
    """
    finder = _GroupFinder(graph)
    found: dict[str, dict[str, float]] = {}
    times = []
    for record in records:
        shares = finder.find_shares(record)
        if not shares:
            shares = next((found[name] for name in record.after if found.get(name)), shares)
        found[record.name] = shares
        for group, share in (shares or {OTHER: 1.0}).items():
            times.append(LayerTime(record.name, record.kind, record.seconds * share, group))
    return tuple(times)


def group_nodes(graph: OnnxGraph) -> dict[str, str]:
    """Each node's group, by its name.

    It is that of the first parameter that the node reads, be it reshaped or dequantized
    before; else that of the first value that it reads of a node with a group; else that
    of the node before it. A normalization whose gain follows as a product, as one over
    groups is spelled in ONNX, is of the gain's group.
    """
    stored = _group_stored(graph)
    readers: dict[str, GraphNode] = {}
    for node in reversed(graph.nodes):
        readers.update(dict.fromkeys(node.inputs, node))
    groups: dict[str, str] = {}
    of_value: dict[str, str] = {}
    last = OTHER
    for node in graph.nodes:
        own = next((stored[name] for name in node.inputs if stored.get(name, OTHER) != OTHER), None)
        if own is None and node.operator == "InstanceNormalization":
            own = _find_gain(node, readers, stored)
        if own is None:
            own = next((of_value[name] for name in node.inputs if name in of_value), last)
        groups[node.name] = last = own
        of_value.update(dict.fromkeys(node.outputs, own))
    return groups


def _group_stored(graph: OnnxGraph) -> dict[str, str]:
    """Groups of parameters, and of what is made of nothing but parameters."""
    stored = {name: find_group(name) for name in graph.parameters}
    for node in graph.nodes:
        if node.inputs and all(name in stored for name in node.inputs if name):
            own = next(
                (stored[name] for name in node.inputs if stored.get(name, OTHER) != OTHER), OTHER
            )
            stored.update(dict.fromkeys(node.outputs, own))
    return stored


def _find_gain(
    node: GraphNode, readers: Mapping[str, GraphNode], stored: Mapping[str, str]
) -> str | None:
    """The group of the gain that a normalization's result is multiplied with.

    A reshape may lie between.
    """
    for _ in range(_BEFORE_GAIN):
        following = readers.get(node.outputs[0])
        if following is None:
            return None
        found = next(
            (stored[name] for name in following.inputs if stored.get(name, OTHER) != OTHER), None
        )
        if found is not None:
            return found
        node = following
    return None


class _GroupFinder:
    """Finds the nodes that an engine's layer comes from, and their groups."""

    def __init__(self, graph: OnnxGraph) -> None:
        self._nodes = graph.nodes
        self._groups = group_nodes(graph)
        # some engines name a layer after what it makes
        self._places = {
            name: place for place, node in enumerate(self._nodes) for name in node.outputs
        }
        self._places |= {node.name: place for place, node in enumerate(self._nodes)}

    def find_shares(self, record: LayerRecord) -> dict[str, float]:
        """Groups and their parts of the layer's time, which add up to 1.

        It is empty where no node is known.
        """
        places = {place for origin in record.origins for place in self._find_places(origin)}
        places = places or self._find_places(record.name)
        origins = [self._nodes[place] for place in sorted(places)]
        deciding = [node for node in origins if node.operator in _CONTRACTIONS] or origins
        counts = Counter(self._groups[node.name] for node in deciding)
        return {group: count / len(deciding) for group, count in counts.items()}

    def _find_places(self, name: str) -> set[int]:
        """The nodes behind a name.

        They are the node itself, those of a range "a...b", or the one that the name
        begins with.
        """
        first, dots, last = name.partition("...")
        if dots and first in self._places and last in self._places:
            ends = sorted((self._places[first], self._places[last]))
            return set(range(ends[0], ends[1] + 1))
        for end in range(len(name), 0, -1):
            rest = name[end:]
            # "linear_12" begins with "linear", and is another node; "linear_fused" is
            # not
            if (not rest or (rest[0] in _SEPARATORS and not rest[1:2].isdigit())) and name[
                :end
            ] in self._places:
                return {self._places[name[:end]]}
        return set()


def _read_graph(path: Path) -> OnnxGraph:
    try:
        return read_graph(path)
    except GraphError:  # the share of "other" says so
        return OnnxGraph()
