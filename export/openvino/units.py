"""Places of a graph cut out as a graph of their own, to be timed without the rest of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from echoexport.export.graphs.edited_graph import EditedGraph, volume
from echoexport.export.openvino.rewrite import Site

if TYPE_CHECKING:
    import onnx

LARGEST_CUT = 128 * 2**20
"""Of weights in one cut: more than most caches hold, so that weights are streamed as they
are in the network; of places alike as many as fit, and one at least."""

_MOST_PLACES = 8


def cut_out(model: onnx.ModelProto, graph: EditedGraph, places: Sequence[Site]) -> onnx.ModelProto:
    """Places of one form as a model: what goes in becomes its inputs, what comes out its outputs.

    Weights that lie beside the graph become seeded random numbers of their shapes.
    """
    from onnx import helper

    nodes: dict[int, onnx.NodeProto] = {}
    constants: dict[str, onnx.TensorProto] = {}
    taken = list[Site]()
    for place in places[:_MOST_PLACES]:
        own, needed = _walk_back(graph, place)
        new = {name: _copy_constant(graph, name) for name in needed if name not in constants}
        if taken and _measure([*constants.values(), *new.values()]) > LARGEST_CUT:
            break
        taken.append(place)
        constants |= new
        nodes |= {id(node): node for node in own}
    order = [node for node in graph.nodes if id(node) in nodes]
    inputs = dict.fromkeys(name for place in taken for name in place.inputs)
    outputs = [place.output for place in taken]
    made = helper.make_graph(
        order,
        "places",
        [_describe(graph, name) for name in inputs],
        [_describe(graph, name) for name in outputs],
        list(constants.values()),
        value_info=[
            _describe(graph, name) for node in order for name in node.output if name not in outputs
        ],
    )
    opsets = list(model.opset_import)
    return helper.make_model(made, opset_imports=opsets, ir_version=model.ir_version)


def draw_inputs(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Seeded random numbers for a model's inputs."""
    from onnx import helper

    random = np.random.default_rng(0)
    found = {}
    for value in model.graph.input:
        shape = [side.dim_value for side in value.type.tensor_type.shape.dim]
        kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        found[value.name] = random.standard_normal(shape, np.float32).astype(kind)
    return found


def _walk_back(graph: EditedGraph, place: Site) -> tuple[list[onnx.NodeProto], list[str]]:
    """The nodes from a place's inputs to its output, and the constants that they read."""
    nodes: dict[int, onnx.NodeProto] = {}
    constants: dict[str, None] = {}
    waiting = [place.output]
    while waiting:
        node = graph.makers[waiting.pop()]
        if id(node) in nodes:
            continue
        nodes[id(node)] = node
        for name in filter(None, node.input):
            if graph.is_constant(name):
                constants[name] = None
            elif name not in place.inputs:
                waiting.append(name)
    return list(nodes.values()), list(constants)


def _copy_constant(graph: EditedGraph, name: str) -> onnx.TensorProto:
    from onnx import numpy_helper

    values = graph.read(name)
    if values is None:
        shape = graph.shapes[name]
        random = np.random.default_rng(len(name))
        fan_in = max(1, volume(shape[1:]) if len(shape) == 4 else shape[0])
        drawn = random.standard_normal(shape, np.float32) / np.float32(fan_in) ** 0.5
        values = drawn.astype(graph.dtype)
    return numpy_helper.from_array(np.ascontiguousarray(values), name)


def _measure(tensors: Sequence[onnx.TensorProto]) -> int:
    return sum(len(tensor.raw_data) for tensor in tensors)


def _describe(graph: EditedGraph, name: str) -> onnx.ValueInfoProto:
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(graph.dtype)
    return helper.make_tensor_value_info(name, kind, list(graph.shapes[name]))
