"""An ONNX graph under construction.

Static shapes, named parameters, constants kept small and shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from echoexport.runtime.contract.families.echomimic_v1 import FAMILY

if TYPE_CHECKING:
    import onnx

OPSET = 20
_IR_VERSION = 10  # what opset 20's own release of onnx writes; older parsers refuse newer ones


class GraphBuilder:
    """Collects nodes and constants.

    Values go by name; every shape is known when a node is added.
    """

    def __init__(self, *, dtype: str) -> None:
        self.dtype = np.dtype(dtype)
        self.element = helper.np_dtype_to_tensor_dtype(self.dtype)
        self.nodes: list[onnx.NodeProto] = []
        self.infos: list[onnx.ValueInfoProto] = []
        self._constants: dict[tuple[str, bytes, tuple[int, ...]], onnx.TensorProto] = {}
        self._used: set[str] = set()

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        *,
        name: str,
        shape: Sequence[int] | None = None,
        element: int | None = None,
        **attributes: Any,
    ) -> str:
        """One node of one output; the output carries the node's name, made unique."""
        output = self.unique(name)
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        if shape is not None:
            self.infos.append(
                helper.make_tensor_value_info(output, element or self.element, list(shape))
            )
        return output

    def unique(self, name: str) -> str:
        """``name``, with a number behind it where it is taken."""
        candidate = name
        number = 1
        while candidate in self._used:
            number += 1
            candidate = f"{name}.{number}"
        self._used.add(candidate)
        return candidate

    def constant(self, values: object, dtype: str | np.dtype | None = None) -> str:
        """A small constant by value; equal ones are shared."""
        array = np.asarray(values, dtype=dtype or self.dtype)
        key = (array.dtype.str, array.tobytes(), array.shape)
        if key not in self._constants:
            name = self.unique(f"constant.{len(self._constants)}")
            self._constants[key] = numpy_helper.from_array(array, name)
        return self._constants[key].name

    def reshape(self, value: str, shape: Sequence[int], *, name: str) -> str:
        """A Reshape to a shape that is known."""
        return self.add(
            "Reshape", [value, self.constant(list(shape), "int64")], name=name, shape=shape
        )

    def split(self, value: str, count: int, *, name: str, shape: Sequence[int]) -> list[str]:
        """A Split into ``count`` parts along axis 0, each of ``shape``.

        The node carries the first part's name.
        """
        parts = [self.unique(name) for _ in range(count)]
        sizes = self.constant([shape[0]] * count, "int64")
        self.nodes.append(helper.make_node("Split", [value, sizes], parts, name=parts[0], axis=0))
        self.infos += [
            helper.make_tensor_value_info(part, self.element, list(shape)) for part in parts
        ]
        return parts

    def finish(
        self,
        *,
        name: str,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
        parameters: Sequence[onnx.TensorProto],
    ) -> onnx.ModelProto:
        """The model, with nodes and parameters that reach no output left out."""
        nodes = _reachable(self.nodes, [value.name for value in outputs])
        read = {value for node in nodes for value in node.input}
        kept = [p for p in [*parameters, *self._constants.values()] if p.name in read]
        produced = {value for node in nodes for value in node.output}
        infos = [info for info in self.infos if info.name in produced]
        graph = helper.make_graph(nodes, name, list(inputs), list(outputs), kept, value_info=infos)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="echoexport"
        )
        model.ir_version = _IR_VERSION
        return model


def _reachable(nodes: list[onnx.NodeProto], outputs: list[str]) -> list[onnx.NodeProto]:
    wanted = set(outputs)
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]


def weights_file(network: str) -> str:
    """The file of a bundle that holds a network's weights, its own or another's."""
    return f"{FAMILY.owner_of(network)}.bin"


def external_parameter(
    name: str, shape: Sequence[int], *, element: int, location: str, offset: int
) -> TensorProto:
    """A parameter whose values lie in ``location`` at ``offset``; they need not be there yet."""
    tensor = TensorProto(
        name=name, data_type=element, dims=list(shape), data_location=TensorProto.EXTERNAL
    )
    width = helper.tensor_dtype_to_np_dtype(element).itemsize
    length = int(np.prod(shape, dtype=np.int64)) * width
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return tensor


TRANSPOSED = "echoexport.transposed"
