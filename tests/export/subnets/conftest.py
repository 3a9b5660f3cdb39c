"""Formulas that are traced as the networks are, run in ONNX Runtime, and compared with torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from echoexport.export.architecture import Architecture
from echoexport.export.subnets import tracing
from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec

Compute = Callable[..., Any]

# ONNX Runtime against torch, both in fp32
RTOL = 1e-5
ATOL = 2e-6


class Sandbox(nn.Module):
    """A network of one formula.

    ``layers`` hold parameters, ``compute`` says what becomes of the inputs.
    """

    def __init__(self, compute: Compute, **layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)
        self.compute = compute

    def forward(self, *inputs: Tensor) -> Any:
        return self.compute(self.layers, *inputs)


@dataclass(frozen=True)
class Lowered:
    """A formula's graph, and the largest difference of what it gives to what torch gives.

    1 is what is allowed.
    """

    model: onnx.ModelProto
    error: float

    @property
    def operators(self) -> list[str]:
        """The graph's operators, in its order."""
        return [node.op_type for node in self.model.graph.node]


def share_of_tolerance(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference over the tolerance at its place; infinite where shapes differ."""
    if found.shape != wanted.shape:
        return float("inf")
    return float(np.max(np.abs(found - wanted) / (ATOL + RTOL * np.abs(wanted))))


@pytest.fixture
def lower(
    monkeypatch: pytest.MonkeyPatch, micro: Architecture, fill: Any, stored: Any, run_onnx: Any
) -> Callable[..., Lowered]:
    """A function that traces a formula, and compares what the graph gives with what torch gives."""

    def run(compute: Compute, *shapes: tuple[int, ...], **layers: nn.Module) -> Lowered:
        network = fill(Sandbox(compute, **layers), 1) if layers else Sandbox(compute)
        random = np.random.default_rng(2)
        inputs = {
            f"in{i}": random.standard_normal(shape, dtype=np.float32)
            for i, shape in enumerate(shapes)
        }
        with torch.no_grad():
            given = network(*(torch.from_numpy(value) for value in inputs.values()))
        outputs = given if isinstance(given, tuple) else (given,)
        spec = SubnetSpec(
            "sandbox",
            tuple(describe(name, value.shape) for name, value in inputs.items()),
            tuple(describe(f"out{i}", tuple(value.shape)) for i, value in enumerate(outputs)),
            {},
        )
        monkeypatch.setattr(tracing, "build_network", lambda *_, **__: network.to("meta"))
        weights = stored(network)
        model = tracing.trace_network(spec, micro)
        found = run_onnx(model, weights, inputs)
        pairs = zip(spec.outputs, outputs, strict=True)
        errors = [
            share_of_tolerance(found[tensor.name], wanted.numpy()) for tensor, wanted in pairs
        ]
        return Lowered(model, float(np.max(errors)))  # numpy's, which lets no NaN pass

    return run


def describe(name: str, shape: tuple[int, ...]) -> TensorSpec:
    return TensorSpec(name, "float32", tuple((f"axis{i}", side) for i, side in enumerate(shape)))
