"""Operations and bytes of a network, counted from its graph.

What the manifest says of a call's work.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from echoexport.profiles.modelling.module_groups import OTHER, find_group
from echoexport.runtime.contract.network_work import NetworkWork, Work
from echoexport.runtime.errors import GraphError

if TYPE_CHECKING:
    import onnx

__all__ = ["count_work"]

_CONTRACTIONS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})
# Operations for each value of the output, a convention as in other counters: one an
# arithmetic step, exp and erf counted as one. Sigmoid: negate, exp, add, divide. Gelu:
# the erf form, five steps. Softmax: maximum, subtract, exp, sum, divide.
# Normalizations: mean, subtract, square, sum, scale by the root, gain, offset.
_STEPS = {
    "Sigmoid": 4,
    "Gelu": 5,
    "Erf": 1,
    "Softmax": 5,
    "LayerNormalization": 7,
    "InstanceNormalization": 7,
    "Add": 1,
    "Sub": 1,
    "Mul": 1,
    "Div": 1,
    "Where": 1,
    "Greater": 1,
    "Sqrt": 1,
    "Exp": 1,
    "Tanh": 1,
    "Relu": 1,
    "Neg": 1,
    "Pow": 1,
    "Clip": 1,
    "Max": 1,
    "Min": 1,
    "Cast": 0,
    "QuantizeLinear": 2,
    "DequantizeLinear": 1,
}
# What moves values without arithmetic, and what engines fold into the reads and writes
# of their neighbours.
_LAYOUT = frozenset(
    {
        "Reshape",
        "Transpose",
        "Slice",
        "Split",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "Expand",
        "Identity",
        "Cast",
        "Concat",
    }
)
_CONSTANT = frozenset({"Constant", "ConstantOfShape", "DequantizeLinear"})
_NOT_MERGED = frozenset(
    {"LayerNormalization", "InstanceNormalization", "Softmax", "Resize", "Concat"}
)


def count_work(model: onnx.ModelProto) -> NetworkWork:
    """Count one call of a network with static shapes; weights need not be in memory.

    A multiply-accumulate is two operations: Conv has N x C_out x H x W x (C_in /
    groups) x kernel of them, MatMul as many as its outputs times the length of the sum.
    Bytes follow the graph's own types.

    Raises:
        GraphError: a value without a static shape.
    """
    return _Counter(model).run()


@dataclass(frozen=True)
class _Value:
    """A tensor of the graph.

    Its shape, the bytes of an element, and whether it holds indices or a shape.
    """

    shape: tuple[int, ...]
    width: int
    index: bool

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.size * self.width


class _Counter:
    """One graph on its way to counts."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = _with_shapes(model).graph
        self.name = self.graph.name
        self.parameters = {tensor.name for tensor in self.graph.initializer}
        self.values = _read_values(self.graph)
        self.producer = {output: node for node in self.graph.node for output in node.output}
        self.made_of_weights: dict[str, bool] = {}
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.groups: dict[str, str] = {}
        self.computed = [node for node in self.graph.node if not self.is_weight(node.output[0])]

    def run(self) -> NetworkWork:
        seen: set[str] = set()
        for node in self.graph.node:
            group = self._find_group(node)
            self.groups.update(dict.fromkeys(node.output, group))
            counts = self.counts[group]
            self._count_flops(node, counts)
            counts["weight_bytes"] += self._count_weights(node, seen)
            counts["activation_bytes"] += self._count_activations(node)
        clusters = _find_clusters(self)
        for root in set(clusters.values()):
            self.counts[self.groups[root]]["kernels"] += 1
        for output, moved in _count_fused(self, clusters).items():
            self.counts[self.groups[output]]["fused_bytes"] += moved
        return NetworkWork({group: Work(**self.counts[group]) for group in sorted(self.counts)})

    def value(self, name: str) -> _Value:
        if name not in self.values:
            raise GraphError(
                f"{self.name}: value {name!r} has no static shape; its work cannot be counted"
            )
        return self.values[name]

    def source(self, name: str) -> str:
        """The value that is really read: of a DequantizeLinear its int8 input."""
        node = self.producer.get(name)
        return node.input[0] if node is not None and node.op_type == "DequantizeLinear" else name

    def is_weight(self, name: str) -> bool:
        """Whether a value is a parameter, or made of parameters alone.

        Changes of type and layout make nothing else of them.
        """
        if name in self.parameters:
            return True
        if name not in self.made_of_weights:
            node = self.producer.get(name)
            if node is None or node.op_type not in _LAYOUT | _CONSTANT:
                return False
            self.made_of_weights[name] = all(self.is_weight(each) for each in node.input if each)
        return self.made_of_weights[name]

    def activations(self, node: onnx.NodeProto) -> list[str]:
        """What a node reads beside weights and constants, each once."""
        return list(dict.fromkeys(name for name in node.input if name and not self.is_weight(name)))

    def _find_group(self, node: onnx.NodeProto) -> str:
        """The layer of the first parameter that a node reads.

        Else that of the largest value that it reads, else that of the node before it.
        """
        for name in node.input:
            if (
                name in self.parameters
                and not self.values[name].index
                and (group := find_group(name)) != OTHER
            ):
                return group
        known = [name for name in node.input if name in self.groups]
        if known:
            return self.groups[max(known, key=lambda name: self.value(name).size)]
        return next(reversed(self.groups.values()), OTHER)

    def _count_flops(self, node: onnx.NodeProto, counts: Counter[str]) -> None:
        out = self.value(node.output[0])
        if node.op_type not in _CONTRACTIONS:
            counts["other_flops"] += (
                0 if self.is_weight(node.output[0]) else out.size * _STEPS.get(node.op_type, 0)
            )
            return
        macs = self._count_macs(node, out)
        counts["mac_flops"] += 2 * macs
        if any(self.is_weight(name) for name in node.input[:2]):
            counts["weighted_flops"] += 2 * macs
        if all(self.value(self.source(name)).width == 1 for name in node.input[:2]):
            counts["int8_flops"] += 2 * macs
        if len(node.input) > 2 and node.input[2]:  # the bias
            counts["other_flops"] += out.size

    def _count_macs(self, node: onnx.NodeProto, out: _Value) -> int:
        first, second = (self.value(name).shape for name in node.input[:2])
        match node.op_type:
            case "Conv":  # the weight is (C_out, C_in / groups, kernel...)
                return out.size * math.prod(second[1:])
            case "ConvTranspose":  # the weight is (C_in, C_out / groups, kernel...)
                return math.prod(first) * math.prod(second[1:])
            case "Gemm":
                transposed = any(a.name == "transA" and a.i for a in node.attribute)
                return out.size * first[0 if transposed else 1]
        return out.size * first[-1]

    def _count_weights(self, node: onnx.NodeProto, seen: set[str]) -> int:
        new = [name for name in node.input if name in self.parameters and name not in seen]
        seen.update(new)
        return sum(self.values[name].bytes for name in new if not self.values[name].index)

    def _count_activations(self, node: onnx.NodeProto) -> int:
        if all(self.is_weight(name) for name in node.output):
            return 0
        moved = (*self.activations(node), *node.output)
        return sum(self.value(name).bytes for name in moved)


def _find_clusters(counter: _Counter) -> dict[str, str]:
    """Value to the first value of the cluster that it is computed in.

    An elementwise or layout operation belongs to the cluster of the largest value that
    it reads; scores, softmax and the product with the values form one cluster, as in
    flash attention.
    """
    cluster: dict[str, str] = {}
    for node in counter.computed:
        reads = [counter.source(name) for name in counter.activations(node)]
        made = [name for name in reads if name in cluster]
        own = node.output[0]
        if node.op_type == "Softmax" or _is_second_product(node, counter):
            own = cluster.get(reads[0], own)
        elif made and node.op_type not in _CONTRACTIONS and node.op_type not in _NOT_MERGED:
            own = cluster[max(made, key=lambda name: counter.value(name).size)]
        cluster.update(dict.fromkeys(node.output, own))
    return cluster


def _count_fused(counter: _Counter, cluster: dict[str, str]) -> Counter[str]:
    """Bytes that clusters move, by the value that they are read for or written as.

    A cluster writes what others read, and reads each value of others once.
    """
    moved: Counter[str] = Counter()
    read: set[tuple[str, str]] = set()
    written = {value.name for value in counter.graph.output}
    for node in counter.computed:
        own = cluster[node.output[0]]
        if node.op_type == "DequantizeLinear":
            continue  # whoever reads it reads the int8 value before it
        for name in (counter.source(name) for name in counter.activations(node)):
            if cluster.get(name) != own and (own, name) not in read:
                read.add((own, name))
                moved[node.output[0]] += counter.value(name).bytes
                written.add(name)
    for name in written & cluster.keys():
        moved[name] += counter.value(name).bytes
    return moved


def _is_second_product(node: onnx.NodeProto, counter: _Counter) -> bool:
    """Whether it is an attention's product of the softmax and the values."""
    maker = counter.producer.get(node.input[0]) if node.op_type == "MatMul" else None
    while maker is not None and maker.op_type in _LAYOUT:
        maker = counter.producer.get(maker.input[0])
    return maker is not None and maker.op_type == "Softmax"


def _with_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a shape for every value.

    Our traces have them; else they are inferred.
    """
    import onnx

    known = {info.name for info in (*model.graph.value_info, *model.graph.output)}
    if all(name in known for node in model.graph.node for name in node.output):
        return model
    return onnx.shape_inference.infer_shapes(model)


def _read_values(graph: onnx.GraphProto) -> dict[str, _Value]:
    from onnx import TensorProto

    floats = {
        TensorProto.FLOAT: 4,
        TensorProto.FLOAT16: 2,
        TensorProto.BFLOAT16: 2,
        TensorProto.DOUBLE: 8,
    }
    small = {TensorProto.INT8: 1, TensorProto.UINT8: 1, TensorProto.BOOL: 1, TensorProto.INT32: 4}
    widths = {**floats, **small}
    values = {}
    for info in (*graph.input, *graph.value_info, *graph.output):
        tensor = info.type.tensor_type
        if all(axis.HasField("dim_value") for axis in tensor.shape.dim):
            shape = tuple(axis.dim_value for axis in tensor.shape.dim)
            kind = tensor.elem_type
            values[info.name] = _Value(shape, widths.get(kind, 8), kind not in widths)
    for constant in graph.initializer:
        kind = constant.data_type
        values[constant.name] = _Value(
            tuple(constant.dims), widths.get(kind, 8), kind not in widths
        )
    return values
