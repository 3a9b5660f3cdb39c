"""Q/DQ in a graph: which nodes a plan adds, and where.

One arrangement serves ONNX Runtime, OpenVINO and TensorRT: a pair on what an int8 layer
reads, nothing on what it gives; weights as int8 constants behind a DequantizeLinear per
output channel; biases in float; every zero point 0. Whoever writes the weights fills
them and their scales in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from echoexport.calibration.graphs.float_graph import FloatGraph, Layer
from echoexport.calibration.plan import LEVELS, NetworkPlan
from echoexport.runtime.errors import CalibrationError, UnknownNameError

if TYPE_CHECKING:
    import onnx

SCALE = ".int8_scale"
_INT8 = ".int8"
DEQUANTIZED = ".dequantized"
_ZERO = "activations.int8_zero"


@dataclass(frozen=True)
class Skip:
    """The value that a residual Add takes past an int8 layer.

    With Q/DQ on it TensorRT can fuse layer and Add.
    """

    node: str
    value: str


def to_scale(amax: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """The step of symmetric int8 in the graph's own type: amax / 127, and 1 for an amax of 0.

    It is never a subnormal: engines flush those to 0. In fp16 they begin at 6e-5, so a
    channel of values below 8e-3 gets fewer levels.
    """
    largest = np.asarray(amax, np.float64)
    step = np.maximum(largest / LEVELS, float(np.finfo(dtype).tiny))
    return np.asarray(np.where(largest > 0, step, 1.0).astype(dtype))


def find_skips(graph: FloatGraph, names: frozenset[str]) -> Iterator[Skip]:
    """The residual Adds behind these layers, past a bias of the layer's own."""
    constants = set(graph.initializers)
    producers = {output: node for node in graph.model.graph.node for output in node.output}
    layers = {layer.output for layer in graph.layers.values() if layer.name in names}

    def ends_layer(value: str) -> bool:
        node = producers.get(value)
        if (
            node is not None
            and node.op_type == "Add"
            and any(name in constants for name in node.input)
        ):
            value = next((name for name in node.input if name not in constants), value)
        return value in layers

    for node in graph.model.graph.node:
        if node.op_type != "Add" or any(name in constants for name in node.input):
            continue
        ends = [ends_layer(value) for value in node.input]
        if any(ends):
            # of two layers (a convolution and its shortcut) the first stays, as
            # TensorRT fuses one of them
            yield Skip(node.name, node.input[0 if not ends[0] else 1])


def add_qdq(graph: FloatGraph, plan: NetworkPlan) -> onnx.ModelProto:
    """A copy of the graph with the plan's nodes.

    An int8 weight keeps its name and gets ``NAME.int8_scale`` beside it. The scales of
    weights are not among the constants yet, and the weights are still said to be float.

    Raises:
        UnknownNameError: the plan names a layer that the graph does not have.
        CalibrationError: an int8 layer without the range of what it reads.
    """
    import onnx

    _check_layers(graph, plan)
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    writer = _Writer(graph)
    modes = {
        graph.layers[name].node: (graph.layers[name], entry) for name, entry in plan.layers.items()
    }
    int8 = frozenset(name for name, entry in plan.layers.items() if entry.mode == "int8")
    skips = {skip.node: skip.value for skip in find_skips(graph, int8) if skip.value in plan.skips}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.name in modes:
            layer, entry = modes[node.name]
            nodes += writer.wrap_layer(node, layer, mode=entry.mode, amax=entry.amax)
        if node.name in skips:
            value = skips[node.name]
            place = list(node.input).index(value)
            amax = plan.skips[value]
            nodes += writer.wrap_value(node, place, amax=amax, dtype=writer.float_type)
        nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(writer.constants)
    return model


def _check_layers(graph: FloatGraph, plan: NetworkPlan) -> None:
    for name, entry in plan.layers.items():
        if name not in graph.layers:
            raise UnknownNameError(f"layer of {graph.name}", name, known=graph.layers)
        if entry.mode == "int8" and not (entry.amax or 0) > 0:
            raise CalibrationError(
                f"{graph.name}: layer {name} is to be int8 but has no range (amax {entry.amax})"
            )


def quantized_weights(graph: FloatGraph, plan: NetworkPlan) -> Mapping[str, Layer]:
    """The layers whose weights a plan stores as int8, by the weight's name."""
    chosen = [graph.layers[name] for name, entry in plan.layers.items() if entry.mode != "float"]
    return {layer.weight: layer for layer in chosen}


class _Writer:
    """Makes the nodes; layers that read one value share its pair."""

    def __init__(self, graph: FloatGraph) -> None:
        self.constants: list[onnx.TensorProto] = []
        self._graph = graph
        self._types = {tensor.name: tensor.data_type for tensor in graph.model.graph.initializer}
        self._pairs: dict[tuple[str, bytes], str] = {}
        self._count: dict[str, int] = {}

    @property
    def float_type(self) -> np.dtype[Any]:
        """The graph's: that of its first layer's weight."""
        return self._type_of(next(iter(self._graph.layers.values())).weight)

    def wrap_layer(
        self, node: onnx.NodeProto, layer: Layer, *, mode: str, amax: float | None
    ) -> list[onnx.NodeProto]:
        """What comes before a layer's node, whose inputs are renamed in place."""
        if mode == "float":
            return []
        nodes = []
        if mode == "int8" and amax is not None:
            nodes += self.wrap_value(node, 0, amax=amax, dtype=self._type_of(layer.weight))
        nodes.append(
            self._node(
                "DequantizeLinear",
                [layer.weight, layer.weight + SCALE],
                layer.weight + DEQUANTIZED,
                axis=layer.channel_axis,
            )
        )
        node.input[1] = layer.weight + DEQUANTIZED
        return nodes

    def wrap_value(
        self, node: onnx.NodeProto, place: int, *, amax: float, dtype: np.dtype[Any]
    ) -> list[onnx.NodeProto]:
        """A pair on one input of a node, unless there is one for that value and range."""
        from onnx import numpy_helper

        value = node.input[place]
        scale = to_scale(amax, dtype)
        key = (value, scale.tobytes())
        if key in self._pairs:
            node.input[place] = self._pairs[key]
            return []
        number = self._count[value] = self._count.get(value, 0) + 1
        stem = value if number == 1 else f"{value}.{number}"
        if number == 1 and not self._pairs:
            self.constants.append(numpy_helper.from_array(np.zeros((), np.int8), _ZERO))
        self.constants.append(numpy_helper.from_array(scale, stem + SCALE))
        scaling = [stem + SCALE, _ZERO]
        node.input[place] = self._pairs[key] = stem + DEQUANTIZED
        return [
            self._node("QuantizeLinear", [value, *scaling], stem + _INT8),
            self._node("DequantizeLinear", [stem + _INT8, *scaling], stem + DEQUANTIZED),
        ]

    def _type_of(self, weight: str) -> np.dtype[Any]:
        from onnx import helper

        return np.dtype(helper.tensor_dtype_to_np_dtype(self._types[weight]))

    @staticmethod
    def _node(operator: str, inputs: list[str], output: str, **attributes: int) -> onnx.NodeProto:
        from onnx import helper

        others: dict[str, Any] = dict(attributes)
        made: onnx.NodeProto = helper.make_node(operator, inputs, [output], name=output, **others)
        return made
