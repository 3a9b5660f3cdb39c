"""Linear layers, convolutions and norms against torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

Compute = Callable[..., Any]


@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_a_matmul_with_the_weight_turned(lower: Any, bias: bool) -> None:
    lowered = lower(lambda m, x: m["linear"](x), (2, 5, 6), linear=nn.Linear(6, 4, bias=bias))
    assert lowered.error <= 1
    assert lowered.operators == (["MatMul", "Add"] if bias else ["MatMul"])
    assert list(lowered.model.graph.initializer[0].dims) == [6, 4]


def test_a_product_of_computed_matrices_is_a_matmul(lower: Any) -> None:
    lowered = lower(lambda m, chosen, x: chosen @ x, (1, 3, 5), (1, 5, 4))
    assert lowered.error <= 1
    assert lowered.operators == ["MatMul"]


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
