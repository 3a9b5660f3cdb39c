"""Convolutions over few pixels as one product of gathered patches with the weights.

Over a map of 2 by 2 or 4 by 4 pixels a convolution reads its weights once for every
picture, and the weights are all that it costs; a product reads them once for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from echoexport.export.graphs.edited_graph import EditedGraph, attribute
from echoexport.export.openvino.rewrite import Rewrite, Site, replace_maker

if TYPE_CHECKING:
    import onnx

FEW_PIXELS = 64
"""Of a map that a convolution gives, up to which a product is tried."""

_FEWEST_CHANNELS = 16


class PatchProducts(Rewrite):
    """Requires: a convolution of one group, undilated, of a kernel larger than one pixel.

    Its weights are a constant in the graph's own type, it gives at most ``FEW_PIXELS``
    pixels, and has enough channels that a row of them is worth a copy.

    Ensures: pixels as rows, each patch gathered from them (what lies outside is a row
    of zeros), one product, the bias, and the map as it was.
    """

    name = "convolutions as products"

    def find(self, graph: EditedGraph) -> list[Site]:
        """Convolutions that fulfil it."""
        return [
            _describe(graph, node)
            for node in graph.nodes
            if node.op_type == "Conv" and not node.domain and _fits(graph, node)
        ]

    def list_options(self, place: Site) -> tuple[int, ...]:
        """There is one way."""
        return (1,)

    def apply(self, graph: EditedGraph, place: Site, option: int) -> None:
        """Write one convolution so."""
        node = graph.makers[place.output]
        replace_maker(graph, place.output, _write_product(graph, node))


def _fits(graph: EditedGraph, node: onnx.NodeProto) -> bool:
    weight = node.input[1]
    if not graph.is_constant(weight):
        return False
    shape = graph.shapes[weight]
    made = graph.shapes[node.output[0]]
    if len(shape) != 4 or len(made) != 4:
        return False
    plain = attribute(node, "group", 1) == 1 and set(attribute(node, "dilations", (1,))) == {1}
    few = made[2] * made[3] <= FEW_PIXELS and min(shape[:2]) >= _FEWEST_CHANNELS
    return plain and few and shape[2] * shape[3] > 1


def _describe(graph: EditedGraph, node: onnx.NodeProto) -> Site:
    pictures, made, high, wide = graph.shapes[node.output[0]]
    _, read, *kernel = graph.shapes[node.input[1]]
    source = graph.shapes[node.input[0]]
    label = f"{kernel[0]}x{kernel[1]} convolutions {read} to {made} at {wide}x{high}"
    form = (pictures, read, made, high, wide, *kernel, *source[2:])
    return Site(node.output[0], (node.input[0],), form, label)


def _write_product(graph: EditedGraph, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    source, weight = node.input[:2]
    output = node.output[0]
    pictures, made, high, wide = graph.shapes[output]
    _, read, *kernel = graph.shapes[weight]
    pixels = graph.shapes[source][2] * graph.shapes[source][3]
    places = list_patches(node, graph.shapes[source][2:], kernel=(kernel[0], kernel[1]))
    taps = kernel[0] * kernel[1]
    nodes = []

    def add(
        operator: str, inputs: list[str], what: str, shape: tuple[int, ...], **more: Any
    ) -> str:
        name = graph.fresh(f"{output}.{what}")
        nodes.append(graph.make(operator, inputs, name, shape, **more))
        return name

    def view(name: str, what: str, shape: tuple[int, ...]) -> str:
        return add("Reshape", [name, graph.integers(shape)], what, shape)

    flat = view(source, "flat", (pictures, read, pixels))
    rows = add("Transpose", [flat], "rows", (pictures, pixels, read), perm=[0, 2, 1])
    if max(places) == pixels:
        amounts = graph.integers((0, 0, 0, 0, 1, 0))
        rows = add("Pad", [rows, amounts], "padded", (pictures, pixels + 1, read))
    gathered = (pictures, len(places), read)
    patches = add("Gather", [rows, graph.integers(places)], "patches", gathered, axis=1)
    matrix = view(patches, "matrix", (pictures * high * wide, taps * read))
    turned = add("Transpose", [weight], "turned", (*kernel, read, made), perm=[2, 3, 1, 0])
    weights = view(turned, "weights", (taps * read, made))
    result = add("MatMul", [matrix, weights], "product", (pictures * high * wide, made))
    if len(node.input) > 2 and node.input[2]:
        result = add("Add", [result, node.input[2]], "biased", (pictures * high * wide, made))
    pixels_last = view(result, "pixels", (pictures, high * wide, made))
    back = add("Transpose", [pixels_last], "map", (pictures, made, high * wide), perm=[0, 2, 1])
    nodes.append(graph.view(back, (pictures, made, high, wide), output))
    return nodes


def list_patches(
    node: onnx.NodeProto, sides: tuple[int, ...], *, kernel: tuple[int, int]
) -> tuple[int, ...]:
    """Which pixel each tap of a convolution reads, pixel by pixel of what it gives.

    ``sides`` are height and width of the map that it reads; a pixel outside has the
    number that follows the last.
    """
    high, wide = sides
    top, left, bottom, right = attribute(node, "pads", (0, 0, 0, 0))
    down, along = attribute(node, "strides", (1, 1))
    numbers = np.full((high + top + bottom, wide + left + right), high * wide)
    numbers[top : top + high, left : left + wide] = np.arange(high * wide).reshape(high, wide)
    windows = np.lib.stride_tricks.sliding_window_view(numbers, kernel)[::down, ::along]
    return tuple(int(number) for number in windows.ravel())
