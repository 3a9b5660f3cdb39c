"""Norms over a single group as one operation, in an OpenVINO model as it is read."""

from __future__ import annotations

from typing import Any

import numpy as np


def merge_single_group_norms(model: Any) -> int:
    """Turn norms over all channels at once into one operation each.

    A graph holds such a norm as reshape, normalize, reshape.

    ONNX has a norm over groups only between reshapes, and these force a CPU out of its
    channels-last layout before and back after every convolution: a decoder of a few
    channels spends half its time so. With a single group the reshapes are not needed.
    Returns how many were merged.
    """
    from openvino import opset8

    merged = 0
    for norm in [op for op in model.get_ordered_ops() if op.get_type_name() == "MVN"]:
        entry = norm.input_value(0).get_node()
        leave = _find_reshape_after(norm)
        if (
            leave is None
            or entry.get_type_name() != "Reshape"
            or list(entry.get_output_shape(0))[1:2] != [1]
        ):
            continue
        source = entry.input_value(0)
        shape = list(source.get_shape())
        if (
            len(shape) < 3
            or len(entry.get_output_shape(0)) != 3
            or shape != list(leave.get_output_shape(0))
        ):
            continue
        axes = opset8.constant(np.arange(1, len(shape), dtype=np.int64))
        whole = opset8.mvn(source, axes, True, float(norm.get_attributes()["eps"]), "inside_sqrt")
        whole.set_friendly_name(norm.get_friendly_name())
        leave.output(0).replace(whole.output(0))
        merged += 1
    return merged


def _find_reshape_after(norm: Any) -> Any:
    """The reshape that ends a norm, past a scale of one and a shift of zero.

    None where anything else follows.
    """
    neutral = {"Multiply": 1.0, "Add": 0.0}
    node = norm
    for _ in range(3):
        users = [user.get_node() for user in node.output(0).get_target_inputs()]
        users = [user for user in users if user.get_type_name() != "ShapeOf"]
        if len(users) != 1:
            return None
        if users[0].get_type_name() == "Reshape":
            return users[0]
        kind = users[0].get_type_name()
        if kind not in neutral or not _is_constant(users[0], neutral[kind], besides=node):
            return None
        node = users[0]
    return None


def _is_constant(node: Any, value: float, *, besides: Any) -> bool:
    """Whether a node's other input is this value throughout."""
    others = [node.input_value(i).get_node() for i in range(2)]
    other = next(one for one in others if one.get_friendly_name() != besides.get_friendly_name())
    # How the reader broadcasts a norm's scale and shift.
    while other.get_type_name() in (
        "Reshape",
        "Convert",
    ):
        other = other.input_value(0).get_node()
    return other.get_type_name() == "Constant" and bool((other.data == value).all())
