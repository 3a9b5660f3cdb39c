"""The contract of a network: its name, tensors, axes and tolerances.

Export, calibration, parity, profiling and the manifest all read it from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PRECISIONS = {"fp32": "float32", "fp16": "float16"}
"""Precisions with one dtype throughout, and that dtype."""

STORED = (*PRECISIONS, "int8")
"""What a network may be stored in. "int8": layers with int8 weights and Q/DQ, tensors
in float32 or float16 around."""

ARITHMETIC = ("fp32", "bf16")
"""What an engine may be told to compute in where a graph leaves it the choice."""

# Largest difference allowed between an engine and the fp32 torch module on the
# self-test inputs, relative to the largest absolute value of each output. fp32: 2e-5
# measured, with room for other kernels' summation order. fp16: 5e-4 to 6e-3 measured on
# the reference weights. bf16: 3e-3 to 5e-2 measured on the demo character; wrong
# kernels, which it guards against, are off by 0.8 and more. int8: 4e-3 to 0.28 measured
# there with plain min-max ranges on every layer, the coarsest that is of use (22 dB); a
# fault, and not mere rounding, is expected to be off by about the whole range, as
# bf16's were.
TOLERANCES = {"fp32": 5e-4, "fp16": 3e-2, "bf16": 1.5e-1, "int8": 3.5e-1}


@dataclass(frozen=True)
class TensorSpec:
    """One input or output."""

    name: str
    """What calls pass it by."""
    dtype: str
    """Its name in numpy."""
    axes: tuple[tuple[str, int], ...]
    """(name, size) from the outermost in."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return tuple(size for _, size in self.axes)


@dataclass(frozen=True)
class SubnetSpec:
    """One network: named tensors in and out, tolerances, and what it is stored in."""

    name: str
    """Its role, as its family calls it."""
    inputs: tuple[TensorSpec, ...]
    """In the graph's order."""
    outputs: tuple[TensorSpec, ...]
    """In the graph's order."""
    tolerances: Mapping[str, float]
    """What each precision is held to."""
    precision: str = ""
    """What it is stored in, of ``STORED``; where it is "", the dtype of the inputs says it."""

    @property
    def stored(self) -> str:
        """What it is stored in: "fp32", "fp16" or "int8"."""
        return self.precision or next(
            name for name, dtype in PRECISIONS.items() if dtype == self.inputs[0].dtype
        )

    def computed_in(self, arithmetic: str) -> str:
        """What an engine of this network computes in when told so.

        "fp32", "fp16", "bf16", "int8" or "int8+bf16".
        """
        if arithmetic == "fp32":
            return self.stored
        return f"int8+{arithmetic}" if self.stored == "int8" else arithmetic


def find_tolerance(tolerances: Mapping[str, float], precision: str) -> float:
    """What an engine that computes in ``precision`` is held to.

    Of "int8+bf16" the coarser part's.
    """
    return max(tolerances.get(part, TOLERANCES[part]) for part in precision.split("+"))


def describe_arithmetic(computed: Mapping[str, str]) -> str:
    """What the networks compute in as one phrase, from ``Bundle.arithmetic``.

    "bf16", or "mixed: int8 (a, b), ...".
    """
    kinds = sorted(set(computed.values()))
    if len(kinds) == 1:
        return kinds[0]
    groups = (
        f"{kind} ({', '.join(name for name, its in computed.items() if its == kind)})"
        for kind in kinds
    )
    return f"mixed: {', '.join(groups)}"
