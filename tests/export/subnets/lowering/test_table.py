"""What the table of lowerings holds, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from echoexport.export.subnets.lowering.attention import ATTENTION
from echoexport.export.subnets.lowering.layers import LAYERS
from echoexport.export.subnets.lowering.shapes import SHAPES
from echoexport.export.subnets.lowering.table import TABLE
from echoexport.export.subnets.lowering.values import VALUES
from echoexport.runtime.errors import GraphError

Compute = Callable[..., Any]


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
        (lambda m, x: F.scaled_dot_product_attention(x, x, x, is_causal=True), "causality"),
    ],
    ids=["operator", "step", "reflect", "crop", "alpha", "affine", "weight", "causal"],
)
def test_what_has_no_lowering_is_refused_by_name(lower: Any, compute: Compute, named: str) -> None:
    with pytest.raises(GraphError) as caught:
        lower(compute, (4, 4))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_overload_is_lowered_in_two_places() -> None:
    tables = (LAYERS, ATTENTION, VALUES, SHAPES)
    assert sum(len(table) for table in tables) == len(TABLE)


def test_the_refusal_lists_what_is_known_in_order(lower: Any) -> None:
    with pytest.raises(GraphError) as caught:
        lower(lambda m, x: torch.cumsum(x, dim=0), (4, 4))
    known = str(caught.value).partition("known: ")[2].split(", ")
    assert known == sorted(TABLE)
    assert "aten.linear.default" in known
