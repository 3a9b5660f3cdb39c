"""Each lowering against torch.

Small random modules, traced as the networks are and run in ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoexport.export.architecture import Architecture
from echoexport.export.subnets import lowering, tracing
from echoexport.export.subnets.layers import Upsample, attend
from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec
from echoexport.runtime.errors import GraphError

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


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_a_matmul_with_the_weight_turned(lower: Any, bias: bool) -> None:
    lowered = lower(lambda m, x: m["linear"](x), (2, 5, 6), linear=nn.Linear(6, 4, bias=bias))
    assert lowered.error <= 1
    assert operators(lowered.model) == (["MatMul", "Add"] if bias else ["MatMul"])
    assert list(lowered.model.graph.initializer[0].dims) == [6, 4]


def test_two_linears_may_share_a_weight(lower: Any) -> None:
    assert (
        lower(
            lambda m, x, y: m["linear"](x) + m["linear"](y),
            (2, 6),
            (3, 2, 6),
            linear=nn.Linear(6, 4),
        ).error
        <= 1
    )


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": (2, 1), "padding": (0, 2)},
        {"kernel_size": (1, 3), "bias": False},
        {"kernel_size": 3, "groups": 2, "padding": 1},
        {"kernel_size": 3, "dilation": 2, "padding": 2},
        {"kernel_size": 1},
    ],
    ids=str,
)
def test_convolutions_keep_stride_padding_and_groups(lower: Any, options: dict[str, Any]) -> None:
    assert (
        lower(lambda m, x: m["conv"](x), (2, 4, 7, 6), conv=nn.Conv2d(4, 6, **options)).error <= 1
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_in_one_dimension(lower: Any, stride: int) -> None:
    assert (
        lower(
            lambda m, x: m["conv"](x), (1, 5, 12), conv=nn.Conv1d(5, 4, 3, stride=stride, padding=1)
        ).error
        <= 1
    )


@pytest.mark.parametrize("shape", [(3, 12, 4, 5), (1, 12, 1, 1), (2, 12, 7)], ids=str)
@pytest.mark.parametrize("eps", [1e-6, 0.5])
def test_group_norm(lower: Any, shape: tuple[int, ...], eps: float) -> None:
    lowered = lower(lambda m, x: m["norm"](x), shape, norm=nn.GroupNorm(4, 12, eps=eps))
    assert lowered.error <= 1
    sides = [
        s.dim_value
        for info in lowered.model.graph.value_info
        for s in info.type.tensor_type.shape.dim
    ]
    assert min(sides) > 0


@pytest.mark.parametrize("wide", [(8,), (5, 8)], ids=str)
def test_layer_norm(lower: Any, wide: tuple[int, ...]) -> None:
    assert lower(lambda m, x: m["norm"](x), (2, 5, 8), norm=nn.LayerNorm(wide, eps=0.3)).error <= 1


@pytest.mark.parametrize("context", [4, 9])
def test_attention(lower: Any, context: int) -> None:
    shapes = (2, 6, 12), (2, context, 12), (2, context, 12)
    lowered = lower(lambda m, q, k, v: attend(q, k, v, heads=3), *shapes)
    assert lowered.error <= 1
    assert operators(lowered.model).count("Softmax") == 1


@pytest.mark.parametrize(
    ("limit", "parts"), [(1296, 1), (1295, 2), (648, 2), (647, 3), (323, 6), (215, 12), (107, 1)]
)
def test_attention_is_split_no_finer_than_the_limit_wants_and_never_unevenly(
    lower: Any, monkeypatch: pytest.MonkeyPatch, limit: int, parts: int
) -> None:
    monkeypatch.setattr(lowering, "MOST_SCORES", limit)
    lowered = lower(lambda m, q, k, v: attend(q, k, v, heads=2), (12, 6, 8), (12, 9, 8), (12, 9, 8))
    assert 12 * 2 * 6 * 9 == 1296, (
        "scores; of one of 12 parts, 108, are too many for the last limit"
    )
    assert operators(lowered.model).count("Softmax") == parts
    assert operators(lowered.model).count("Split") == (3 if parts > 1 else 0)
    assert lowered.error <= 1


def test_activations(lower: Any) -> None:
    assert (
        lower(lambda m, x: (F.gelu(x), F.silu(x), F.gelu(x, approximate="tanh")), (3, 7)).error <= 1
    )


def test_arithmetic_broadcasts_and_takes_numbers(lower: Any) -> None:
    assert (
        lower(lambda m, x, y: ((x + y) * 3.0, x - y, y / x, 2 * x + 1), (3, 1, 5), (4, 5)).error
        <= 1
    )


def test_a_gate_picks_by_comparison(lower: Any) -> None:
    shapes = (4,), (4, 3), (4, 6, 3)
    lowered = lower(
        lambda m, gate, x, y: torch.where((gate > 0.1).reshape(4, 1, 1), x[:, None], y), *shapes
    )
    assert lowered.error <= 1


@pytest.mark.parametrize(("start", "end"), [(1, 4), (0, 99), (-3, None), (2, -1)])
def test_slices_take_any_bounds(lower: Any, start: int, end: int | None) -> None:
    assert lower(lambda m, x: x[:, start:end] * 2, (2, 6, 3)).error <= 1


@pytest.mark.parametrize("axis", [1, -1])
def test_chunks_may_be_uneven(lower: Any, axis: int) -> None:
    assert (
        lower(lambda m, x: tuple(part * 2 for part in x.chunk(3, dim=axis)), (3, 7, 8)).error <= 1
    )


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_stack_and_cat(lower: Any, axis: int) -> None:
    shapes = (2, 3, 4), (2, 3, 4)
    lowered = lower(
        lambda m, x, y: (torch.stack([x, y, x], dim=axis), torch.cat([x, y], dim=axis)), *shapes
    )
    assert lowered.error <= 1


@pytest.mark.parametrize("pads", [(0, 1, 0, 1), (2, 0), (1, 2, 3, 4, 0, 1)], ids=str)
@pytest.mark.parametrize("fill_value", [0.0, -2.5])
def test_pads_go_to_the_right_axes(lower: Any, pads: tuple[int, ...], fill_value: float) -> None:
    assert lower(lambda m, x: F.pad(x, pads, value=fill_value), (2, 3, 4, 5)).error <= 1


def test_rearrangements(lower: Any) -> None:
    lowered = lower(
        lambda m, x: (
            x.reshape(6, 20),
            x.flatten(2).transpose(1, 2),
            x.transpose(-1, 0),
            x[:, None].squeeze(1).unsqueeze(-1) * 1.0,
        ),
        (2, 3, 4, 5),
    )
    assert lowered.error <= 1


@pytest.mark.parametrize("size", [None, (6, 8), (5, 7), (5, 8), (6, 7)], ids=str)
def test_upsampling_doubles_or_goes_to_the_skips_size(
    lower: Any, size: tuple[int, int] | None
) -> None:
    lowered = lower(lambda m, x: m["up"](x, size), (2, 3, 3, 4), up=Upsample(3))
    assert lowered.error <= 1
    resize = next(node for node in lowered.model.graph.node if node.op_type == "Resize")
    assert len(resize.input) == (3 if size in (None, (6, 8)) else 4)


def test_new_tensors_of_ones_and_zeros(lower: Any) -> None:
    assert (
        lower(lambda m, x: torch.cat([x.new_ones(1, 2), x.new_zeros(1, 3), x], dim=1), (1, 4)).error
        <= 1
    )


def test_an_output_may_have_the_name_of_a_value_inside(lower: Any) -> None:
    def compute(m: nn.ModuleDict, out0: Tensor) -> tuple[Tensor, Tensor]:
        doubled = out0 * 2
        return doubled + 1, doubled

    assert lower(compute, (2, 3)).error <= 1


def test_nothing_that_reaches_no_output_is_kept(lower: Any) -> None:
    def compute(m: nn.ModuleDict, x: Tensor) -> Tensor:
        m["unused"](x)
        return m["used"](x)

    lowered = lower(compute, (2, 4), used=nn.Linear(4, 4), unused=nn.Linear(4, 3))
    assert lowered.error <= 1
    assert operators(lowered.model) == ["MatMul", "Add"]
    assert {tensor.name for tensor in lowered.model.graph.initializer} == {
        "layers.used.weight",
        "layers.used.bias",
    }


@pytest.mark.parametrize(
    ("compute", "named"),
    [
        (lambda m, x: torch.cumsum(x, dim=0), "aten.cumsum.default (node cumsum); known: "),
        (lambda m, x: x[:, ::2], "step 2"),
        (lambda m, x: F.pad(x[None], (1, 1), mode="reflect")[0], "'reflect'"),
        (lambda m, x: F.pad(x, (-1, 0)), "[-1, 0]"),
        (lambda m, x: torch.add(x, x, alpha=2), "'alpha': 2"),
        (lambda m, x: F.layer_norm(x, (4,)), "no weight"),
        (lambda m, x: F.linear(x, x), "weight of linear"),
        (lambda m, x: F.scaled_dot_product_attention(x, x, x, is_causal=True), "mask"),
    ],
    ids=["operator", "step", "reflect", "crop", "alpha", "affine", "weight", "causal"],
)
def test_what_has_no_lowering_is_refused_by_name(lower: Any, compute: Compute, named: str) -> None:
    with pytest.raises(GraphError) as caught:
        lower(compute, (4, 4))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_parameter_read_by_a_linear_and_otherwise_is_refused(lower: Any) -> None:
    with pytest.raises(GraphError, match="linear_weight"):
        lower(lambda m, x: m["linear"](x) + m["linear"].weight, (4, 4), linear=nn.Linear(4, 4))


def test_outputs_that_disagree_with_the_spec_are_refused(
    micro: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        tracing, "build_network", lambda *_, **__: Sandbox(lambda m, x: (x * 2, x + 1))
    )
    one = SubnetSpec("sandbox", (describe("x", (2, 3)),), (describe("y", (2, 3)),), {})
    with pytest.raises(GraphError, match="gives 2 outputs, its spec has 1"):
        tracing.trace_network(one, micro)
    two = SubnetSpec("sandbox", one.inputs, (describe("y", (2, 3)), describe("z", (3, 2))), {})
    with pytest.raises(GraphError, match=r"z is \(2, 3\), its spec says \(3, 2\)"):
        tracing.trace_network(two, micro)
