"""The operators that a bundle's graphs are made of: what builds may write, and bundles hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "MICROSOFT",
    "NEWEST_OPSET",
    "OLDEST_OPSET",
    "OWN_OPERATORS",
    "PLAIN_OPERATORS",
    "OperatorForm",
]

OLDEST_OPSET = 17
"""The first with every operator of the list in the form that is written here but Gelu,
which came with 20."""

NEWEST_OPSET = 20
"""JetPack 6's parser (TensorRT 10.3) takes opset 9 to 20."""

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators, whose version is 1."""


@dataclass(frozen=True)
class OperatorForm:
    """How an operator is written."""

    least: int
    """Inputs that it must have."""
    most: int
    """Inputs that it may have."""
    attributes: frozenset[str] = frozenset()
    """Names of those that it may have."""
    outputs: int = 1
    """Values that it may give."""


_MANY = 1024
_WINDOW = frozenset({"dilations", "group", "kernel_shape", "pads", "strides"})
_GROUP_NORM = frozenset({"activation", "channels_last", "epsilon", "groups"})

PLAIN_OPERATORS: Mapping[str, OperatorForm] = {
    "Add": OperatorForm(2, 2),
    "Cast": OperatorForm(1, 1, frozenset({"to"})),
    "Concat": OperatorForm(1, _MANY, frozenset({"axis"})),
    "Conv": OperatorForm(2, 3, _WINDOW),
    "DequantizeLinear": OperatorForm(2, 3, frozenset({"axis"})),
    "Div": OperatorForm(2, 2),
    "Gelu": OperatorForm(1, 1, frozenset({"approximate"})),
    "Greater": OperatorForm(2, 2),
    "InstanceNormalization": OperatorForm(3, 3, frozenset({"epsilon"})),
    "LayerNormalization": OperatorForm(2, 3, frozenset({"axis", "epsilon"})),
    "MatMul": OperatorForm(2, 2),
    "Mul": OperatorForm(2, 2),
    "Pad": OperatorForm(2, 3, frozenset({"mode"})),
    "QuantizeLinear": OperatorForm(2, 3, frozenset({"axis"})),
    "Reshape": OperatorForm(2, 2),
    "Resize": OperatorForm(
        1, 4, frozenset({"coordinate_transformation_mode", "mode", "nearest_mode"})
    ),
    "Sigmoid": OperatorForm(1, 1),
    "Slice": OperatorForm(3, 5),
    "Softmax": OperatorForm(1, 1, frozenset({"axis"})),
    "Split": OperatorForm(2, 2, frozenset({"axis"}), outputs=_MANY),
    "Sub": OperatorForm(2, 2),
    "Transpose": OperatorForm(1, 1, frozenset({"perm"})),
    "Where": OperatorForm(3, 3),
}
"""By name, the operators of the graphs that every engine opens: all are ONNX's own and
in every target's parser."""

OWN_OPERATORS: Mapping[str, Mapping[str, Mapping[str, OperatorForm]]] = {
    "openvino": {"": {"Gather": OperatorForm(2, 2, frozenset({"axis"}))}},
    "ort_cuda": {
        "": {"Expand": OperatorForm(2, 2), "Not": OperatorForm(1, 1)},
        MICROSOFT: {
            "BiasAdd": OperatorForm(3, 3),
            "BiasSplitGelu": OperatorForm(2, 2),
            "FusedMatMul": OperatorForm(2, 2, frozenset({"alpha"})),
            "GroupNorm": OperatorForm(3, 3, _GROUP_NORM),
            "MultiHeadAttention": OperatorForm(3, 6, frozenset({"num_heads", "scale"})),
            "NhwcConv": OperatorForm(2, 2, _WINDOW),
            "SkipGroupNorm": OperatorForm(4, 5, _GROUP_NORM, outputs=2),
            "SkipLayerNormalization": OperatorForm(3, 5, frozenset({"epsilon"}), outputs=4),
        },
    },
}
"""By backend and domain, what the graphs that are this backend's own hold besides."""
