"""Which layers are int8 on which kind of target, as data files say it.

Nothing is measured for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path

from echoexport.calibration.graphs.float_graph import FloatGraph, Layer
from echoexport.calibration.graphs.qdq_graph import find_skips
from echoexport.calibration.plan import LAYER_MODES, LayerPlan, NetworkPlan
from echoexport.runtime.contract.family import Family
from echoexport.runtime.errors import TargetError, UnknownNameError
from echoexport.targets.spec import TARGET_KINDS
from echoexport.targets.strict_yaml import Table, parse_table

OPERATORS = ("Conv", "MatMul")


@dataclass(frozen=True)
class LayerRule:
    """Layers whose names match a pattern get a mode, for a reason."""

    pattern: str
    """As file names have them: ``*`` is any text."""
    mode: str
    reason: str


@dataclass(frozen=True)
class NetworkPolicy:
    """One network: a mode per operator, and the rules that go before it, the first that matches."""

    operators: Mapping[str, str]
    layers: tuple[LayerRule, ...] = ()
    skips: bool = False
    """Q/DQ on what residual Adds take past int8 layers, so that TensorRT can fuse layer
    and Add."""

    def choose(self, layer: Layer) -> LayerRule:
        """The rule that a layer falls under.

        Where its operator alone decides, the rule's pattern is the operator.
        """
        for rule in self.layers:
            if fnmatchcase(layer.name, rule.pattern):
                return rule
        return LayerRule(layer.op, self.operators[layer.op], "")


@dataclass(frozen=True)
class Policy:
    """The policy of one kind of target ("cpu", "jetson", "gpu"), by network."""

    kind: str
    networks: Mapping[str, NetworkPolicy]


def load_policy(kind: str, *, family: Family) -> Policy:
    """The policy of a kind of target, for the networks of a family.

    Raises:
        UnknownNameError: no such kind.
    """
    if kind not in TARGET_KINDS:
        raise UnknownNameError("kind of target", kind, known=TARGET_KINDS)
    name = f"{kind}.yaml"
    return parse_policy(
        files("echoexport.calibration").joinpath("data").joinpath(name).read_bytes(),
        file=name,
        kind=kind,
        family=family,
    )


def read_policy(path: Path, *, kind: str, family: Family) -> Policy:
    """A policy file of one's own.

    Raises:
        TargetError: it cannot be read or breaks the schema; names the file and the key.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TargetError(f"{path}: cannot be read: {error.strerror or error}") from error
    return parse_policy(content, file=str(path), kind=kind, family=family)


def parse_policy(content: bytes, *, file: str, kind: str, family: Family) -> Policy:
    """A policy from YAML; every network that a bundle must hold is there and no key is unknown.

    Raises:
        TargetError: names the file and the key.
    """
    top = parse_table(content, file)
    networks = top.table("networks")
    found = {
        name: _parse_network(networks.table(name))
        for name in family.networks
        if name in family.required or networks.holds(name)
    }
    networks.finish()
    top.finish()
    return Policy(kind, found)


def _parse_network(table: Table) -> NetworkPolicy:
    operators = table.table("operators")
    modes = {operator: operators.choice(operator, LAYER_MODES) for operator in OPERATORS}
    operators.finish()
    rules = []
    for entry in table.tables("layers"):
        rules.append(
            LayerRule(
                entry.text("pattern"), entry.choice("mode", LAYER_MODES), entry.text("reason")
            )
        )
        entry.finish()
    skips = bool(table.value("skips", lambda v: isinstance(v, bool), "true or false"))
    table.finish()
    return NetworkPolicy(modes, tuple(rules), skips)


def plan_layers(
    graph: FloatGraph, policy: Policy, ranges_amax: Callable[[str], float]
) -> NetworkPlan:
    """The policy applied to every layer of a graph, with the ranges of int8 layers.

    ``ranges_amax`` is asked, by value name, for what int8 layers read, and with
    ``skips`` for what residual Adds take past them.

    Raises:
        UnknownNameError: the graph is of no network that the policy names.
    """
    if graph.name not in policy.networks:
        raise UnknownNameError("network", graph.name, known=policy.networks)
    network = policy.networks[graph.name]
    layers = {}
    for layer in graph.layers.values():
        rule = network.choose(layer)
        if rule.mode == "int8":
            layers[layer.name] = LayerPlan("int8", ranges_amax(layer.value), "")
        else:
            why = ": ".join(filter(None, (rule.pattern, rule.reason)))
            layers[layer.name] = LayerPlan(rule.mode, None, f"policy: {why}")
    int8 = frozenset(name for name, layer in layers.items() if layer.mode == "int8")
    found = find_skips(graph, int8) if network.skips else ()
    skips = {skip.value: ranges_amax(skip.value) for skip in found}
    small = any(layer.mode != "float" for layer in layers.values())
    return NetworkPlan("int8" if small else graph_precision(graph), layers, skips=skips)


def graph_precision(graph: FloatGraph) -> str:
    """ "fp16" or "fp32": the type of the graph's inputs."""
    from onnx import TensorProto

    first = graph.model.graph.input[0].type.tensor_type.elem_type
    return "fp16" if first == TensorProto.FLOAT16 else "fp32"
