"""Gated products as two: value and gate each from weights of their own, and nothing to split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echoexport.export.graphs.edited_graph import EditedGraph, attribute
from echoexport.export.graphs.patterns import match_gate, split_bias
from echoexport.export.openvino.rewrite import Rewrite, Site, replace_maker

if TYPE_CHECKING:
    import onnx


class SplitGates(Rewrite):
    """Requires: a product with constant weights and bias, halved, one half times GELU of the other.

    Ensures: two products with the halves of weights and bias.
    """

    name = "gated products as two"

    def find(self, graph: EditedGraph) -> list[Site]:
        """Gates whose halves come from one such product."""
        return [
            place
            for node in graph.nodes
            if node.op_type == "Mul" and (place := _describe(graph, node)) is not None
        ]

    def list_options(self, place: Site) -> tuple[int, ...]:
        """There is one way."""
        return (2,)

    def apply(self, graph: EditedGraph, place: Site, option: int) -> None:
        """Write one gate so."""
        node = graph.makers[place.output]
        source, weight, bias = _match(graph, node) or ("", "", "")
        gelu = graph.makers[node.input[1]]
        replace_maker(graph, place.output, _write(graph, node, gelu, source=(source, weight, bias)))


def _match(graph: EditedGraph, node: onnx.NodeProto) -> tuple[str, str, str] | None:
    """What goes in, weights and bias."""
    whole = match_gate(graph, node)
    added = None if whole is None else graph.maker(whole, "Add")
    parts = None if added is None else split_bias(graph, added)
    product = None if parts is None else graph.maker(parts[0], "MatMul")
    if parts is None or product is None or not graph.is_constant(product.input[1]):
        return None
    return product.input[0], product.input[1], parts[1]


def _describe(graph: EditedGraph, node: onnx.NodeProto) -> Site | None:
    found = _match(graph, node)
    if found is None or len(graph.shapes[found[1]]) != 2:
        return None
    batch, tokens, read = graph.shapes[found[0]]
    half = graph.shapes[node.output[0]][-1]
    label = f"gates {read} to {half} of {batch * tokens} tokens"
    return Site(node.output[0], (found[0],), (batch, tokens, read, half), label)


def _write(
    graph: EditedGraph,
    node: onnx.NodeProto,
    gelu: onnx.NodeProto,
    *,
    source: tuple[str, str, str],
) -> list[onnx.NodeProto]:
    given, weight, bias = source
    output = node.output[0]
    shape = graph.shapes[output]
    read, both = graph.shapes[weight]
    half = both // 2
    nodes = []
    ends = []
    for what, start in (("value", 0), ("gate", half)):
        ranges = [graph.integers((number,)) for number in (start, start + half)]
        stem = f"{output}.{what}"

        def add(
            operator: str, inputs: list[str], end: str, size: tuple[int, ...], stem: str = stem
        ) -> str:
            name = graph.fresh(f"{stem}.{end}")
            nodes.append(graph.make(operator, inputs, name, size))
            return name

        own = add("Slice", [weight, *ranges, graph.integers((1,))], "weight", (read, half))
        vector = add("Slice", [bias, *ranges, graph.integers((0,))], "bias", (half,))
        ends.append(
            add("Add", [add("MatMul", [given, own], "product", shape), vector], "sum", shape)
        )
    opened = graph.fresh(f"{output}.gelu")
    way = attribute(gelu, "approximate", b"none").decode()
    nodes.append(graph.make("Gelu", [ends[1]], opened, shape, approximate=way))
    nodes.append(graph.make("Mul", [ends[0], opened], output, shape))
    return nodes
