"""What ONNX Runtime's CUDA provider has operators of its own for, in plain ones.

Its graphs then run on a CPU.

Written from the operators' documentation: it says what they are meant to compute, and a
GPU whether they do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
from onnx import helper, numpy_helper

KEPT = ("MultiHeadAttention", "SkipLayerNormalization", "FusedMatMul")
"""Those that its CPU provider has as well."""


def with_plain_operators(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without operators that only the CUDA provider has.

    Raises:
        KeyError: an operator that this file does not know.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    writer = _Writer()
    for node in model.graph.node:
        if node.domain != "com.microsoft" or node.op_type in KEPT:
            writer.nodes.append(node)
        else:
            WAYS[node.op_type](
                writer, node, {one.name: helper.get_attribute_value(one) for one in node.attribute}
            )
    del result.graph.node[:]
    result.graph.node.extend(writer.nodes)
    result.graph.initializer.extend(writer.constants)
    return result


class _Writer:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._count: Iterator[int] = iter(range(10**9))

    def add(self, operator: str, inputs: list[str], output: str = "", **attributes: object) -> str:
        output = output or f"fake.{next(self._count)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, values: list[int]) -> str:
        name = f"fake.{next(self._count)}"
        self.constants.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name


def _convolve(writer: _Writer, node: onnx.NodeProto, given: dict[str, object]) -> None:
    """Map (batch, rows, columns, channels) and kernel (out, rows, columns, in)."""
    image = writer.add("Transpose", [node.input[0]], perm=[0, 3, 1, 2])
    kernel = writer.add("Transpose", [node.input[1]], perm=[0, 3, 1, 2])
    made = writer.add("Conv", [image, kernel, *node.input[2:]], **given)
    writer.add("Transpose", [made], node.output[0], perm=[0, 2, 3, 1])


def _normalize(
    writer: _Writer, node: onnx.NodeProto, given: dict[str, object], source: str = ""
) -> None:
    """Gain and shift are float32, whatever the map is; statistics too."""
    assert given["channels_last"] == 1
    groups = given["groups"]
    assert isinstance(groups, int)
    source = source or node.input[0]
    image = writer.add("Transpose", [writer.add("Cast", [source], to=1)], perm=[0, 3, 1, 2])
    grouped = writer.add("Reshape", [image, writer.constant([0, groups, -1])])
    mean = writer.add("ReduceMean", [grouped, writer.constant([2])])
    centred = writer.add("Sub", [grouped, mean])
    variance = writer.add(
        "ReduceMean", [writer.add("Mul", [centred, centred]), writer.constant([2])]
    )
    epsilon = f"{node.output[0]}.fake_epsilon"
    writer.constants.append(numpy_helper.from_array(np.float32(given["epsilon"]), epsilon))
    deviation = writer.add("Sqrt", [writer.add("Add", [variance, epsilon])])
    normal = writer.add(
        "Reshape", [writer.add("Div", [centred, deviation]), writer.add("Shape", [image])]
    )
    last = writer.add("Transpose", [normal], perm=[0, 2, 3, 1])
    value = writer.add("Add", [writer.add("Mul", [last, node.input[1]]), node.input[2]])
    if given["activation"]:
        value = writer.add("Mul", [value, writer.add("Sigmoid", [value])])
    writer.add("CastLike", [value, source], node.output[0])


def _skip_normalize(writer: _Writer, node: onnx.NodeProto, given: dict[str, object]) -> None:
    total = writer.add("Add", [node.input[0], node.input[3]])
    if len(node.input) > 4 and node.input[4]:
        total = writer.add("Add", [total, node.input[4]])
    if len(node.output) > 1:
        total = writer.add("Identity", [total], node.output[1])
    _normalize(writer, node, given, total)


def _split_gelu(writer: _Writer, node: onnx.NodeProto, given: dict[str, object]) -> None:
    assert not given
    biased = writer.add("Add", list(node.input))
    left = f"{biased}.left"
    right = f"{biased}.right"
    writer.nodes.append(helper.make_node("Split", [biased], [left, right], axis=-1, num_outputs=2))
    writer.add("Mul", [left, writer.add("Gelu", [right])], node.output[0])


def _add_bias(writer: _Writer, node: onnx.NodeProto, given: dict[str, object]) -> None:
    assert not given
    writer.add("Add", [writer.add("Add", list(node.input[:2])), node.input[2]], node.output[0])


WAYS: dict[str, Callable[[_Writer, onnx.NodeProto, dict[str, object]], None]] = {
    "NhwcConv": _convolve,
    "GroupNorm": _normalize,
    "SkipGroupNorm": _skip_normalize,
    "BiasSplitGelu": _split_gelu,
    "BiasAdd": _add_bias,
}
