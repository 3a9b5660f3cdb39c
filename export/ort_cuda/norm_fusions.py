"""Biases, residuals and the norms that follow them, as the one kernel for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from echoexport.export.graphs.edited_graph import EditedGraph, Shape, attribute, volume
from echoexport.export.ort_cuda.sums import split_sum
from echoexport.runtime.contract.operators import MICROSOFT

if TYPE_CHECKING:
    import onnx

RESIDUAL_WIDTHS = (320, 640, 1280)
"""Channels that the BiasAdd kernel is compiled for."""


def fuse_layer_norms(graph: EditedGraph) -> None:
    """Bias, residual and layer norm: SkipLayerNormalization, which gives their sum out as well."""
    removed: set[int] = set()
    for place, node in enumerate(graph.nodes):
        total = _find_sum(graph, node, removed) if _has_layer_norm_kernel(graph, node) else None
        if total is None or len(node.output) > 1:
            continue
        shape = graph.shapes[node.input[0]]
        source, skip, bias = split_sum(graph, total)
        if skip is None:  # nothing is added but the bias: a skip of zeros, which stays in the cache
            skip = graph.constant(np.zeros(shape[1:], graph.dtype), "zeros")
        if graph.shapes[source] != shape or graph.shapes[skip] not in (shape, shape[1:]):
            continue
        wanted = _is_wanted_elsewhere(graph, node)
        graph.nodes[place] = graph.make(
            "SkipLayerNormalization",
            [source, skip, *node.input[1:], *([bias] if bias else [])],
            [node.output[0], "", "", node.input[0]] if wanted else [node.output[0]],
            shape,
            domain=MICROSOFT,
            epsilon=attribute(node, "epsilon", 1e-5),
        )
        removed.add(id(total))
    graph.nodes = [node for node in graph.nodes if id(node) not in removed]


def _has_layer_norm_kernel(graph: EditedGraph, node: onnx.NodeProto) -> bool:
    if node.op_type != "LayerNormalization" or len(node.input) != 3:
        return False
    return len(graph.shapes[node.input[0]]) == 3 and attribute(node, "axis", -1) in (-1, 2)


def _find_sum(graph: EditedGraph, node: onnx.NodeProto, removed: set[int]) -> onnx.NodeProto | None:
    """The sum that a norm reads, unless another norm has taken it in."""
    total = graph.maker(node.input[0], "Add")
    return None if total is None or id(total) in removed else total


def _is_wanted_elsewhere(graph: EditedGraph, norm: onnx.NodeProto) -> bool:
    """Whether the sum before a norm has other readers, or is given out."""
    name = norm.input[0]
    return any(one is not norm for one in graph.readers[name]) or name in graph.outputs


def fuse_group_norms(graph: EditedGraph) -> None:
    """Bias, residual or time embedding, and group norm.

    SkipGroupNorm, which gives their sum out as well.
    """
    removed: set[int] = set()
    added: list[onnx.NodeProto] = []
    for place, node in enumerate(graph.nodes):
        total = _find_sum(graph, node, removed) if node.op_type == "GroupNorm" else None
        if total is None:
            continue
        source, skip, bias = split_sum(graph, total)
        shape = graph.shapes[node.input[0]]
        if graph.shapes[source] != shape:
            continue
        if skip is None and bias is not None:
            added.append(graph.view(bias, (1, 1, 1, shape[3]), graph.fresh(f"{bias}.skip")))
            skip = added[-1].output[0]
            bias = None
        assert skip is not None
        skip = _widen_skip(graph, skip, shape, added)
        if graph.shapes[skip] not in (shape, (shape[0], 1, 1, shape[3])):
            continue
        wanted = _is_wanted_elsewhere(graph, node)
        graph.nodes[place] = graph.make(
            "SkipGroupNorm",
            [source, *node.input[1:], skip, *([bias] if bias else [])],
            [node.output[0], node.input[0]] if wanted else [node.output[0]],
            shape,
            domain=MICROSOFT,
            **{one.name: attribute(node, one.name) for one in node.attribute},
        )
        removed.add(id(total))
    graph.nodes = [node for node in graph.nodes if id(node) not in removed] + added


def _widen_skip(graph: EditedGraph, skip: str, shape: Shape, added: list[onnx.NodeProto]) -> str:
    """One row for all pictures as the kernel takes it: a row for each."""
    if graph.shapes[skip] != (1, 1, 1, shape[3]):
        return skip
    wide = (shape[0], 1, 1, shape[3])
    repeat = [skip, graph.integers(wide)]
    output = graph.fresh(f"{skip}.wide")
    added.append(graph.make("Expand", repeat, output, wide))
    return output


def fuse_residuals(graph: EditedGraph) -> None:
    """What is left of bias and residual: BiasAdd, of three axes."""
    nodes: list[onnx.NodeProto] = []
    for node in graph.nodes:
        source, skip, bias = split_sum(graph, node) if node.op_type == "Add" else ("", None, None)
        shape = graph.shapes[node.output[0]]
        same = skip is not None and graph.shapes[source] == graph.shapes[skip] == shape
        if skip is None or bias is None or not same or shape[-1] not in RESIDUAL_WIDTHS:
            nodes.append(node)
        else:
            nodes.extend(_add_biased(graph, node, source=source, bias=bias, skip=skip))
    graph.nodes = nodes


def _add_biased(
    graph: EditedGraph, node: onnx.NodeProto, *, source: str, bias: str, skip: str
) -> list[onnx.NodeProto]:
    output = node.output[0]
    shape = graph.shapes[output]
    if len(shape) == 3:
        return [graph.make("BiasAdd", [source, bias, skip], output, shape, domain=MICROSOFT)]
    flat = (shape[0], volume(shape[1:-1]), shape[-1])
    views = [graph.view(name, flat, graph.fresh(f"{name}.flat")) for name in (source, skip)]
    ends = [view.output[0] for view in views]
    inside = graph.fresh(f"{output}.flat")
    total = graph.make("BiasAdd", [ends[0], bias, ends[1]], inside, flat, domain=MICROSOFT)
    return [*views, total, graph.view(inside, shape, output)]
