"""Nodes of an fp16 graph computed in fp32, between Casts.

The graph stays strongly typed, and everything else as it was.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.errors import GraphError

if TYPE_CHECKING:
    import onnx

SUFFIX = ".float32"
"""What the fp32 form of an fp16 value is called: the value's name and this."""


def keep_float32(
    model: onnx.ModelProto,
    nodes: Collection[str],
    *,
    constants: Mapping[str, NDArray[np.float32]] | None = None,
) -> onnx.ModelProto:
    """A copy of an fp16 graph that computes these nodes in fp32.

    A value goes from one such node to the next in fp32; each fp16 value that they read
    is cast once. Weights stay fp16 and are cast; ``constants`` (by name, fp32) take the
    place of small ones, which fp16 may have spoiled. Names of nodes and of fp16 values
    stay.

    Raises:
        GraphError: no such node, or a value's type or shape is not known.
    """
    import onnx

    if unknown := sorted(set(nodes) - {node.name for node in model.graph.node}):
        raise GraphError(f"{model.graph.name}: no node is called {unknown[0]!r}")
    result = onnx.ModelProto()
    result.CopyFrom(model)
    if nodes:
        _Widening(result, set(nodes), constants or {}).run()
    return result


def list_float32(model: onnx.ModelProto) -> frozenset[str]:
    """The fp32 values and constants that :func:`keep_float32` added.

    The graph lint is told of them.
    """
    values = (name for node in model.graph.node for name in node.output)
    return frozenset(
        name
        for name in (*values, *(t.name for t in model.graph.initializer))
        if name.endswith(SUFFIX)
    )


class _Widening:
    """One graph while it is changed."""

    def __init__(
        self, model: onnx.ModelProto, nodes: set[str], constants: Mapping[str, NDArray[np.float32]]
    ) -> None:
        self._graph = model.graph
        self._nodes = nodes
        self._constants = constants
        self._shapes = _find_half_values(model)
        self._there: set[str] = set()
        self._order: list[onnx.NodeProto] = []
        self._wanted_half = {output.name for output in model.graph.output} | {
            name for node in model.graph.node if node.name not in nodes for name in node.input
        }

    def run(self) -> None:
        """Rewrite the nodes, then everything that describes them."""
        import onnx

        for node in self._graph.node:
            kept = onnx.NodeProto()
            kept.CopyFrom(node)
            if node.name in self._nodes:
                self._widen(kept, node)
            else:
                self._order.append(kept)
        del self._graph.node[:]
        self._graph.node.extend(self._order)
        self._describe()

    def _widen(self, kept: onnx.NodeProto, node: onnx.NodeProto) -> None:
        from onnx import TensorProto

        for index, name in enumerate(node.input):
            if name in self._shapes:
                kept.input[index] = self._bring(name)
        narrow = []
        for index, name in enumerate(node.output):
            if name in self._shapes:
                kept.output[index] = name + SUFFIX
                self._there.add(name + SUFFIX)
                narrow += [name] if name in self._wanted_half else []
        for attribute in kept.attribute:
            if (
                node.op_type == "Cast"
                and attribute.name == "to"
                and attribute.i == TensorProto.FLOAT16
            ):
                attribute.i = TensorProto.FLOAT
        self._order.append(kept)
        for name in narrow:
            self._cast(name + SUFFIX, name, TensorProto.FLOAT16)

    def _bring(self, name: str) -> str:
        """The fp32 form of an fp16 value, made where it is first read."""
        from onnx import TensorProto, numpy_helper

        wide = name + SUFFIX
        if wide not in self._there:
            self._there.add(wide)
            if name in self._constants:
                values = np.asarray(self._constants[name], np.float32)
                self._graph.initializer.append(numpy_helper.from_array(values, wide))
            else:
                self._cast(name, wide, TensorProto.FLOAT)
        return wide

    def _cast(self, source: str, target: str, kind: int) -> None:
        from onnx import helper

        self._order.append(
            helper.make_node("Cast", [source], [target], name=f"{target}.cast", to=kind)
        )

    def _describe(self) -> None:
        """Write down the types of the new values.

        What is said of values that are no more goes, and so do constants that nobody
        reads.
        """
        from onnx import TensorProto, helper

        produced = {name for node in self._graph.node for name in node.output}
        read = {name for node in self._graph.node for name in node.input}
        infos = [info for info in self._graph.value_info if info.name in produced]
        for wide in sorted(self._there & produced):
            infos.append(
                helper.make_tensor_value_info(
                    wide, TensorProto.FLOAT, self._shapes[wide[: -len(SUFFIX)]]
                )
            )
        tensors = [
            t for t in self._graph.initializer if t.name in read or t.name not in self._constants
        ]
        for field, kept in ((self._graph.value_info, infos), (self._graph.initializer, tensors)):
            copies = [type(item).FromString(item.SerializeToString()) for item in kept]
            del field[:]
            field.extend(copies)


def _find_half_values(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of all fp16 values and constants by name.

    Raises:
        GraphError: the type of a value is not known.
    """
    from onnx import TensorProto, shape_inference

    known = shape_inference.infer_shapes(model).graph
    found = {}
    typed = set()
    for info in (*known.input, *known.value_info, *known.output):
        kind = info.type.tensor_type
        typed.add(info.name)
        if kind.elem_type == TensorProto.FLOAT16:
            found[info.name] = tuple(side.dim_value for side in kind.shape.dim)
    if unknown := {name for node in model.graph.node for name in node.output if name} - typed:
        raise GraphError(f"{model.graph.name}: the type of {min(unknown)!r} is not known")
    halves = {
        t.name: tuple(t.dims) for t in model.graph.initializer if t.data_type == TensorProto.FLOAT16
    }
    return {**found, **halves}
