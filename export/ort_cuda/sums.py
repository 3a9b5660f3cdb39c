"""What a sum adds: values, and the vectors of biases among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from echoexport.export.graphs.edited_graph import EditedGraph
from echoexport.export.graphs.patterns import split_bias

if TYPE_CHECKING:
    import onnx


def is_read_once(graph: EditedGraph, name: str) -> bool:
    """Whether one node alone wants the value."""
    return len(graph.readers.get(name, ())) == 1 and name not in graph.outputs


def split_sum(graph: EditedGraph, node: onnx.NodeProto) -> tuple[str, str | None, str | None]:
    """(value, other value or None, bias or None) of an Add.

    The biases of operands that only it reads are taken out.
    """
    alone = split_bias(graph, node)
    if alone is not None:
        return alone[0], None, alone[1]
    values = list(node.input)
    biases = list[str]()
    for place, value in enumerate(values):
        biased = graph.maker(value, "Add")
        parts = None if biased is None else split_bias(graph, biased)
        full = parts is not None and graph.shapes[parts[1]] == graph.shapes[node.output[0]][-1:]
        if parts is not None and full and is_read_once(graph, value):
            values[place] = parts[0]
            biases.append(parts[1])
    if graph.shapes[values[0]] != graph.shapes[node.output[0]]:
        values.reverse()
    if len(biases) == 2:
        biases = [compute_vector(graph, "Add", biases, f"{node.output[0]}.bias")]
    return values[0], values[1], biases[0] if biases else None


def compute_vector(graph: EditedGraph, operator: str, inputs: list[str], stem: str) -> str:
    """An operator on constant vectors, in float32.

    What ONNX Runtime can compute before a session's first call.
    """
    shape = graph.shapes[inputs[0]]
    wide = [
        graph.make("Cast", [name], graph.fresh(f"{stem}.float"), graph.shapes[name], to=1)
        for name in inputs
    ]
    made = graph.make(
        operator, [node.output[0] for node in wide], graph.fresh(f"{stem}.sum"), shape
    )
    name = graph.fresh(stem)
    last = graph.make(
        "Cast", [made.output[0]], name, shape, to=1 if graph.dtype == np.float32 else 10
    )
    graph.nodes += [*wide, made, last]
    graph.vectors.add(name)
    return name
