"""The table of all lowerings, and the translation of one call by it.

Why not ``torch.onnx.export``: unoptimised it leaves thousands of shape computations and
sequence operators in the graph, which NVIDIA's parser and OpenVINO dislike, and
optimised it renames the parameters and needs their values. The six networks use some
twenty operators with static shapes, so lowering them here gives a clean graph in a
second.
"""

from __future__ import annotations

from torch.fx import Node

from echoexport.export.subnets.lowering.attention import ATTENTION
from echoexport.export.subnets.lowering.layers import LAYERS
from echoexport.export.subnets.lowering.lowered import Lowered
from echoexport.export.subnets.lowering.shapes import SHAPES
from echoexport.export.subnets.lowering.values import VALUES
from echoexport.runtime.errors import GraphError

TABLE = {**LAYERS, **ATTENTION, **VALUES, **SHAPES}


def lower(g: Lowered, node: Node) -> None:
    """Translate one call.

    Raises:
        GraphError: an operator without a lowering.
    """
    name = str(node.target)
    if name not in TABLE:
        raise GraphError(
            f"no lowering for {name} (node {node.name}); known: {', '.join(sorted(TABLE))}"
        )
    g.names[node] = TABLE[name](g, node)
