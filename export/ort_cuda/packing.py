"""Attentions over a few tokens packed into fewer ones over more, with a mask between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echoexport.export.graphs.edited_graph import EditedGraph, attribute
from echoexport.export.graphs.patterns import draw_mask
from echoexport.runtime.contract.operators import MICROSOFT

if TYPE_CHECKING:
    import onnx

SHORTEST = 32
"""Tokens below which an attention is too small for a kernel's tile, which has 64 rows:
several are packed into one."""

PACKED = 8
"""Attentions in one: of 2 to 16 of the published network's temporal ones, the quickest
on an H100 (measured)."""


def pack_attentions(graph: EditedGraph) -> None:
    """Attentions over a few tokens, many at a time, as fewer ones over more tokens.

    A mask lets none see its neighbours.
    """
    nodes: list[onnx.NodeProto] = []
    for node in graph.nodes:
        nodes.extend(_pack(graph, node) if node.op_type == "MultiHeadAttention" else [node])
    graph.nodes = nodes


def _pack(graph: EditedGraph, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    shapes = [graph.shapes[name] for name in node.input[:3]]
    batch, tokens, width = shapes[0]
    if len(node.input) > 3 or len(set(shapes)) != 1 or tokens > SHORTEST or batch % PACKED:
        return [node]
    packed = (batch // PACKED, PACKED * tokens, width)
    masked = graph.constant(draw_mask(tokens, PACKED, graph.dtype), "attention_mask")
    views = [graph.view(name, packed, graph.fresh(f"{name}.packed")) for name in node.input]
    output = node.output[0]
    inside = graph.fresh(f"{output}.packed")
    whole = graph.make(
        "MultiHeadAttention",
        [*(view.output[0] for view in views), "", "", masked],
        inside,
        packed,
        domain=MICROSOFT,
        **{one.name: attribute(node, one.name) for one in node.attribute},
    )
    return [*views, whole, graph.view(inside, shapes[0], output)]
