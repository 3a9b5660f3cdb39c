"""Small attentions packed into fewer ones, and those that stay apart."""

from __future__ import annotations

from typing import Any

import pytest

from echoexport.export.graphs.edited_graph import EditedGraph
from echoexport.export.ort_cuda import packing

pytest.importorskip("onnxruntime")

EXACT = 1e-5
B = 2
T = 5
C = 6


def attention(draft: Any, *shapes: tuple[int, int, int], heads: int = 2) -> str:
    inputs = [draft.input(*shape) for shape in shapes]
    node = draft.add(
        "MultiHeadAttention", *inputs, domain="com.microsoft", num_heads=heads, scale=0.5
    )
    draft.values[node] = shapes[0]
    return str(node)


@pytest.mark.parametrize("batch", [packing.PACKED, 3 * packing.PACKED])
@pytest.mark.parametrize("tokens", [1, 3, packing.SHORTEST])
def test_small_attentions_are_packed_with_a_mask_between_them(
    sketch: Any, rewritten: Any, batch: int, tokens: int
) -> None:
    draft = sketch()
    model = draft.model(attention(draft, *[(batch, tokens, 8)] * 3))
    found, error = rewritten(model, packing.pack_attentions)
    assert error <= EXACT
    assert found == {"MultiHeadAttention": 1, "Reshape": 4}


@pytest.mark.parametrize(
    "shapes",
    [
        [(packing.PACKED + 1, 3, 8)] * 3,
        [(packing.PACKED - 1, 3, 8)] * 3,
        [(packing.PACKED, packing.SHORTEST + 1, 8)] * 3,
        [(packing.PACKED, 3, 8), (packing.PACKED, 4, 8), (packing.PACKED, 4, 8)],
    ],
)
def test_attentions_that_do_not_divide_or_are_long_or_look_elsewhere_stay_apart(
    sketch: Any, rewritten: Any, shapes: list[tuple[int, int, int]]
) -> None:
    draft = sketch()
    found, error = rewritten(draft.model(attention(draft, *shapes)), packing.pack_attentions)
    assert error <= EXACT
    assert found == {"MultiHeadAttention": 1}


def test_masks_of_attentions_alike_are_one_constant(sketch: Any) -> None:
    draft = sketch()
    model = draft.model(*(attention(draft, *[(packing.PACKED, 3, 8)] * 3) for _ in range(2)))
    graph = EditedGraph(model)
    packing.pack_attentions(graph)
    graph.index()
    masks = [
        tensor
        for tensor in graph.finish().graph.initializer
        if tensor.name.startswith("attention_mask")
    ]
    assert len(masks) == 1
