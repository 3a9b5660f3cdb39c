"""What NVIDIA's ONNX parser takes, as data.

Operators, their types and the newest opset, by line of TensorRT.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from echoexport.runtime.errors import GraphError

Version = tuple[int, int]

_FLOATS = frozenset({"float32", "float16", "bfloat16"})
_WHOLE = frozenset({"int32", "int64"})
_BOOL = frozenset({"bool"})

# From the tables of supported operators in onnx-tensorrt's documentation. 10.3's table
# lies between those of 9.2 and 10.15: what both list holds for it, with the types that
# both list; what only the later one lists counts from the release that its changelog
# names, or from 10.15 where it names none. Opset-20's Gelu came as an activation of
# 10.0.
_COMMON: tuple[tuple[frozenset[str], str], ...] = (
    (
        _FLOATS,
        "Acos Acosh Asin Asinh Atan Atanh AveragePool BatchNormalization Ceil Celu Clip Conv "
        "ConvTranspose Cos Cosh "
        "CumSum Einsum Elu Erf Exp Floor Gelu Gemm GlobalAveragePool GlobalLpPool "
        "GlobalMaxPool HardSigmoid HardSwish "
        "Hardmax InstanceNormalization IsInf LRN LayerNormalization LeakyRelu Log LogSoftmax "
        "LpNormalization LpPool "
        "MatMul MaxPool MeanVarianceNormalization PRelu QuantizeLinear Reciprocal Resize "
        "Round Selu Sigmoid Sin Sinh "
        "Softmax Softplus Softsign Sqrt Tan Tanh ThresholdedRelu",
    ),
    (
        _FLOATS | _WHOLE,
        "Abs Add ArgMax ArgMin DepthToSpace Div Equal Greater GreaterOrEqual IsNaN Less "
        "LessOrEqual Max Mean Min Mod "
        "Mul Neg Pad Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax "
        "ReduceMean ReduceMin ReduceProd "
        "ReduceSum ReduceSumSquare Relu ScatterElements ScatterND Shrink Sign SpaceToDepth "
        "Sub Sum TopK",
    ),
    (
        _FLOATS | _WHOLE | _BOOL,
        "Concat Constant Expand Flatten Gather GatherElements GatherND Identity OneHot "
        "Reshape ReverseSequence Shape "
        "Size Slice Split Squeeze Tile Transpose Trilu Unsqueeze Where",
    ),
    (_FLOATS | _WHOLE | _BOOL | {"uint8"}, "Cast CastLike"),
    (frozenset({"int8"}), "DequantizeLinear"),
    (_BOOL, "And Not Or Xor"),
)

_LATER: Mapping[str, tuple[Version, frozenset[str]]] = {
    "HannWindow": ((10, 4), _FLOATS - {"bfloat16"}),
    "HammingWindow": ((10, 4), _FLOATS - {"bfloat16"}),
    "BlackmanWindow": ((10, 4), _FLOATS - {"bfloat16"}),
    "STFT": ((10, 5), frozenset({"float32"})),
    "GroupNormalization": (
        (10, 9),
        _FLOATS,
    ),  # opset 21's; opset 18's scales by group, which nobody exports
    "Attention": ((10, 14), _FLOATS),
    "RMSNormalization": ((10, 15), _FLOATS),
    "RotaryEmbedding": ((10, 15), _FLOATS),
}

# What to do where the parser has no such operator.
REPLACEMENTS: Mapping[str, str] = {
    "Attention": "export it as MatMul, Softmax, MatMul",
    "GroupNormalization": "export it as Reshape, InstanceNormalization, Reshape, Mul, Add",
    "RMSNormalization": "export it as Mul, ReduceMean, Sqrt, Div",
    "ConvInteger": "quantize with QuantizeLinear and DequantizeLinear around a float Conv",
    "QLinearConv": "quantize with QuantizeLinear and DequantizeLinear around a float Conv",
    "MatMulInteger": "quantize with QuantizeLinear and DequantizeLinear around a float MatMul",
    "QLinearMatMul": "quantize with QuantizeLinear and DequantizeLinear around a float MatMul",
    "DynamicQuantizeLinear": "calibrate, and use QuantizeLinear with a constant scale",
}

PAD_AXES: Version = (10, 4)
"""The first TensorRT whose parser takes the axes of a Pad as an input (onnx-tensorrt's
changelog)."""

LARGE_VOLUMES: Version = (10, 10)
"""The first TensorRT with layers for tensors of 2**31 elements and more (its release
notes)."""


@dataclass(frozen=True)
class ParserLine:
    """The parser of one line of TensorRT.

    ``version`` as (major, minor), and the newest opset that it takes.
    """

    version: Version
    opset: int

    @property
    def name(self) -> str:
        """E.g. "10.3"."""
        return ".".join(map(str, self.version))

    def find_types(self, operator: str) -> frozenset[str] | None:
        """Types of the operator's values, None where this parser does not know it."""
        if operator in _LATER:
            since, types = _LATER[operator]
            return types if self.version >= since else None
        return next((types for types, names in _COMMON if operator in names.split()), None)


LINES: Mapping[str, ParserLine] = {
    "10.3": ParserLine((10, 3), 20),  # JetPack 6.1 and 6.2
    "10.16": ParserLine((10, 16), 24),  # JetPack 7.2
    "11.4": ParserLine((11, 4), 24),  # the first TensorRT 11 for Orin
}
"""The lines that every graph is held to."""


def find_line(version: str) -> ParserLine:
    """The rules for a TensorRT, e.g. "10.16.2": those of the newest line that is not newer than it.

    Raises:
        GraphError: older than every line, or not a version.
    """
    try:
        major, minor = (int(part) for part in [*version.split("."), "0"][:2])
    except ValueError:
        raise GraphError(f"TensorRT {version!r}: not a version like '10.3'") from None
    older = [line for line in LINES.values() if line.version <= (major, minor)]
    if not older:
        raise GraphError(
            f"TensorRT {version}: graphs are made for {next(iter(LINES))} and newer; update "
            "JetPack to 6.1"
        )
    return older[-1]
