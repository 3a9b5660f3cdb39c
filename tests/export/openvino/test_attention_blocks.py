"""Attentions in blocks: the same numbers, fewer products, and which are left alone."""

from __future__ import annotations

from typing import Any

import pytest

from echoexport.export.graphs.edited_graph import EditedGraph
from echoexport.export.openvino.attention_blocks import FEW_TOKENS, AttentionBlocks

pytest.importorskip("onnxruntime")

CLOSE = 100.0  # dB


@pytest.mark.parametrize("option", [4, 8, 16])
@pytest.mark.parametrize("tokens", [1, 3, 12])
def test_blocks_give_what_single_attentions_give(
    sketch: Any, attention: Any, rewrite_all: Any, decibels: Any, option: int, tokens: int
) -> None:
    draft = sketch()
    model = draft.finish(attention(draft, (32, tokens, 8), (32, tokens, 8)))
    result, found = rewrite_all(model, AttentionBlocks(), option)
    assert found == 1
    assert decibels(model, result) >= CLOSE
    (softmax,) = (node for node in result.graph.node if node.op_type == "Softmax")
    shapes = EditedGraph(result)
    assert softmax.name
    assert [node.op_type for node in shapes.nodes].count("MatMul") == 2


def test_an_option_is_what_divides_the_batch_and_is_no_longer_than_a_block(
    sketch: Any, attention: Any
) -> None:
    def options(batch: int, tokens: int) -> tuple[int, ...]:
        draft = sketch()
        model = draft.finish(attention(draft, (batch, tokens, 8), (batch, tokens, 8)))
        rewrite = AttentionBlocks()
        return tuple(
            option
            for place in rewrite.find(EditedGraph(model))
            for option in rewrite.list_options(place)
        )

    assert options(48, 4) == (8, 16, 4)
    assert options(12, 4) == (4,)
    assert options(16, 32) == (8, 4)  # 16 of them would be 512 tokens
    assert options(10, 4) == ()


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ((16, FEW_TOKENS + 1, 8), (16, FEW_TOKENS + 1, 8)),  # large enough for themselves
        ((16, 4, 8), (16, 6, 8)),  # keys of something else
        ((1, 4, 8), (1, 4, 8)),  # nothing to be put together with
        ((9, 4, 8), (9, 4, 8)),  # no option divides them
    ],
)
def test_other_attentions_are_not_found(
    sketch: Any, attention: Any, query: tuple[int, int, int], key: tuple[int, int, int]
) -> None:
    draft = sketch()
    model = draft.finish(attention(draft, query, key))
    assert AttentionBlocks().find(EditedGraph(model)) == []


def test_blocks_of_one_form_share_a_mask(sketch: Any, attention: Any, rewrite_all: Any) -> None:
    draft = sketch()
    model = draft.finish(*(attention(draft, (8, 3, 8), (8, 3, 8)) for _ in range(3)))
    result, found = rewrite_all(model, AttentionBlocks(), 8)
    masks = [one for one in result.graph.initializer if one.name.startswith("attention_mask")]
    assert (found, len(masks)) == (3, 1)
