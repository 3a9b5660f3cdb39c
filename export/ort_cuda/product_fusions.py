"""Products with weights, their biases and gates, as fewer and larger operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echoexport.export.graphs.edited_graph import EditedGraph, attribute, volume
from echoexport.export.graphs.patterns import match_gate, split_bias
from echoexport.export.ort_cuda.sums import compute_vector, is_read_once
from echoexport.runtime.contract.operators import MICROSOFT

if TYPE_CHECKING:
    import onnx

GEGLU_WIDTHS = (1280, 2560, 5120)
"""Values of half a token that the BiasSplitGelu kernel is compiled for."""

FEWEST = 8
MOST_ROWS = 1024
"""Products that are worth joining, and rows from which on each fills a GPU by itself;
chosen, not measured."""


def join_products(graph: EditedGraph) -> None:
    """Products of the same few rows with many weights, as one.

    The time embedding's and the audio tokens' are such. Each alone is too small for a
    GPU and takes a launch.
    """
    groups: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.nodes:
        if (
            node.op_type == "MatMul"
            and graph.is_constant(node.input[1])
            and len(graph.shapes[node.input[1]]) == 2
        ):
            groups.setdefault(node.input[0], []).append(node)
    for source, products in groups.items():
        rows = volume(graph.shapes[source][:-1])
        if len(products) >= FEWEST and rows <= MOST_ROWS:
            _join(graph, source, products)
            graph.index()


def _join(graph: EditedGraph, source: str, products: list[onnx.NodeProto]) -> None:
    shape = graph.shapes[source]
    added = [graph.only_reader(product.output[0], "Add") for product in products]
    biases = [None if one is None else split_bias(graph, one) for one in added]
    ends = [product.output[0] for product in products]
    widths = [graph.shapes[end][-1] for end in ends]
    gone = {id(product) for product in products}
    stem = graph.fresh(f"{source}.joined")
    joined = _multiply(graph, source, products, stem=stem, wide=sum(widths))
    if all(biases):
        joined += _add_vectors(
            graph, joined[-1].output[0], [parts[1] for parts in biases if parts], stem=stem
        )
        ends = [one.output[0] for one in added if one is not None]
        gone |= {id(one) for one in added}
    parts = [joined[-1].output[0], graph.integers(widths)]
    joined.append(graph.make("Split", parts, ends, (), axis=len(shape) - 1))
    for end, width in zip(ends, widths, strict=True):
        graph.shapes[end] = (*shape[:-1], width)
    graph.nodes = [node for node in graph.nodes if id(node) not in gone] + joined


def _multiply(
    graph: EditedGraph, source: str, products: list[onnx.NodeProto], *, stem: str, wide: int
) -> list[onnx.NodeProto]:
    """One product with the weights side by side."""
    shape = graph.shapes[source]
    weights = [product.input[1] for product in products]
    side = graph.make("Concat", weights, f"{stem}.weights", (shape[-1], wide), axis=1)
    inputs = [source, side.output[0]]
    return [side, graph.make("MatMul", inputs, f"{stem}.matmul", (*shape[:-1], wide))]


def _add_vectors(
    graph: EditedGraph, value: str, vectors: list[str], *, stem: str
) -> list[onnx.NodeProto]:
    """The biases side by side, added."""
    shape = graph.shapes[value]
    bias = graph.make("Concat", vectors, f"{stem}.bias", shape[-1:], axis=0)
    graph.vectors.add(bias.output[0])
    return [bias, graph.make("Add", [value, bias.output[0]], f"{stem}.biased", shape)]


def fuse_geglu(graph: EditedGraph) -> None:
    """bias, halves, GELU of the second, product: BiasSplitGelu."""
    for place, node in enumerate(graph.nodes):
        whole = match_gate(graph, node)
        biased = None if whole is None else graph.maker(whole, "Add")
        parts = None if biased is None else split_bias(graph, biased)
        output = node.output[0]
        if parts is not None and graph.shapes[output][-1] in GEGLU_WIDTHS:
            graph.nodes[place] = graph.make(
                "BiasSplitGelu", list(parts), output, graph.shapes[output], domain=MICROSOFT
            )


def scale_products(graph: EditedGraph) -> None:
    """(x W + b) times a constant.

    The product scales by itself, and the bias once, when the session starts.
    """
    for place, node in enumerate(graph.nodes):
        found = _match_scaled(graph, node)
        if found is None:
            continue
        product, bias, factor = found
        output = node.output[0]
        shape = graph.shapes[output]
        scaled = graph.make(
            "FusedMatMul",
            list(product.input),
            graph.fresh(f"{output}.matmul"),
            shape,
            domain=MICROSOFT,
            alpha=factor,
        )
        bias = compute_vector(graph, "Mul", [bias, node.input[1]], f"{output}.bias")
        graph.nodes[place] = graph.make("Add", [scaled.output[0], bias], output, shape)
        graph.nodes.append(scaled)


def _match_scaled(
    graph: EditedGraph, node: onnx.NodeProto
) -> tuple[onnx.NodeProto, str, float] | None:
    """Product, bias and factor of a biased product times one number.

    Nobody else may read the product, or its sum with the bias.
    """
    if node.op_type != "Mul" or len(node.input) != 2:
        return None
    biased, factor = node.input
    number = graph.scalar(factor)
    added = graph.maker(biased, "Add")
    parts = None if added is None else split_bias(graph, added)
    if number is None or parts is None or len(graph.shapes[factor]) > 1:
        return None
    product = graph.maker(parts[0], "MatMul")
    alone = is_read_once(graph, biased) and is_read_once(graph, parts[0])
    return None if product is None or not alone else (product, parts[1], number)


def sink_biases(graph: EditedGraph) -> None:
    """Views and transposes before the bias that they follow.

    It then lies next to what can take it in.
    """
    for node in list(graph.nodes):
        parts = split_bias(graph, node) if node.op_type == "Add" else None
        while parts is not None:
            output = node.output[0]
            view = graph.only_reader(output, "Reshape") or graph.only_reader(output, "Transpose")
            if view is None or not _keeps_last(graph, view, output):
                break
            source, bias = parts
            outside = view.output[0]
            shape = graph.shapes[view.output[0]]
            inside = graph.fresh(f"{outside}.unbiased")
            graph.shapes[inside] = shape
            view.input[0] = source
            view.output[0] = inside
            del node.input[:]
            node.input.extend([inside, bias])
            node.output[0] = outside
            graph.index()
            parts = (inside, bias)


def _keeps_last(graph: EditedGraph, view: onnx.NodeProto, name: str) -> bool:
    before = graph.shapes[name]
    after = graph.shapes[view.output[0]]
    if view.input[0] != name:
        return False
    if view.op_type == "Transpose":
        return bool(attribute(view, "perm", (0,))[-1] == len(before) - 1)
    return before[-1:] == after[-1:]
