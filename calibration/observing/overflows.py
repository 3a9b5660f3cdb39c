"""Where a network leaves fp16's range on real inputs, and how to keep those places in fp32."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.graphs.float_islands import keep_float32, list_float32
from echoexport.calibration.observing.tapped_network import TappedNetwork
from echoexport.calibration.observing.taps import Tap
from echoexport.calibration.sample import Sample
from echoexport.runtime.errors import CalibrationError, GraphError
from echoexport.runtime.progress import Progress

if TYPE_CHECKING:
    import onnx

__all__ = [
    "Overflow",
    "find_overflows",
    "find_settleable",
    "keep_float32",
    "list_float32",
    "settle_half",
    "widen_half",
]

LARGEST = 65504.0  # of fp16 (IEEE 754 binary16)
SMALLEST_NORMAL = 2.0**-14  # below it digits go, below 2**-24 everything

# Other portraits and voices reach further than the samples did.
SAFETY = 4.0

# fp16 numbers of 512 to 1024 lie 0.5 apart: a softmax of such is off by a factor of
# e**0.25.
SOFTMAX_LARGEST = 512.0

# A variance below the epsilon that is added to it may vanish; one that is not far below
# it may not.
_EPSILON_SHARE = 1 / 64

_NORMS = ("InstanceNormalization", "LayerNormalization")
_SAME_VALUES = ("Reshape", "Transpose")
_ELEMENTWISE = (*_SAME_VALUES, "Add", "Div", "Mul", "Sub", "Where")


@dataclass(frozen=True)
class Overflow:
    """A node that fp16 would spoil."""

    node: str
    op: str
    kind: str
    """Why: "range" (it reads or gives ``value``, which is too large), "squares" (the
    sum of squares that a norm takes of ``value``), "softmax" (``value`` is, or leads
    to, a softmax's input with too few digits left), "underflow" (a norm's mean square
    or a divisor that fp16 would round to nothing) or "constant" (``value`` is one that
    fp16 cannot hold)."""
    value: str
    peak: float
    """The figure, largest over all samples; the smallest for "underflow"."""


def find_overflows(
    graph: FloatGraph, samples: Iterable[Sample], *, report: Progress | None = None
) -> tuple[Overflow, ...]:
    """Run the fp32 graph and name every node that fp16 would spoil, in the graph's order.

    A figure counts from a quarter of fp16's largest on. Each node is named once, with
    the first reason found. Memory does not grow with the samples. ``report`` gets what
    is done, how many samples are behind, and 0 (how many there are is not known).

    Raises:
        CalibrationError: no samples, or a value that is not finite in fp32; names
            value, portrait and timestep.
        BackendError, MissingPackageError: no engine for the graph.
    """
    view = _View(graph)
    network = TappedNetwork(graph, view.taps())
    largest: dict[str, float] = {}
    smallest: dict[str, float] = {}
    count = 0
    for sample in samples:
        found = {name: float(value) for name, value in network(sample.inputs).items()}
        _require_finite(found, view, sample)
        for name, value in found.items():
            largest[name] = max(value, largest.get(name, 0.0))
            smallest[name] = min(value, smallest.get(name, math.inf))
        count += 1
        if report is not None:
            report(f"{graph.name}: looking for overflows", count, 0)
    if not count:
        raise CalibrationError(f"{graph.name}: no samples to look for overflows with")
    return view.judge(largest, smallest)


def settle_half(
    graph: FloatGraph,
    model: onnx.ModelProto,
    samples: Iterable[Sample],
    *,
    report: Progress | None = None,
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The fp16 trace ``model`` with what overflows on the samples kept in fp32.

    ``graph`` is the same network in fp32. The names of the nodes kept stand beside it,
    in the graph's order. The lint wants ``list_float32`` of it.

    Raises:
        GraphError: an input or output of the network is itself beyond fp16, or the two
            graphs are not of one network.
        CalibrationError, BackendError: as ``find_overflows``.
    """
    nodes = tuple(found.node for found in find_settleable(graph, samples, report=report))
    return widen_half(graph, model, nodes), nodes


def find_settleable(
    graph: FloatGraph, samples: Iterable[Sample], *, report: Progress | None = None
) -> tuple[Overflow, ...]:
    """``find_overflows``, of a network that fp32 inside an fp16 graph can mend.

    Raises:
        GraphError: an input or output of the network is itself beyond fp16.
        CalibrationError, BackendError: as ``find_overflows``.
    """
    overflows = find_overflows(graph, samples, report=report)
    ends = {value.name for value in (*graph.model.graph.input, *graph.model.graph.output)}
    for found in overflows:
        if found.kind == "range" and found.value in ends and found.peak > LARGEST:
            raise GraphError(
                f"{graph.name}: {found.value!r} reaches {found.peak:.3g}, more than fp16's "
                f"{LARGEST:.0f}, where it "
                "enters or leaves the network; build with --precision fp32"
            )
    return overflows


def widen_half(
    graph: FloatGraph, model: onnx.ModelProto, nodes: Collection[str]
) -> onnx.ModelProto:
    """``keep_float32`` with small constants as ``graph``, the same network in fp32, has them.

    A constant that was changed since, by smoothing, stays as it is.

    Raises:
        GraphError: as ``keep_float32``.
    """
    from onnx import numpy_helper

    stored = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.data_location != tensor.EXTERNAL
    }
    constants = {}
    for name, values in _read_small_constants(graph).items():
        with np.errstate(over="ignore"):
            rounded = values.astype(np.float16)
        if name in stored and np.array_equal(stored[name], rounded, equal_nan=True):
            constants[name] = values
    return keep_float32(model, nodes, constants=constants)


class _View:
    """What is looked at in one graph, and what it means."""

    def __init__(self, graph: FloatGraph) -> None:
        self._graph = graph
        self._nodes = list(graph.model.graph.node)
        self._constants = _read_small_constants(graph)
        self.shapes = _find_float_values(graph.model)
        self.producers = {name: node for node in self._nodes for name in node.output}
        self._source: dict[str, str] = {}
        for node in self._nodes:
            if node.op_type in _SAME_VALUES:
                self._source[node.output[0]] = self._source.get(node.input[0], node.input[0])

    def taps(self) -> Iterator[Tap]:
        """Peaks of all values, sums of outputs, squares that norms sum, and least divisors.

        A sum shows a NaN, which a peak may step over.
        """
        for value in self.shapes:
            if value not in self._source:
                yield _tap(value, "peak", [("Abs", None), ("ReduceMax", None)])
        for output in self._graph.model.graph.output:
            yield _tap(output.name, "sum", [("ReduceSum", None)])
        least: list[tuple[str, list[int] | None]] = [("Abs", None), ("ReduceMin", None)]
        for node in self._nodes:
            if node.op_type in _NORMS:
                squares = ("ReduceSumSquare", self._axes(node))
                value = node.input[0]
                yield _tap(value, f"squares.{node.name}", [squares, ("ReduceMax", None)])
                yield _tap(value, f"least.{node.name}", [squares, ("ReduceMin", None)])
            elif node.op_type == "Div" and node.input[1] in self.shapes:
                yield _tap(node.input[1], f"least.{node.name}", least)

    def judge(self, largest: dict[str, float], smallest: dict[str, float]) -> tuple[Overflow, ...]:
        """The nodes to name, in the graph's order, each once."""
        found: dict[str, Overflow] = {}
        for node in self._nodes:
            for each in self._judge_node(node, largest, smallest):
                found.setdefault(each.node, each)
        order = {node.name: index for index, node in enumerate(self._nodes)}
        return tuple(sorted(found.values(), key=lambda each: order[each.node]))

    def _judge_node(
        self, node: onnx.NodeProto, largest: dict[str, float], smallest: dict[str, float]
    ) -> Iterator[Overflow]:
        yield from self._judge_values(node, largest)
        if node.op_type in _NORMS:
            yield from self._judge_norm(node, largest, smallest)
        elif node.op_type == "Div":
            least = smallest.get(f"{node.input[1]}.least.{node.name}", 1)
            if 0 < least < SMALLEST_NORMAL:
                yield Overflow(node.name, "Div", "underflow", node.input[1], least)
        elif node.op_type == "Softmax":
            peak = self._peak(node.input[0], largest)
            if peak > SOFTMAX_LARGEST:
                yield Overflow(node.name, "Softmax", "softmax", node.input[0], peak)
                yield from self._judge_way(node.input[0], peak)

    def _judge_values(self, node: onnx.NodeProto, largest: dict[str, float]) -> Iterator[Overflow]:
        for value in (*node.input, *node.output):
            if value in self.shapes and (peak := self._peak(value, largest)) > LARGEST / SAFETY:
                yield Overflow(node.name, node.op_type, "range", value, peak)
            if value in self._constants and _is_spoiled(self._constants[value]):
                peak = float(np.abs(self._constants[value]).max())
                yield Overflow(node.name, node.op_type, "constant", value, peak)

    def _judge_norm(
        self, node: onnx.NodeProto, largest: dict[str, float], smallest: dict[str, float]
    ) -> Iterator[Overflow]:
        value = node.input[0]
        squares = largest[f"{value}.squares.{node.name}"]
        if squares > LARGEST / SAFETY:
            yield Overflow(node.name, node.op_type, "squares", value, squares)
        least = smallest[f"{value}.least.{node.name}"] / self._count(node)
        if max(_epsilon(node) * _EPSILON_SHARE, 0) < least < SMALLEST_NORMAL:
            yield Overflow(node.name, node.op_type, "underflow", value, least)

    def _judge_way(self, value: str, peak: float) -> Iterator[Overflow]:
        """What gave a softmax its input, back to the product.

        Digits lost on the way do not come back.
        """
        node = self.producers.get(value)
        while node is not None:
            yield Overflow(node.name, node.op_type, "softmax", value, peak)
            before = [name for name in node.input if name in self.shapes]
            node = (
                self.producers.get(before[0]) if before and node.op_type in _ELEMENTWISE else None
            )

    def _peak(self, value: str, largest: dict[str, float]) -> float:
        # a weight that is only reshaped has none
        return largest.get(f"{self._source.get(value, value)}.peak", 0.0)

    def _axes(self, node: onnx.NodeProto) -> list[int]:
        rank = len(self.shapes[node.input[0]])
        given = next((a.i for a in node.attribute if a.name == "axis"), -1)
        return list(range(2 if node.op_type == "InstanceNormalization" else given % rank, rank))

    def _count(self, node: onnx.NodeProto) -> int:
        return math.prod(self.shapes[node.input[0]][axis] for axis in self._axes(node))


def _tap(value: str, what: str, steps: list[tuple[str, list[int] | None]]) -> Tap:
    """``VALUE.WHAT``, a scalar that operations one after the other give.

    Reductions are over all axes where none are named.
    """
    from onnx import helper, numpy_helper

    nodes = []
    constants = []
    last = value
    for index, (op, axes) in enumerate(steps):
        output = f"{value}.{what}" if index == len(steps) - 1 else f"{value}.{what}.{index}"
        inputs = [last]
        attributes: dict[str, Any] = {} if op == "Abs" else {"keepdims": 0}
        if axes is not None:
            constants.append(numpy_helper.from_array(np.array(axes, np.int64), f"{output}.axes"))
            inputs.append(f"{output}.axes")
        nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        last = output
    return Tap(value, ((last, ()),), tuple(nodes), tuple(constants))


def _require_finite(found: dict[str, float], view: _View, sample: Sample) -> None:
    if all(math.isfinite(value) for value in found.values()):
        return
    order = [f"{value}.{what}" for value in view.shapes for what in ("peak", "sum")]
    name = next((n for n in order if not math.isfinite(found.get(n, 0.0))), next(iter(found)))
    when = "" if sample.timestep is None else f", timestep {sample.timestep}"
    raise CalibrationError(
        f"{sample.network}: {name.rpartition('.')[0]!r} is not finite in fp32 "
        f"({sample.portrait}, {sample.voice}{when})"
    )


def _find_float_values(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of the fp32 values that are no constants, in the graph's order."""
    from onnx import TensorProto, shape_inference

    graph = shape_inference.infer_shapes(model).graph
    shapes = {
        info.name: tuple(side.dim_value for side in info.type.tensor_type.shape.dim)
        for info in (*graph.input, *graph.value_info, *graph.output)
        if info.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    order = [info.name for info in graph.input] + [
        name for node in graph.node for name in node.output
    ]
    return {name: shapes[name] for name in order if name in shapes}


def _read_small_constants(graph: FloatGraph) -> dict[str, NDArray[np.float32]]:
    """The fp32 constants that lie in the graph itself.

    Weights, which lie beside it, are looked at as they are written.
    """
    from onnx import TensorProto, numpy_helper

    return {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and tensor.data_location != TensorProto.EXTERNAL
    }


def _is_spoiled(constant: NDArray[np.float32]) -> bool:
    """Whether fp16 makes infinity or nothing of any of it."""
    sizes = np.abs(constant[constant != 0])
    return bool(((sizes > LARGEST) | (sizes < 2.0**-24)).any())


def _epsilon(node: onnx.NodeProto) -> float:
    return next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
