"""Activations divided channel by channel at no cost.

Constants of what produces an activation take the division, the weights behind it the
product.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.plan import Smoothing
from echoexport.runtime.errors import CalibrationError
from echoexport.runtime.files.aside import refuse_briefly, replaced_file

if TYPE_CHECKING:
    import onnx

Edit = Callable[[NDArray[np.floating]], NDArray[np.floating]]
"""From a constant's values to its new ones; shape and dtype stay."""


@dataclass(frozen=True)
class Divided:
    """A constant that is divided along its last axis."""

    constant: str
    node: str
    index: int
    """The constant is this input of ``node``."""
    start: int = 0
    """The channel that the division begins at."""


@dataclass(frozen=True)
class Foldable:
    """An activation that can be smoothed."""

    value: str
    divided: tuple[Divided, ...]
    """The constants that take the division."""
    layers: tuple[str, ...]
    """The linears that read it."""


@dataclass(frozen=True)
class FoldedGraph:
    """A smoothing as changes of a graph's constants.

    Weights are changed one at a time, when they are read.
    """

    weight_edits: Mapping[str, Edit] = field(default_factory=dict)
    """By the constant's name."""
    copies: Mapping[str, str] = field(default_factory=dict)
    """New constants, by name, each an edited copy of the one it names, as that is read
    elsewhere too."""
    inputs: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """Which (node, index of its input) reads such a copy."""

    def rewire(self, model: onnx.ModelProto) -> None:
        """Let the nodes of a copy of the graph read the new constants; the caller adds these."""
        for node in model.graph.node:
            for index in range(len(node.input)):
                node.input[index] = self.inputs.get((node.name, index), node.input[index])


class _Wiring:
    """Who produces a value and who reads it."""

    def __init__(self, graph: FloatGraph) -> None:
        self.graph = graph
        nodes = graph.model.graph.node
        self.producer = {output: node for node in nodes for output in node.output}
        self.readers = Counter(name for node in nodes for name in node.input)
        self.readers.update(output.name for output in graph.model.graph.output)
        self.dims = {tensor.name: tuple(tensor.dims) for tensor in graph.model.graph.initializer}

    def find_only(self, value: str, op: str) -> onnx.NodeProto | None:
        """The node of this kind that produces ``value``, where one reader only has it."""
        node = self.producer.get(value)
        return (
            node if node is not None and node.op_type == op and self.readers[value] == 1 else None
        )


def find_foldable(graph: FloatGraph) -> dict[str, Foldable]:
    """Activations that only linears read and whose producer takes a division exactly.

    By value name, in the graph's order. Such a producer is a LayerNormalization (gain
    and bias divided), one with a constant table added (the table too), or h * gelu(g)
    of both halves of a linear (the output channels of its h half).
    """
    wiring = _Wiring(graph)
    readers: dict[str, list[str]] = {}
    for layer in graph.layers.values():
        readers.setdefault(layer.value, []).append(layer.name)
    found = {}
    for value, layers in readers.items():
        if any(graph.layers[name].op != "MatMul" for name in layers) or wiring.readers[
            value
        ] != len(layers):
            continue
        node = wiring.producer.get(value)
        width = graph.layers[layers[0]].shape[0]
        if node is not None and (divided := _find_divided(wiring, node, width)):
            found[value] = Foldable(value, divided, tuple(layers))
    return found


def fold_smoothing(graph: FloatGraph, smoothing: Mapping[str, Smoothing]) -> FoldedGraph:
    """The changes that make the graph compute the same with smoothed activations.

    Raises:
        CalibrationError: an activation that cannot be smoothed, or factors of another
            number of channels.
    """
    foldable = find_foldable(graph)
    wiring = _Wiring(graph)
    steps: dict[str, list[Edit]] = {}
    copies: dict[str, str] = {}
    inputs: dict[tuple[str, int], str] = {}
    for value, entry in smoothing.items():
        if value not in foldable:
            raise CalibrationError(
                f"{graph.name}: smoothing of {value!r}: what produces it takes no division; "
                "leave it out"
            )
        factors = np.asarray(entry.factors, np.float32)
        width = graph.layers[foldable[value].layers[0]].shape[0]
        if factors.shape != (width,):
            raise CalibrationError(
                f"{graph.name}: smoothing of {value!r}: {len(factors)} factors for {width} channels"
            )
        for divided in foldable[value].divided:
            name = divided.constant
            if wiring.readers[name] > 1:
                name = f"{divided.constant}.for.{value}"
                copies[name] = divided.constant
                inputs[(divided.node, divided.index)] = name
            steps.setdefault(name, []).append(_divide_from(factors, divided.start))
        for layer in foldable[value].layers:
            steps.setdefault(graph.layers[layer].weight, []).append(_multiply_rows(factors))
    return FoldedGraph({name: _chain(edits) for name, edits in steps.items()}, copies, inputs)


def apply_smoothing(
    graph: FloatGraph, smoothing: Mapping[str, Smoothing], output: Path
) -> FloatGraph:
    """Write the smoothed network, aside and renamed.

    ``output`` (.onnx) is its graph; its weights (.bin) lie beside that.

    Raises:
        CalibrationError: as ``fold_smoothing``.
        OutputError: the files cannot be written.
    """
    import onnx

    folded = fold_smoothing(graph, smoothing)
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    folded.rewire(model)
    old = graph.path.with_suffix(".bin")
    weights = output.with_suffix(".bin")
    try:
        with (
            replaced_file(output) as aside,
            replaced_file(weights) if old.exists() else nullcontext(weights) as part,
        ):
            if old.exists():
                shutil.copyfile(old, part)
            _edit_constants(graph, folded, model, weights=part)
            for tensor in model.graph.initializer:
                for entry in tensor.external_data:
                    entry.value = weights.name if entry.key == "location" else entry.value
            aside.write_bytes(model.SerializeToString())
    except OSError as error:
        raise refuse_briefly(output, error) from error
    return FloatGraph(output)


def _edit_constants(
    graph: FloatGraph, folded: FoldedGraph, model: onnx.ModelProto, *, weights: Path
) -> None:
    """Edit what lies in the model there, what lies in the file ``weights`` in the file."""
    from onnx import TensorProto, numpy_helper

    for tensor in model.graph.initializer:
        edit = folded.weight_edits.get(tensor.name)
        if edit is None:
            continue
        edited = _edit(graph, tensor.name, edit)
        if tensor.data_location == TensorProto.EXTERNAL:
            offset = next(
                int(entry.value) for entry in tensor.external_data if entry.key == "offset"
            )
            _write_at(weights, offset, edited)
        else:
            tensor.CopyFrom(numpy_helper.from_array(edited, tensor.name))
    for name, source in folded.copies.items():  # gains, biases and tables: small
        edited = _edit(graph, source, folded.weight_edits[name])
        model.graph.initializer.append(numpy_helper.from_array(edited, name))


def _find_divided(wiring: _Wiring, node: onnx.NodeProto, width: int) -> tuple[Divided, ...]:
    if node.op_type == "LayerNormalization":
        return _divide_norm(wiring, node, width)
    if node.op_type == "Add":
        return _divide_norm_and_table(wiring, node, width)
    if node.op_type == "Mul":
        return _divide_gated(wiring, node, width)
    return ()


def _divide_norm(wiring: _Wiring, node: onnx.NodeProto, width: int) -> tuple[Divided, ...]:
    constants = [name for name in node.input[1:] if name]
    if not constants or any(wiring.dims.get(name) != (width,) for name in constants):
        return ()
    return tuple(
        Divided(name, node.name, index) for index, name in enumerate(node.input) if index and name
    )


def _divide_norm_and_table(
    wiring: _Wiring, node: onnx.NodeProto, width: int
) -> tuple[Divided, ...]:
    for index, other in ((0, 1), (1, 0)):
        norm = wiring.find_only(node.input[index], "LayerNormalization")
        divided = _divide_norm(wiring, norm, width) if norm is not None else ()
        if not divided:
            continue
        table = node.input[other]
        reader = node
        place = other
        if (cut := wiring.find_only(table, "Slice")) is not None:
            table = cut.input[0]
            reader = cut
            place = 0
        if wiring.dims.get(table, ())[-1:] == (width,):
            return (*divided, Divided(table, reader.name, place))
    return ()


def _divide_gated(wiring: _Wiring, node: onnx.NodeProto, width: int) -> tuple[Divided, ...]:
    """What to divide for h * gelu(g), where a linear gives h and g side by side.

    Only h is divided, as the product is linear in it.
    """
    for index, other in ((0, 1), (1, 0)):
        half = wiring.find_only(node.input[index], "Slice")
        gate = wiring.find_only(node.input[other], "Gelu")
        gating = wiring.find_only(gate.input[0], "Slice") if gate is not None else None
        if half is None or gating is None or half.input[0] != gating.input[0]:
            continue
        source = half.input[0]
        if wiring.readers[source] != 2 or _find_cut(wiring, gating, 2 * width) == _find_cut(
            wiring, half, 2 * width
        ):
            return ()
        cut = _find_cut(wiring, half, 2 * width)
        return (
            _divide_linear(wiring, source, cut)
            if cut is not None and cut.stop - cut.start == width
            else ()
        )
    return ()


def _divide_linear(wiring: _Wiring, source: str, cut: range) -> tuple[Divided, ...]:
    """Weight and bias of the linear that gives ``source``.

    Its output is twice as wide as ``cut``.
    """
    node = wiring.producer.get(source)
    divided = []
    if node is not None and node.op_type == "Add":
        for index, other in ((0, 1), (1, 0)):
            if wiring.dims.get(node.input[other]) == (2 * len(cut),):
                divided.append(Divided(node.input[other], node.name, other, cut.start))
                node = wiring.find_only(node.input[index], "MatMul")
                break
    if node is None or node.op_type != "MatMul":
        return ()
    layer = next((one for one in wiring.graph.layers.values() if one.node == node.name), None)
    if layer is None or layer.shape[1] != 2 * len(cut):
        return ()
    return (Divided(layer.weight, node.name, 1, cut.start), *divided)


def _find_cut(wiring: _Wiring, node: onnx.NodeProto, width: int) -> range | None:
    """The channels that a Slice of the last axis takes of ``width``; None for any other slice."""
    if any(name not in wiring.dims for name in node.input[1:]) or len(node.input) < 4:
        return None
    numbers = [
        wiring.graph.read(name).reshape(-1).astype(np.int64).tolist() for name in node.input[1:]
    ]
    starts, ends, axes = numbers[:3]
    rank = next(
        (
            len(info.type.tensor_type.shape.dim)
            for info in wiring.graph.model.graph.value_info
            if info.name == node.input[0]
        ),
        0,
    )
    if len(axes) != 1 or axes[0] not in (-1, rank - 1) or (len(numbers) > 3 and numbers[3] != [1]):
        return None
    return range(*slice(starts[0], ends[0]).indices(width))


def _divide_from(factors: NDArray[np.float32], start: int) -> Edit:
    def edit(values: NDArray[np.floating]) -> NDArray[np.floating]:
        result = np.array(values)
        result[..., start : start + len(factors)] /= factors
        return result

    return edit


def _multiply_rows(factors: NDArray[np.float32]) -> Edit:
    return lambda values: values * factors[:, None]


def _chain(edits: list[Edit]) -> Edit:
    def edit(values: NDArray[np.floating]) -> NDArray[np.floating]:
        for one in edits:
            values = one(values)
        return values

    return edit


def _edit(graph: FloatGraph, name: str, edit: Edit) -> NDArray[np.floating]:
    """A constant's new values, computed in float32, in the type it has.

    Raises:
        CalibrationError: they do not fit that type.
    """
    values = graph.read(name)
    edited: NDArray[np.floating] = edit(np.asarray(values, np.float32))
    largest = float(np.abs(edited).max(initial=0.0))
    if values.dtype == np.float16 and largest > float(np.finfo(np.float16).max):
        raise CalibrationError(
            f"{graph.name}: smoothing takes {name!r} to {largest:.3g}, more than float16 "
            "holds; leave the "
            "smoothing of what it produces out of the plan"
        )
    return np.ascontiguousarray(edited.astype(values.dtype))


def _write_at(path: Path, offset: int, values: NDArray[np.floating]) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(values.tobytes())
