"""Attentions over a few tokens, several in one product with a mask between them.

A network's temporal attentions are thousands of products of a few frames each: their
fixed cost is the larger part, on a CPU's matrix units even more so.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from echoexport.export.graphs.edited_graph import EditedGraph
from echoexport.export.graphs.patterns import AttentionPattern, draw_mask, find_attentions
from echoexport.export.openvino.rewrite import Rewrite, Site, replace_maker

FEW_TOKENS = 32
"""Tokens up to which an attention is too small for a product of its own."""

_TOGETHER = (8, 16, 4)
_WIDEST = 256  # tokens of one block: what is masked is computed for nothing


class AttentionBlocks(Rewrite):
    """Requires: one batch of attentions of a token to its own kind, of at most ``FEW_TOKENS``.

    Ensures: blocks of ``option`` attentions, each a view of the same tokens.
    """

    name = "attentions in blocks"

    def find(self, graph: EditedGraph) -> list[Site]:
        """Those with query, key and value of one shape, and two attentions or more."""
        return [
            _describe(graph, one)
            for one in find_attentions(graph)
            if _is_small(graph, one) and _list_blocks(graph, one)
        ]

    def list_options(self, place: Site) -> tuple[int, ...]:
        """How many attentions one block may hold."""
        batch, tokens = place.form[:2]
        return _fit_blocks(batch, tokens)

    def apply(self, graph: EditedGraph, place: Site, option: int) -> None:
        """A block is so many attentions of neighbours in the batch."""
        found = next(one for one in find_attentions(graph) if one.output == place.output)
        _write_block(graph, found, option)


def _is_small(graph: EditedGraph, attention: AttentionPattern) -> bool:
    shapes = {graph.shapes[name] for name in attention.tokens}
    batch, tokens, _ = graph.shapes[attention.output]
    return len(shapes) == 1 and tokens <= FEW_TOKENS and batch > 1


def _list_blocks(graph: EditedGraph, attention: AttentionPattern) -> tuple[int, ...]:
    batch, tokens, _ = graph.shapes[attention.output]
    return _fit_blocks(batch, tokens)


def _fit_blocks(batch: int, tokens: int) -> tuple[int, ...]:
    return tuple(count for count in _TOGETHER if batch % count == 0 and count * tokens <= _WIDEST)


def _describe(graph: EditedGraph, attention: AttentionPattern) -> Site:
    batch, tokens, width = graph.shapes[attention.output]
    label = f"{batch} attentions over {tokens} of {width}"
    form = (batch, tokens, width, attention.heads)
    return Site(attention.output, tuple(dict.fromkeys(attention.tokens)), form, label)


def _write_block(graph: EditedGraph, attention: AttentionPattern, count: int) -> None:
    batch, tokens, width = graph.shapes[attention.output]
    heads = attention.heads
    wide = count * tokens
    blocks = batch // count
    stem = f"{attention.name}.block"
    nodes = []

    def add(
        operator: str, inputs: list[str], what: str, shape: tuple[int, ...], **more: Any
    ) -> str:
        name = graph.fresh(f"{stem}.{what}")
        nodes.append(graph.make(operator, inputs, name, shape, **more))
        return name

    def split(name: str, what: str, perm: list[int]) -> str:
        split_shape = (blocks, wide, heads, attention.width)
        view = add("Reshape", [name, graph.integers(split_shape)], f"{what}_heads", split_shape)
        turned = tuple(split_shape[axis] for axis in perm)
        return add("Transpose", [view], what, turned, perm=perm)

    query = split(attention.tokens[0], "query", [0, 2, 1, 3])
    key = split(attention.tokens[1], "key", [0, 2, 3, 1])
    value = split(attention.tokens[2], "value", [0, 2, 1, 3])
    scale = graph.constant(np.array(attention.scale, graph.dtype), "scale")
    scores = (blocks, heads, wide, wide)
    inner = (blocks, heads, wide, attention.width)
    scaled = add("Mul", [query, scale], "scaled", inner)
    product = add("MatMul", [scaled, key], "scores", scores)
    mask = graph.constant(draw_mask(tokens, count, graph.dtype), "attention_mask")
    masked = add("Add", [product, mask], "masked", scores)
    weights = add("Softmax", [masked], "weights", scores, axis=-1)
    mixed = add("MatMul", [weights, value], "mixed", inner)
    turned = (blocks, wide, heads, attention.width)
    joined = add("Transpose", [mixed], "joined", turned, perm=[0, 2, 1, 3])
    nodes.append(graph.view(joined, (batch, tokens, width), attention.output))
    replace_maker(graph, attention.output, nodes)
