"""A network of an fp32 bundle as calibration sees it: graph, layers and weights."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.errors import GraphError, MissingPackageError

if TYPE_CHECKING:
    import onnx

_SUFFIX = ".weight"
_CHANNEL_AXIS = {"Conv": 0, "MatMul": 1}


@dataclass(frozen=True)
class Layer:
    """One operation with a constant weight of its own: what can be quantized."""

    name: str
    """The weight's, without ".weight", e.g. ``down_blocks.0.resnets.0.conv1``: the key
    of every policy and plan."""
    op: str
    """Either "Conv", with a weight (out, in, ...), or "MatMul", with a weight (in, out)."""
    node: str
    """The ONNX node."""
    value: str
    """The activation that it reads."""
    weight: str
    """The initializer."""
    output: str
    """The value it gives."""
    shape: tuple[int, ...]
    """The weight's."""
    channel_axis: int
    """The weight's axis of output channels, 0 for Conv, 1 for MatMul."""

    @property
    def size(self) -> int:
        """Number of values of the weight."""
        return math.prod(self.shape)


class FloatGraph:
    """A network's ONNX file.

    ``model`` holds no weights; ``read`` maps one tensor of the file beside it at a
    time.

    Raises:
        GraphError: not a graph that the export wrote.
        MissingPackageError: onnx is not installed.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnx
        except ImportError as error:
            raise MissingPackageError("onnx", extra="export", purpose="calibration") from error
        self.path = path
        try:
            self.model: onnx.ModelProto = onnx.load_model(path, load_external_data=False)
        except Exception as error:  # protobuf raises its own kinds
            raise GraphError(f"{path}: not an ONNX graph: {str(error)[:200]}") from error
        self._tensors = {tensor.name: tensor for tensor in self.model.graph.initializer}

    @property
    def name(self) -> str:
        """The network's name."""
        return self.path.stem

    @cached_property
    def layers(self) -> Mapping[str, Layer]:
        """By name, in the graph's order; a weight that several nodes read is not among them."""
        readers = Counter(value for node in self.model.graph.node for value in set(node.input))
        layers = {}
        for node in self.model.graph.node:
            weight = node.input[1] if node.op_type in _CHANNEL_AXIS else ""
            tensor = self._tensors.get(weight)
            if (
                tensor is None
                or readers[weight] > 1
                or node.input[0] in self._tensors
                or len(tensor.dims) < 2
            ):
                continue
            name = weight.removesuffix(_SUFFIX)
            layers[name] = Layer(
                name=name,
                op=node.op_type,
                node=node.name,
                value=node.input[0],
                weight=weight,
                output=node.output[0],
                shape=tuple(tensor.dims),
                channel_axis=_CHANNEL_AXIS[node.op_type],
            )
        return layers

    @property
    def initializers(self) -> tuple[str, ...]:
        """Names of all constants, in the file's order."""
        return tuple(self._tensors)

    def read(self, name: str) -> NDArray[np.generic]:
        """One constant; large ones are mapped from the file, read-only.

        Raises:
            GraphError: no such constant, or its file is missing or too short.
        """
        from onnx import TensorProto, helper, numpy_helper

        if name not in self._tensors:
            raise GraphError(f"{self.path}: no constant is called {name!r}")
        tensor = self._tensors[name]
        if tensor.data_location != TensorProto.EXTERNAL:
            array: NDArray[np.generic] = numpy_helper.to_array(tensor)
            return array
        entry = {item.key: item.value for item in tensor.external_data}
        file = self.path.parent / entry["location"]
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        try:
            return np.memmap(
                file, dtype, "r", offset=int(entry["offset"]), shape=tuple(tensor.dims) or (1,)
            )
        except (OSError, ValueError) as error:
            raise GraphError(f"{file}: {name!r} cannot be read from it: {error}") from error
