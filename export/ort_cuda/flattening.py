"""What the export computes twice, or along more axes than it takes, once and flat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from echoexport.export.graphs.edited_graph import EditedGraph, attribute, volume

if TYPE_CHECKING:
    pass

if TYPE_CHECKING:
    import onnx


def merge_twins(graph: EditedGraph) -> None:
    """Nodes that compute the same of the same, once."""
    first: dict[bytes, list[str]] = {}
    names: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        inputs = [names.get(name, name) for name in node.input]
        del node.input[:]
        node.input.extend(inputs)
        plain = type(node).FromString(node.SerializeToString())
        plain.name = ""
        plain.output[:] = ["wanted" if name else "" for name in node.output]
        earlier = first.setdefault(plain.SerializeToString(), list(node.output))
        if earlier != list(node.output) and not set(node.output) & set(graph.outputs):
            names |= dict(zip(node.output, earlier, strict=True))
        else:
            nodes.append(node)
    graph.nodes = nodes


def flatten_choices(graph: EditedGraph) -> None:
    """A frame's own keys, and behind them the reference's or its own again.

    One choice along a new axis. In the export it is a choice and then a Concat, which
    takes the values through memory once more.
    """
    for place, node in enumerate(graph.nodes):
        gate_and_reference = _match_choice(graph, node)
        if gate_and_reference is not None:
            graph.nodes[place] = _choose_flat(graph, node, *gate_and_reference)


def _match_choice(graph: EditedGraph, node: onnx.NodeProto) -> tuple[str, str] | None:
    """Gate and reference of a Concat of own keys and chosen ones."""
    if node.op_type != "Concat" or len(node.input) != 2 or attribute(node, "axis") != 2:
        return None
    own, chosen = node.input
    choice = graph.maker(chosen, "Where")
    shape = graph.shapes[own]
    if choice is None or choice.input[2] != own or len(shape) != 4 or shape[0] != 1:
        return None
    gate, reference = choice.input[:2]
    if graph.shapes[reference] != (1, 1, *shape[2:]) or volume(graph.shapes[gate]) != 1:
        return None
    return gate, reference


def _choose_flat(
    graph: EditedGraph, node: onnx.NodeProto, gate: str, reference: str
) -> onnx.NodeProto:
    """The nodes of the choice; the last of them, which gives the Concat's value, is returned."""
    own = node.input[0]
    output = node.output[0]
    shape = graph.shapes[own]
    flat = shape[2] * shape[3]
    wide = (shape[1], 2, flat)
    first = graph.constant(np.ones((1, 1, 1), bool), "true")
    parts = (
        (gate, "gate", (1, 1, 1)),
        (own, "own", (shape[1], 1, flat)),
        (reference, "reference", (1, 1, flat)),
    )
    views = [graph.view(name, view, graph.fresh(f"{output}.{part}")) for name, part, view in parts]
    ends = [view.output[0] for view in views]
    no = graph.make("Not", [ends[0]], graph.fresh(f"{output}.no"), (1, 1, 1))
    which = graph.make(
        "Concat", [first, no.output[0]], graph.fresh(f"{output}.which"), (1, 2, 1), axis=1
    )
    both = graph.make("Where", [which.output[0], *ends[1:]], graph.fresh(f"{output}.both"), wide)
    graph.nodes += [*views, no, which, both]
    return graph.view(both.output[0], graph.shapes[output], output)


def flatten_sums(graph: EditedGraph) -> None:
    """What is added to each of many tokens' rows alike, such as positions, along two axes.

    ONNX Runtime finds each value's place by a division an axis.
    """
    for place, node in enumerate(graph.nodes):
        if node.op_type == "Add" and _repeats_rows(graph, node):
            graph.nodes[place] = _add_flat(graph, node)


def _repeats_rows(graph: EditedGraph, node: onnx.NodeProto) -> bool:
    """Of one row it is a plain sum, which a norm may take in."""
    shapes = [graph.shapes[name] for name in node.input]
    if [len(shape) for shape in shapes] != [3, 3]:
        return False
    return shapes[1] == (1, *shapes[0][1:]) and shapes[0][0] != 1


def _add_flat(graph: EditedGraph, node: onnx.NodeProto) -> onnx.NodeProto:
    """The nodes of the sum; the last of them, which gives its value, is returned."""
    output = node.output[0]
    shape = graph.shapes[node.input[0]]
    flat = volume(shape[1:])
    views = [
        graph.view(name, (graph.shapes[name][0], flat), graph.fresh(f"{name}.flat"))
        for name in node.input
    ]
    ends = [view.output[0] for view in views]
    total = graph.make("Add", ends, graph.fresh(f"{output}.flat"), (shape[0], flat))
    graph.nodes += [*views, total]
    return graph.view(total.output[0], shape, output)
