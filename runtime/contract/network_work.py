"""How much a network computes and moves in one call.

It is counted from the network's graph when the bundle is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["NetworkWork", "Work", "add_up"]


@dataclass(frozen=True)
class Work:
    """Floating-point operations and bytes of one call."""

    mac_flops: int = 0
    """Two for each multiply-accumulate of Conv, ConvTranspose, MatMul and Gemm."""
    weighted_flops: int = 0
    """The part of them where one side is a weight, which is what int8 can take over."""
    int8_flops: int = 0
    """The part where both sides are int8 in the graph."""
    other_flops: int = 0
    """Normalization, softmax, activations and elementwise arithmetic; see
    ``export.graphs.count_work`` for what each counts."""
    weight_bytes: int = 0
    """Weights as stored, each once."""
    activation_bytes: int = 0
    """Every operation reads its inputs from memory and writes its outputs there."""
    fused_bytes: int = 0
    """An estimate of what is left of these once elementwise and layout operations are
    fused with their neighbours and attention keeps its scores to itself."""
    kernels: int = 0
    """How many operations are then left, about what a GPU launches for a call."""

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if getattr(self, name) < 0:
                raise ValueError(f"work: {name} is {getattr(self, name)}; 0 or more is wanted")

    @property
    def flops(self) -> int:
        """All operations."""
        return self.mac_flops + self.other_flops

    @property
    def bytes(self) -> int:
        """What a call moves to and from memory, with fused operations: weights and activations."""
        return self.weight_bytes + self.fused_bytes

    @property
    def unfused_bytes(self) -> int:
        """The same where nothing is fused."""
        return self.weight_bytes + self.activation_bytes


@dataclass(frozen=True)
class NetworkWork:
    """One network's work by module group."""

    by_group: Mapping[str, Work]
    """By names such as "down/self-attention"; see ``profiles.modelling.module_groups``."""

    @property
    def total(self) -> Work:
        """All groups together."""
        return add_up(tuple(self.by_group.values()))

    @property
    def flops(self) -> int:
        """Operations of one call."""
        return self.total.flops

    @property
    def bytes(self) -> int:
        """Bytes that one call moves, with fused operations."""
        return self.total.bytes


def add_up(parts: tuple[Work, ...]) -> Work:
    """The sum of several, field by field."""
    names = Work.__dataclass_fields__
    return Work(**{name: sum(getattr(part, name) for part in parts) for name in names})
