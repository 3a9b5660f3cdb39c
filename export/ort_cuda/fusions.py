"""Chains of operators as the one kernel that ONNX Runtime's CUDA provider has for them.

Each saves trips to memory.
"""

from __future__ import annotations

from echoexport.export.graphs.edited_graph import EditedGraph
from echoexport.export.ort_cuda.flattening import flatten_choices, flatten_sums, merge_twins
from echoexport.export.ort_cuda.norm_fusions import (
    fuse_group_norms,
    fuse_layer_norms,
    fuse_residuals,
)
from echoexport.export.ort_cuda.packing import pack_attentions
from echoexport.export.ort_cuda.product_fusions import (
    fuse_geglu,
    join_products,
    scale_products,
    sink_biases,
)

ORDER = (
    merge_twins,
    flatten_choices,
    flatten_sums,
    join_products,
    pack_attentions,
    fuse_geglu,
    scale_products,
    sink_biases,
    fuse_layer_norms,
    fuse_group_norms,
    fuse_residuals,
)
"""Each makes room for the next."""


def fuse(graph: EditedGraph) -> None:
    """All of them, in their order."""
    for rewrite in ORDER:
        rewrite(graph)
        graph.index()
