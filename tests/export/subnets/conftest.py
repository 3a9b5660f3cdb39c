"""Formulas that are traced as the networks are, and networks beside their golden arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from echoexport.export.architecture import Architecture
from echoexport.export.checkpoint.reader import Checkpoint, open_checkpoint
from echoexport.export.subnets import tracing
from echoexport.export.subnets.networks import build_network, load_weights
from echoexport.export.subnets.unet import ReferenceUNet
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


@dataclass
class Bench:
    """The networks of one checkpoint beside the goldens of its size.

    One network in memory at a time.
    """

    goldens: Any
    reference: Any
    checkpoint: Checkpoint
    load: Callable[[Checkpoint, str], nn.Module]

    def network(self, name: str) -> nn.Module:
        return self.load(self.checkpoint, name)

    def input(self, name: str, scale: float = 1.0) -> torch.Tensor:
        shape = self.goldens.meta["inputs"][name][0]
        return torch.from_numpy(self.reference.reference_input(name, shape, scale))

    def mask(self) -> torch.Tensor:
        left, top, right, bottom = self.goldens.meta["conf"]["rect"]
        mask = torch.zeros(self.goldens.meta["inputs"]["mask"][0])
        mask[..., top:bottom, left:right] = 1.0
        return mask

    def pose_locator(self) -> nn.Module:
        """The goldens' own: the pose variants' face locator beside the acc variant's denoiser."""
        tensors = self.reference.checkpoint_tensors(
            "face_locator_pose", size=self.goldens.meta["size"]
        )
        a = self.checkpoint.architecture
        pose = replace(a, landmark=replace(a.landmark, in_channels=3))
        return load_weights(build_network("landmark_encoder", pose), tensors)

    def banks(self) -> tuple[torch.Tensor, dict[str, Any]]:
        with torch.no_grad():
            return ReferenceUNet.forward(
                self.network("reference_unet"), self.input("ref_latents", 0.8)
            )  # type: ignore[arg-type]


@pytest.fixture(
    scope="module",
    params=["tiny", pytest.param("full", marks=[pytest.mark.full, pytest.mark.slow])],
)
def bench(request: pytest.FixtureRequest, echo_reference: Any, load_network: Any) -> Bench:
    goldens = request.getfixturevalue(f"goldens_{request.param}")
    folder = request.getfixturevalue(f"{request.param}_checkpoint")
    checkpoint = open_checkpoint(folder, "acc")
    return Bench(goldens, echo_reference, checkpoint, load_network)
