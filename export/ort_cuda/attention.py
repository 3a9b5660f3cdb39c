"""Attention as one operator of ONNX Runtime's own.

Its CUDA provider then keeps no scores in memory.

A graph for ONNX Runtime alone; bundles hold the plain operators, which every other
engine fuses by itself.
"""

from __future__ import annotations

from echoexport.export.graphs.edited_graph import EditedGraph
from echoexport.export.graphs.patterns import find_attentions
from echoexport.runtime.contract.operators import MICROSOFT

WIDEST_HEAD = 256
"""Values of a head that ONNX Runtime's flash attention takes at most."""


def fuse_attention(graph: EditedGraph) -> int:
    """Make every attention that the export wrote one MultiHeadAttention; gives how many there were.

    Left as they are: heads wider than ``WIDEST_HEAD``, and whatever looks otherwise.
    """
    found = {
        attention.output: attention
        for attention in find_attentions(graph)
        if attention.width <= WIDEST_HEAD
    }
    for place, node in enumerate(graph.nodes):
        attention = found.get(node.output[0])
        if attention is not None:
            graph.nodes[place] = graph.make(
                "MultiHeadAttention",
                attention.tokens,
                attention.output,
                graph.shapes[attention.output],
                domain=MICROSOFT,
                num_heads=attention.heads,
                scale=attention.scale,
            )
            graph.nodes[place].name = attention.name
    graph.index()
    graph.drop_unread()
    return len(found)
