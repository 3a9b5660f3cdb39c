"""A graph that is being rewritten.

Nodes, shapes of all values, constants, and who makes and reads what.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from echoexport.runtime.contract.operators import MICROSOFT

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]


class EditedGraph:
    """Nodes of a model with static shapes.

    ``nodes`` may be changed at will: ``index`` takes note, ``finish`` orders.

    A value that is given a new maker keeps its name, so that whoever reads it need not
    be told.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        """Copy what will be changed; weights stay where they are."""
        graph = model.graph
        self._model = model
        self.nodes = [_copy(node) for node in graph.node]
        self.shapes: dict[str, Shape] = {
            tensor.name: tuple(tensor.dims) for tensor in graph.initializer
        }
        for value in (*graph.value_info, *graph.input, *graph.output):
            self.shapes[value.name] = tuple(
                side.dim_value for side in value.type.tensor_type.shape.dim
            )
        self.dtype = _find_dtype(graph)
        self.outputs = [value.name for value in graph.output]
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._added: dict[tuple[Any, ...], onnx.TensorProto] = {}
        self._made = set[str]()  # names of those
        self.vectors = set[str]()
        """Values that are as good as constants: computed from weights alone, once, when
        a session starts."""
        self._names = {*self.shapes, *(name for node in self.nodes for name in node.output)}
        self.index()

    def index(self) -> None:
        """Who makes and reads each value, anew after ``nodes`` were changed."""
        self.makers = {name: node for node in self.nodes for name in node.output if name}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.readers.setdefault(name, []).append(node)

    def drop_unread(self) -> None:
        """Forget the nodes whose values nobody reads; the order does not matter."""
        wanted = set[int]()
        waiting = [self.makers[name] for name in self.outputs if name in self.makers]
        while waiting:
            node = waiting.pop()
            if id(node) not in wanted:
                wanted.add(id(node))
                waiting.extend(self.makers[name] for name in node.input if name in self.makers)
        self.nodes = [node for node in self.nodes if id(node) in wanted]
        self.index()

    def make(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: str | Sequence[str],
        shape: Shape,
        *,
        domain: str = "",
        **attributes: Any,
    ) -> onnx.NodeProto:
        """A node, not yet among ``nodes``; all its outputs have this shape."""
        from onnx import helper

        names = [outputs] if isinstance(outputs, str) else list(outputs)
        for name in filter(None, names):
            self.shapes[name] = tuple(shape)
            self._names.add(name)
        label = next(filter(None, names))
        return helper.make_node(
            operator, list(inputs), names, name=label, domain=domain, **attributes
        )

    def view(self, name: str, shape: Shape, output: str) -> onnx.NodeProto:
        """A Reshape, not yet among ``nodes``."""
        return self.make("Reshape", [name, self.integers(shape)], output, shape)

    def fresh(self, stem: str) -> str:
        """A name that no value has."""
        name = stem
        count = 1
        while name in self._names:
            count += 1
            name = f"{stem}.{count}"
        self._names.add(name)
        return name

    def constant(self, values: np.ndarray, stem: str) -> str:
        """The name of a constant with these values, made where there is none yet."""
        from onnx import numpy_helper

        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self._added:
            name = self.fresh(stem)
            self._added[key] = numpy_helper.from_array(np.ascontiguousarray(values), name)
            self.shapes[name] = values.shape
            self._made.add(name)
        return self._added[key].name

    def integers(self, values: Sequence[int]) -> str:
        """A constant of int64."""
        return self.constant(np.array(values, np.int64), "shape")

    def is_constant(self, name: str) -> bool:
        """Whether a value is a weight or a constant."""
        return name in self._tensors or name in self._made

    def is_vector(self, name: str) -> bool:
        """Whether it is a constant of one axis."""
        return len(self.shapes.get(name, ())) == 1 and (
            name in self.vectors or self.is_constant(name)
        )

    def read(self, name: str) -> np.ndarray | None:
        """Values of a constant that is kept in the graph.

        None for weights beside it, and for everything else.
        """
        from onnx import TensorProto, numpy_helper

        tensor = self._tensors.get(name)
        if tensor is None or tensor.data_location == TensorProto.EXTERNAL:
            return None
        return numpy_helper.to_array(tensor)

    def scalar(self, name: str) -> float | None:
        """The value of a constant with one element."""
        values = self.read(name)
        return float(values.ravel()[0]) if values is not None and values.size == 1 else None

    def maker(self, name: str, operator: str) -> onnx.NodeProto | None:
        """The node that makes a value, if it is such an operator."""
        node = self.makers.get(name)
        return node if node is not None and node.op_type == operator and not node.domain else None

    def only_reader(self, name: str, operator: str) -> onnx.NodeProto | None:
        """The node that reads a value, if it is the only one and of this operator.

        None for an output of the graph, which others read too.
        """
        found = self.readers.get(name, [])
        if (
            len(found) != 1
            or name in self.outputs
            or found[0].op_type != operator
            or found[0].domain
        ):
            return None
        return found[0]

    def finish(self) -> onnx.ModelProto:
        """The model with the nodes as they are now, in an order that runs.

        What nobody reads is left out.
        """
        from onnx import helper

        result = type(self._model)()
        result.CopyFrom(self._model)
        graph = result.graph
        self.index()
        self.drop_unread()
        nodes = [_copy(node) for node in _sort(self.nodes)]
        _set(graph.node, nodes)
        read = {name for node in nodes for name in node.input}
        kept = [tensor for tensor in graph.initializer if tensor.name in read]
        kept += [tensor for tensor in self._added.values() if tensor.name in read]
        _set(graph.initializer, [_copy(tensor) for tensor in kept])
        _set(graph.value_info, [])
        known = {opset.domain for opset in result.opset_import}
        if MICROSOFT not in known and any(node.domain == MICROSOFT for node in nodes):
            result.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
        return result


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """The value of a node's attribute."""
    from onnx import helper

    for one in node.attribute:
        if one.name == name:
            return helper.get_attribute_value(one)
    return default


def volume(shape: Shape) -> int:
    """How many values a tensor has."""
    return math.prod(shape)


def _find_dtype(graph: onnx.GraphProto) -> np.dtype[Any]:
    """What the network computes in: the type of its outputs."""
    from onnx import helper

    return np.dtype(helper.tensor_dtype_to_np_dtype(graph.output[0].type.tensor_type.elem_type))


def _set(field: Any, values: Sequence[Any]) -> None:
    """What a repeated field of a message holds from now on."""
    del field[:]
    field.extend(values)


def _copy(message: Any) -> Any:
    return type(message).FromString(message.SerializeToString())


def _sort(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Each after those whose values it reads; otherwise as they were."""
    makers = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    needs = [{makers[name] for name in node.input if name in makers} for node in nodes]
    done = Counter[int]()
    result = list[Any]()
    for start in range(len(nodes)):
        waiting = [start]
        while waiting:
            place = waiting[-1]
            missing = (
                []
                if done[place]
                else sorted((need for need in needs[place] if not done[need]), reverse=True)
            )
            if missing:
                waiting.extend(missing)
                continue
            waiting.pop()
            if not done[place]:
                done[place] = 1
                result.append(nodes[place])
    return result
