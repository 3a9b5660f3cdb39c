"""A network's graph as ONNX Runtime's CUDA provider runs it quickest: channels-last, in that library's own operators.

For that provider alone; a bundle's graphs hold plain operators, which every other engine fuses by itself.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def specialize(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Counter[str]]:
    """A copy of a float graph for ONNX Runtime's CUDA provider, and how often it uses which of its own operators.

    It reads the same weights by the same names, and gives the same within a precision's rounding.
    """
    from echoexport.export.fused_attention import fuse_attention
    from echoexport.export.ort_cuda.channels_last import lay_channels_last
    from echoexport.export.ort_cuda.edited_graph import MICROSOFT, EditedGraph
    from echoexport.export.ort_cuda.fusions import fuse

    graph = EditedGraph(fuse_attention(model)[0])
    lay_channels_last(graph)
    fuse(graph)
    result = graph.finish()
    return result, Counter(node.op_type for node in result.graph.node if node.domain == MICROSOFT)
