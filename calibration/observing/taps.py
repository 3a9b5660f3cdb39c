"""A network looked into while it runs.

Small outputs are computed beside an activation, so that none leaves the engine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from echoexport.calibration.graphs.float_graph import FloatGraph, Layer
from echoexport.runtime.errors import (
    CalibrationError,
    GraphError,
)

if TYPE_CHECKING:
    import onnx


_SLICE = ("start", "end", "axis", "stride")


@dataclass(frozen=True)
class Activation:
    """A value of the graph that layers read."""

    value: str
    shape: tuple[int, ...]
    axis: int
    """The axis of its channels: 1 for a Conv, the last for a MatMul."""
    layers: tuple[str, ...]
    """Names of those that read it, in the graph's order; none for a value that only
    other nodes read."""

    @property
    def channels(self) -> int:
        """How many channels."""
        return self.shape[self.axis]


@dataclass(frozen=True)
class Tap:
    """Small outputs computed from a value, right where it is produced."""

    value: str
    outputs: tuple[tuple[str, tuple[int, ...]], ...]
    """Name and dims of each."""
    nodes: tuple[onnx.NodeProto, ...]
    """They compute the outputs from ``value`` and ``constants``."""
    constants: tuple[onnx.TensorProto, ...]


def find_activations(
    graph: FloatGraph, values: Iterable[str] | None = None
) -> dict[str, Activation]:
    """Activations by value name: those that the graph's layers read, or ``values`` instead.

    They come in the graph's order. ``values`` may name others too, such as what a
    residual Add takes; channels are then on axis 1 of four or five dimensions and on
    the last of fewer.

    Raises:
        CalibrationError: the graph has no such value.
        GraphError: the graph does not say an activation's shape.
    """
    shapes = {
        info.name: tuple(side.dim_value for side in info.type.tensor_type.shape.dim)
        for info in (*graph.model.graph.input, *graph.model.graph.value_info)
    }
    readers: dict[str, list[Layer]] = {}
    for layer in graph.layers.values():
        readers.setdefault(layer.value, []).append(layer)
    produced = {output for node in graph.model.graph.node for output in node.output} | set(shapes)
    wanted = list(readers) if values is None else list(dict.fromkeys(values))
    if unknown := [value for value in wanted if value not in produced]:
        raise CalibrationError(f"{graph.name}: no value is called {unknown[0]!r}")
    found = {}
    for value in wanted:
        shape = shapes.get(value, ())
        if not shape or min(shape) < 1:
            raise GraphError(
                f"{graph.path}: the shape of {value!r} is not known; export the bundle again"
            )
        found[value] = _describe_activation(value, shape, readers.get(value, []))
    return found


def _describe_activation(
    value: str, shape: tuple[int, ...], readers: Sequence[Layer]
) -> Activation:
    second = readers[0].op == "Conv" if readers else len(shape) > 3
    names = tuple(layer.name for layer in readers)
    return Activation(value, shape, 1 if second else len(shape) - 1, names)


def tap_maxima(activation: Activation) -> Tap:
    """``VALUE.maxima``, (channels,), and ``VALUE.sum``, (), of absolute values.

    The sum is there for what is not finite: a maximum may step over a NaN, a sum does
    not.
    """
    from onnx import helper

    stem = activation.value
    others = [axis for axis in range(len(activation.shape)) if axis != activation.axis]
    absolute = f"{stem}.tap.absolute"
    maxima = f"{stem}.maxima"
    total = f"{stem}.sum"
    nodes = (
        helper.make_node("Abs", [stem], [absolute], name=absolute),
        helper.make_node(
            "ReduceMax", [absolute, f"{stem}.tap.others"], [maxima], name=maxima, keepdims=0
        ),
        helper.make_node("ReduceSum", [absolute], [total], name=total, keepdims=0),
    )
    outputs = ((maxima, (activation.channels,)), (total, ()))
    return Tap(stem, outputs, nodes, _store(stem, {"others": np.array(others, np.int64)}))


def tap_histogram(
    activation: Activation,
    *,
    amax: float,
    bins: int,
    most: int,
    factors: NDArray[np.float32] | None = None,
) -> Tap:
    """``VALUE.histogram``, (bins,) float32: counts of absolute values.

    Bins are equal, from 0 to ``amax``, and the last is open. An activation of more than
    ``most`` values is counted at every n-th of them, n coprime with its size, so that
    every channel and place has its turn. ``factors`` divide the channels (the last
    axis) before.
    """
    stem = activation.value
    size = math.prod(activation.shape)
    stride = _find_stride(size, most=most)
    constants: dict[str, NDArray[Any]] = {
        "flat": np.array([-1], np.int64),
        **_slice_first_axis(size, stride),
        "to_bin": np.array(bins / amax, np.float32),
        "last": np.array(bins - 1, np.float32),
        "none": np.zeros(bins, np.float32),
        "count": np.array([-(-size // stride)], np.int64),
    }
    if factors is not None:
        constants["factors"] = factors.astype(np.float32)
    nodes = _count_values(stem, divided=factors is not None)
    return Tap(stem, ((f"{stem}.histogram", (bins,)),), nodes, _store(stem, constants))


def _count_values(stem: str, *, divided: bool) -> tuple[onnx.NodeProto, ...]:
    """Nodes from a value to its histogram; their constants are those of ``tap_histogram``."""
    from onnx import TensorProto, helper, numpy_helper

    steps: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
        *([("Div", ("factors",), {})] if divided else []),
        ("Reshape", ("flat",), {}),
        ("Slice", _SLICE, {}),
        ("Abs", (), {}),
        ("Mul", ("to_bin",), {}),
        ("Min", ("last",), {}),
        ("Cast", (), {"to": TensorProto.INT64}),
    ]
    nodes = []
    last = stem
    for index, (op, others, attributes) in enumerate(steps):
        output = f"{stem}.tap.{index}"
        inputs = [last, *(f"{stem}.tap.{name}" for name in others)]
        nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        last = output
    ones = f"{stem}.tap.ones"
    one = numpy_helper.from_array(np.ones(1, np.float32))
    count = [f"{stem}.tap.count"]
    nodes.append(helper.make_node("ConstantOfShape", count, [ones], name=ones, value=one))
    output = f"{stem}.histogram"
    inputs = [f"{stem}.tap.none", last, ones]
    add: dict[str, Any] = {"axis": 0, "reduction": "add"}
    nodes.append(helper.make_node("ScatterElements", inputs, [output], name=output, **add))
    return tuple(nodes)


def tap_rows(activation: Activation, *, most: int) -> Tap:
    """``VALUE.rows``, (at most ``most``, channels): vectors along the last axis.

    They are spread evenly over the activation.
    """
    from onnx import helper

    stem = activation.value
    channels = activation.shape[-1]
    total = math.prod(activation.shape[:-1])
    stride = _find_stride(total, most=most)
    constants = {
        "matrix": np.array([total, channels], np.int64),
        **_slice_first_axis(total, stride),
    }
    matrix = f"{stem}.tap.rows"
    output = f"{stem}.rows"
    between = [f"{stem}.tap.{name}" for name in _SLICE]
    nodes = (
        helper.make_node("Reshape", [stem, f"{stem}.tap.matrix"], [matrix], name=matrix),
        helper.make_node("Slice", [matrix, *between], [output], name=output),
    )
    outputs = ((output, (-(-total // stride), channels)),)
    return Tap(stem, outputs, nodes, _store(stem, constants))


def _slice_first_axis(size: int, stride: int) -> dict[str, NDArray[np.int64]]:
    """A Slice's inputs, by name in its order: every ``stride``-th place of ``size``."""
    numbers = (0, size, 0, stride)
    return {
        name: np.array([number], np.int64) for name, number in zip(_SLICE, numbers, strict=True)
    }


def _store(stem: str, constants: Mapping[str, NDArray[Any]]) -> tuple[onnx.TensorProto, ...]:
    """A tap's constants, each called ``VALUE.tap.NAME``."""
    from onnx import numpy_helper

    return tuple(
        numpy_helper.from_array(array, f"{stem}.tap.{name}") for name, array in constants.items()
    )


def add_taps(graph: FloatGraph, taps: Iterable[Tap]) -> onnx.ModelProto:
    """A copy of the graph whose only outputs are those of the taps; weights stay where they are."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    nodes = list(model.graph.node)
    by_value: dict[str, list[onnx.NodeProto]] = {}
    del model.graph.output[:]
    for tap in taps:
        by_value.setdefault(tap.value, []).extend(tap.nodes)
        model.graph.initializer.extend(tap.constants)
        model.graph.output.extend(
            helper.make_tensor_value_info(n, TensorProto.FLOAT, d) for n, d in tap.outputs
        )
    # right behind the producer: an engine that goes by this order then holds no
    # activation for its tap alone
    ordered = [node for value in graph.model.graph.input for node in by_value.get(value.name, ())]
    for node in nodes:
        ordered += [node, *(piece for output in node.output for piece in by_value.get(output, ()))]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def _find_stride(size: int, *, most: int) -> int:
    """The step that leaves at most ``most`` of ``size``.

    It is coprime with the size, so that it falls in step with no axis.
    """
    stride = max(1, -(-size // most))
    while math.gcd(stride, size) > 1:
        stride += 1
    return stride
