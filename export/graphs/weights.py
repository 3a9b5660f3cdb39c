"""Weights from the checkpoint into a graph's external file, one tensor at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from echoexport.export.checkpoint.tensor_files import StoredTensor
from echoexport.export.subnets.graph_builder import TRANSPOSED
from echoexport.runtime.contract.manifest import FileEntry
from echoexport.runtime.errors import CheckpointError, GraphError

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class WrittenWeights:
    """The file that was written, and how many values it holds."""

    file: FileEntry
    parameters: int


def write_weights(
    model: onnx.ModelProto, weights: Mapping[str, StoredTensor], *, path: Path
) -> WrittenWeights:
    """Fill the file that the graph's external initializers point into.

    The largest tensor sets the memory needed.

    Raises:
        CheckpointError: a value that is not finite, or too large for fp16.
        GraphError: an initializer that the checkpoint has no value for.
    """
    from onnx import TensorProto

    transposed = set(_metadata(model, TRANSPOSED).split("\n"))
    digest = hashlib.sha256()
    position = 0
    count = 0
    with path.open("wb") as file:
        for tensor in model.graph.initializer:
            if tensor.data_location != TensorProto.EXTERNAL:
                continue
            if tensor.name not in weights:
                raise GraphError(
                    f"{path.name}: the graph wants {tensor.name!r}, which the checkpoint does "
                    "not give"
                )
            stored = weights[tensor.name]
            values = _fill(tensor, stored, transpose=tensor.name in transposed)
            offset = next(
                int(entry.value) for entry in tensor.external_data if entry.key == "offset"
            )
            for block in (b"\0" * (offset - position), values.reshape(-1).view(np.uint8).data):
                file.write(block)
                digest.update(block)
            position = offset + values.nbytes
            count = count + values.size
    return WrittenWeights(FileEntry(digest.hexdigest(), position), count)


def embed_constants(model: onnx.ModelProto, weights: Mapping[str, StoredTensor]) -> None:
    """Put values into the graph's initializers that were traced without any, in place.

    Raises:
        CheckpointError: as ``write_weights``.
        GraphError: one that ``weights`` has no value for.
    """
    from onnx import TensorProto

    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL or not _is_empty(tensor):
            continue
        if tensor.name not in weights:
            raise GraphError(f"{model.graph.name}: no value for {tensor.name!r}")
        values = _fill(tensor, weights[tensor.name], transpose=False)
        tensor.raw_data = values.tobytes()


def _is_empty(tensor: onnx.TensorProto) -> bool:
    """Whether an initializer of some size has no values; the builder's own are raw."""
    return not tensor.raw_data and 0 not in tensor.dims


def require_shared(model: onnx.ModelProto, owner: onnx.ModelProto) -> None:
    """Make sure that a graph finds its weights in the file of another, where that has them.

    Raises:
        GraphError: it would read something else there than the owner of the file does.
    """
    from onnx import TensorProto

    places = {tensor.name: tensor for tensor in owner.graph.initializer}
    turned = set(_metadata(owner, TRANSPOSED).split("\n"))
    wanted = set(_metadata(model, TRANSPOSED).split("\n"))
    for tensor in model.graph.initializer:
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        same = places.get(tensor.name) == tensor
        if not same or (tensor.name in turned) != (tensor.name in wanted):
            raise GraphError(
                f"{model.graph.name}: {tensor.name!r} does not lie where {owner.graph.name} has it"
            )


def _fill(tensor: onnx.TensorProto, stored: StoredTensor, *, transpose: bool) -> np.ndarray:
    """A parameter's values in the graph's type, of the shape that it wants."""
    from onnx import helper

    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    values = _convert(stored, dtype, transpose=transpose)
    if values.shape != tuple(tensor.dims):
        raise GraphError(
            f"{tensor.name}: the graph wants {list(tensor.dims)}, found {list(values.shape)}"
        )
    return values


def _convert(stored: StoredTensor, dtype: np.dtype, *, transpose: bool) -> np.ndarray:
    values = stored.read()
    largest = float(np.abs(values).max(initial=0.0))
    if not np.isfinite(largest):
        raise CheckpointError(f"{stored.file}: {stored.key!r} holds values that are not finite")
    limit = float(np.finfo(dtype).max)
    if largest > limit:
        raise CheckpointError(
            f"{stored.file}: {stored.key!r} holds {largest:.3g}, more than {dtype.name}'s "
            f"{limit:.5g}; "
            "build with --precision fp32"
        )
    values = values.astype(dtype, copy=False)
    return np.ascontiguousarray(values.T if transpose else values)


def _metadata(model: onnx.ModelProto, key: str) -> str:
    return next((entry.value for entry in model.metadata_props if entry.key == key), "")
