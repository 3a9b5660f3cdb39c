"""Activations, arithmetic and choices against torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

Compute = Callable[..., Any]


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


def test_new_tensors_of_ones_and_zeros(lower: Any) -> None:
    assert (
        lower(lambda m, x: torch.cat([x.new_ones(1, 2), x.new_zeros(1, 3), x], dim=1), (1, 4)).error
        <= 1
    )
