"""Attention against torch, whole and in parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from echoexport.export.subnets.layers import attend
from echoexport.export.subnets.lowering import attention

Compute = Callable[..., Any]


@pytest.mark.parametrize("context", [4, 9])
def test_attention(lower: Any, context: int) -> None:
    shapes = (2, 6, 12), (2, context, 12), (2, context, 12)
    lowered = lower(lambda m, q, k, v: attend(q, k, v, heads=3), *shapes)
    assert lowered.error <= 1
    assert lowered.operators.count("Softmax") == 1


@pytest.mark.parametrize(
    ("limit", "parts"), [(1296, 1), (1295, 2), (648, 2), (647, 3), (323, 6), (215, 12), (107, 1)]
)
def test_attention_is_split_no_finer_than_the_limit_wants_and_never_unevenly(
    lower: Any, monkeypatch: pytest.MonkeyPatch, limit: int, parts: int
) -> None:
    monkeypatch.setattr(attention, "MOST_SCORES", limit)
    lowered = lower(lambda m, q, k, v: attend(q, k, v, heads=2), (12, 6, 8), (12, 9, 8), (12, 9, 8))
    assert 12 * 2 * 6 * 9 == 1296, (
        "scores; of one of 12 parts, 108, are too many for the last limit"
    )
    assert lowered.operators.count("Softmax") == parts
    assert lowered.operators.count("Split") == (3 if parts > 1 else 0)
    assert lowered.error <= 1
