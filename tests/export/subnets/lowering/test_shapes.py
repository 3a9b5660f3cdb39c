"""Views, slices, joins, pads and resizes against torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from echoexport.export.subnets.layers import Upsample

Compute = Callable[..., Any]


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
