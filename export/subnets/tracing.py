"""Tracing a network to ONNX on the meta device.

A graph that knows where its weights will lie, and none in memory.
"""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import torch
from onnx import helper
from torch.export.graph_signature import InputKind
from torch.fx import Node

from echoexport.export.architecture import Architecture
from echoexport.export.subnets.graph_builder import (
    TRANSPOSED,
    GraphBuilder,
    external_parameter,
    weights_file,
)
from echoexport.export.subnets.lowering.lowered import Lowered, shape_of
from echoexport.export.subnets.lowering.table import lower
from echoexport.export.subnets.networks import build_network
from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec
from echoexport.runtime.errors import GraphError

_ALIGNMENT = 64  # bytes; lets an engine map a weight file and use it in place


def trace_network(spec: SubnetSpec, architecture: Architecture) -> onnx.ModelProto:
    """The network's ONNX graph at the spec's shapes and dtype.

    Parameters keep the checkpoint's names and point into ``<network>.bin``, of the
    network whose weights it shares where it shares them. Those that a Linear reads are
    stored transposed, as (in, out); the model's metadata lists them under
    :data:`TRANSPOSED`. Buffers that no checkpoint has are initializers without values
    yet.

    Raises:
        GraphError: an operator that has no lowering, or a module that disagrees with
            its spec.
    """
    dtype = spec.inputs[0].dtype
    network = build_network(spec.name, architecture, dtype=dtype)
    arguments = tuple(
        torch.empty(t.shape, dtype=getattr(torch, t.dtype), device="meta") for t in spec.inputs
    )
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.export warns about its own internals
        program = torch.export.export(network, arguments, strict=False)
    return _Lowering(spec, program).run()


class _Lowering:
    """One exported program on its way to a model."""

    def __init__(self, spec: SubnetSpec, program: torch.export.ExportedProgram) -> None:
        self.spec = spec
        self.program = program
        self.builder = GraphBuilder(dtype=spec.inputs[0].dtype)
        self.lowered = Lowered(self.builder)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.constants: set[str] = set()
        self.location = weights_file(spec.name)

    def run(self) -> onnx.ModelProto:
        nodes = list(self.program.graph.nodes)
        for tensor in self.spec.outputs:  # first come: no value inside takes an output's name
            self.builder.unique(tensor.name)
        transposed = self._bind_placeholders(nodes)
        for node in nodes:
            if node.op == "call_function":
                lower(self.lowered, node)
        outputs = self._name_outputs(nodes[-1])
        model = self.builder.finish(
            name=self.spec.name,
            inputs=[_value_info(tensor) for tensor in self.spec.inputs],
            outputs=outputs,
            parameters=[self._parameter(name) for name in self.shapes],
        )
        _lay_out(model, location=self.location)
        kept = {tensor.name for tensor in model.graph.initializer}
        helper.set_model_props(model, {TRANSPOSED: "\n".join(sorted(transposed & kept))})
        return model

    def _bind_placeholders(self, nodes: list[Node]) -> set[str]:
        """Give inputs their spec's names and parameters the checkpoint's.

        Returns the transposed parameters.
        """
        inputs = iter(self.spec.inputs)
        transposed = set()
        kinds = {s.arg.name: s for s in self.program.graph_signature.input_specs}
        for node in (n for n in nodes if n.op == "placeholder"):
            kind = kinds[node.name]
            if kind.kind == InputKind.USER_INPUT:
                self.lowered.names[node] = self.builder.unique(next(inputs).name)
                continue
            name = self.builder.unique(str(kind.target))
            if kind.persistent is False:
                self.constants.add(name)
            shape = shape_of(node)
            if _feeds_linear(node):
                shape = shape[::-1]
                transposed.add(name)
                self.lowered.transposed.add(node)
            self.lowered.names[node] = name
            self.shapes[name] = shape
        return transposed

    def _name_outputs(self, output: Node) -> list[onnx.ValueInfoProto]:
        values = list(output.args[0])  # type: ignore[arg-type]
        if len(values) != len(self.spec.outputs):
            raise GraphError(
                f"{self.spec.name}: gives {len(values)} outputs, its spec has "
                f"{len(self.spec.outputs)}"
            )
        infos = []
        for value, tensor in zip(values, self.spec.outputs, strict=True):
            if shape_of(value) != tensor.shape:
                raise GraphError(
                    f"{self.spec.name}: {tensor.name} is {shape_of(value)}, its spec says "
                    f"{tensor.shape}"
                )
            self._rename(self.lowered.value(value), tensor.name)
            infos.append(_value_info(tensor))
        return infos

    def _rename(self, old: str, new: str) -> None:
        for node in self.builder.nodes:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
        self.builder.infos = [info for info in self.builder.infos if info.name != old]

    def _parameter(self, name: str) -> onnx.TensorProto:
        shape = self.shapes[name]
        if name in self.constants:
            return onnx.TensorProto(name=name, data_type=self.builder.element, dims=list(shape))
        return external_parameter(
            name, shape, element=self.builder.element, location=self.location, offset=0
        )


def _feeds_linear(node: Node) -> bool:
    users = [user for user in node.users if user.op == "call_function"]
    linear = [str(user.target) == "aten.linear.default" and user.args[1] is node for user in users]
    if any(linear) and not all(linear):
        raise GraphError(f"parameter {node.name} is read by a Linear and by something else")
    return bool(linear) and all(linear)


def _value_info(tensor: TensorSpec) -> onnx.ValueInfoProto:
    element = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
    return helper.make_tensor_value_info(tensor.name, element, list(tensor.shape))


def _lay_out(model: onnx.ModelProto, *, location: str) -> None:
    """Give the external parameters that are left their places, one after the other."""
    offset = 0
    for tensor in model.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        length = next(int(entry.value) for entry in tensor.external_data if entry.key == "length")
        place = external_parameter(
            tensor.name, tensor.dims, element=tensor.data_type, location=location, offset=offset
        )
        tensor.CopyFrom(place)
        offset += -(-length // _ALIGNMENT) * _ALIGNMENT
