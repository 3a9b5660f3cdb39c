"""Graphs of matrix products that a device is probed with.

They ship ready-made, since reports run without onnx.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from echoexport.profiles.measuring.probe import PROBES, ProbeGraph

if TYPE_CHECKING:
    import onnx

__all__ = ["make_probe_graph", "write_probe_graphs"]

_OPSET = 20
_IR_VERSION = 10
_STEP = 1 / 32  # of int8 values, whose range is then about 4 spreads of what the probe feeds


def write_probe_graphs(folder: Path) -> None:
    """Write every graph of ``profiles.measuring.probe.PROBES`` under its name."""
    for probe in PROBES:
        (folder / probe.file).write_bytes(
            make_probe_graph(probe).SerializeToString(deterministic=True)
        )


def make_probe_graph(probe: ProbeGraph) -> onnx.ModelProto:
    """y = x w w ... w with square matrices, ``probe.products`` of them.

    With Q/DQ before each for "int8".

    The weight is a constant of one value, as small in a file as no other, and laid out
    beforehand as a network's weights are; how long a dense product takes does not
    depend on its values.
    """
    from onnx import TensorProto, helper

    kind = TensorProto.FLOAT16 if probe.precision == "fp16" else TensorProto.FLOAT
    shape = [probe.side, probe.side]
    nodes, constants = _make_weight(probe)
    nodes += _make_products(probe)
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, shape)],
        constants,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="echoexport"
    )
    model.ir_version = _IR_VERSION
    return model


def _make_products(probe: ProbeGraph) -> list[onnx.NodeProto]:
    """From "x" to "y", one product after the other."""
    from onnx import helper

    nodes = []
    value = "x"
    for index in range(probe.products):
        if probe.precision == "int8":
            nodes.append(helper.make_node("QuantizeLinear", [value, "step", "zero"], [f"q{index}"]))
            nodes.append(
                helper.make_node("DequantizeLinear", [f"q{index}", "step", "zero"], [f"d{index}"])
            )
            value = f"d{index}"
        output = "y" if index == probe.products - 1 else f"y{index}"
        nodes.append(helper.make_node("MatMul", [value, "w"], [output]))
        value = output
    return nodes


def _make_weight(probe: ProbeGraph) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes that give "w", and the constants they read.

    It is filled with 1 / side, so that values keep their size.
    """
    from onnx import helper, numpy_helper

    shape = numpy_helper.from_array(np.array([probe.side] * 2, np.int64), "shape")
    if probe.precision != "int8":
        filling = np.full(
            1, 1 / probe.side, np.float16 if probe.precision == "fp16" else np.float32
        )
        filled = helper.make_node(
            "ConstantOfShape", ["shape"], ["w"], value=numpy_helper.from_array(filling)
        )
        return [filled], [shape]
    constants = [
        shape,
        numpy_helper.from_array(np.asarray(_STEP, np.float32), "step"),
        numpy_helper.from_array(np.zeros((), np.int8), "zero"),
        numpy_helper.from_array(np.asarray(1 / probe.side, np.float32), "weight_step"),
    ]
    ones = numpy_helper.from_array(np.ones(1, np.int8))
    filled = helper.make_node("ConstantOfShape", ["shape"], ["ones"], value=ones)
    return [
        filled,
        helper.make_node("DequantizeLinear", ["ones", "weight_step", "zero"], ["w"]),
    ], constants
