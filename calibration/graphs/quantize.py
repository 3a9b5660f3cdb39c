"""The int8 form of a network: a graph with Q/DQ and the file of its weights.

Weights are written one tensor at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.graphs.folding import Edit
from echoexport.calibration.graphs.qdq_graph import (
    SCALE,
    add_qdq,
    quantized_weights,
    to_scale,
)
from echoexport.calibration.plan import LEVELS, NetworkPlan
from echoexport.runtime.contract.manifest import FileEntry
from echoexport.runtime.errors import GraphError, OutputError
from echoexport.runtime.files.aside import refuse_briefly, replaced_file

if TYPE_CHECKING:
    import onnx

_ALIGNMENT = 64


@dataclass(frozen=True)
class QuantizedFiles:
    """What was written."""

    graph: FileEntry
    weights: FileEntry
    int8_values: int
    """How many weights are stored as int8."""
    float_values: int
    """How many are stored as float."""

    @property
    def bytes(self) -> int:
        """The size of both files."""
        return self.graph.bytes + self.weights.bytes

    @property
    def int8_share(self) -> float:
        """The share of the weights that is int8, 0 to 1."""
        return self.int8_values / max(1, self.int8_values + self.float_values)


def quantize_network(
    graph: FloatGraph,
    plan: NetworkPlan,
    output: Path,
    *,
    weight_edits: Mapping[str, Edit] | None = None,
) -> QuantizedFiles:
    """Write ``output`` (``NAME.onnx``) and ``NAME.bin`` beside it, aside and renamed.

    The same plan gives the same bytes. Scales are in the graph's own type, float32 or
    float16. The largest tensor sets the memory needed. ``weight_edits``, by constant,
    are applied before it is quantized or written.

    Raises:
        UnknownNameError: the plan or ``weight_edits`` names what the graph does not
            have.
        CalibrationError: an int8 layer without a range.
        GraphError: weights that are missing or not finite, or an edit that changes a
            shape.
        OutputError: the files cannot be written, or would replace those that they are
            made from.
    """
    edits = dict(weight_edits or {})
    if unknown := sorted(edits.keys() - set(graph.initializers)):
        raise GraphError(
            f"{graph.path}: no constant is called {unknown[0]!r}, which was to be edited"
        )
    if output.resolve() == graph.path.resolve():
        raise OutputError(f"{output}: is the float network itself; write the int8 one elsewhere")
    model = add_qdq(graph, plan)
    with _opened_aside(output) as (graph_file, weights_file):
        store = _Store(weights_file, location=output.with_suffix(".bin").name)
        counts = _fill(
            model, graph, layers=quantized_weights(graph, plan), edits=edits, store=store
        )
        text = model.SerializeToString(deterministic=True)
        graph_file.write(text)
    entry = FileEntry(hashlib.sha256(text).hexdigest(), len(text))
    return QuantizedFiles(entry, store.describe(), *counts)


def quantize_weights(values: NDArray[Any], axis: int) -> tuple[NDArray[np.int8], NDArray[Any]]:
    """int8 of the same shape, and a step for each channel of ``axis``.

    A step is max|w| / 127; values are rounded halves to even, and none is -128.
    """
    others = tuple(i for i in range(values.ndim) if i != axis)
    scale = to_scale(np.abs(values).max(axis=others), values.dtype)
    whole = np.ones(values.ndim, int)
    whole[axis] = -1
    quotient = np.divide(values, scale.reshape(whole), dtype=np.float32)
    np.rint(quotient, out=quotient)
    return np.clip(quotient, -LEVELS, LEVELS, out=quotient).astype(np.int8), scale


class _Store:
    """The file of weights while it is written."""

    def __init__(self, file: IO[bytes], *, location: str) -> None:
        self._file = file
        self._location = location
        self._digest = hashlib.sha256()
        self._position = 0

    def add(self, tensor: onnx.TensorProto, values: NDArray[Any]) -> None:
        """Append the values and have the tensor point at them."""
        from onnx import TensorProto, helper

        offset = -(-self._position // _ALIGNMENT) * _ALIGNMENT
        for block in (
            b"\0" * (offset - self._position),
            np.ascontiguousarray(values).reshape(-1).view(np.uint8).data,
        ):
            self._file.write(block)
            self._digest.update(block)
        self._position = offset + values.nbytes
        tensor.data_type = helper.np_dtype_to_tensor_dtype(values.dtype)
        tensor.data_location = TensorProto.EXTERNAL
        del tensor.external_data[:]
        for key, value in (
            ("location", self._location),
            ("offset", offset),
            ("length", values.nbytes),
        ):
            tensor.external_data.add(key=key, value=str(value))

    def describe(self) -> FileEntry:
        """Hash and size so far."""
        return FileEntry(self._digest.hexdigest(), self._position)


def _fill(
    model: onnx.ModelProto,
    graph: FloatGraph,
    *,
    layers: Mapping[str, Any],
    edits: Mapping[str, Edit],
    store: _Store,
) -> tuple[int, int]:
    """Write every constant of the float graph; gives how many values are int8 and float."""
    from onnx import TensorProto, numpy_helper

    scales = []
    counts = [0, 0]
    own = set(graph.initializers)
    for tensor in [one for one in model.graph.initializer if one.name in own]:
        external = tensor.data_location == TensorProto.EXTERNAL
        if not external and tensor.name not in layers and tensor.name not in edits:
            continue
        values = _read(graph, tensor.name, edits.get(tensor.name))
        if tensor.name in layers:
            tensor.ClearField("raw_data")
            values, scale = quantize_weights(values, layers[tensor.name].channel_axis)
            scales.append(numpy_helper.from_array(scale, tensor.name + SCALE))
        counts[0 if tensor.name in layers else 1] += values.size
        if external or tensor.name in layers:
            store.add(tensor, values)
        else:
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    model.graph.initializer.extend(scales)
    return counts[0], counts[1]


def _read(graph: FloatGraph, name: str, edit: Edit | None) -> NDArray[Any]:
    values: NDArray[Any] = graph.read(name)
    if edit is not None:
        edited = np.asarray(edit(values), values.dtype)
        if edited.shape != values.shape:
            raise GraphError(
                f"{graph.path}: {name!r} is {values.shape}, edited it is {edited.shape}"
            )
        values = edited
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise GraphError(
            f"{graph.path}: {name!r} holds values that are not finite; the checkpoint is broken"
        )
    return values


@contextmanager
def _opened_aside(output: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """A graph and its weights to write, both put in place when all went well."""
    try:
        with (
            replaced_file(output.with_suffix(".bin"), parents=True) as weights,
            replaced_file(output) as graph,
            graph.open("wb") as graph_file,
            weights.open("wb") as weights_file,
        ):
            yield graph_file, weights_file
    except OSError as error:
        raise refuse_briefly(output, error) from error
