"""What the export writes, found again in a graph: attentions, gates, biases, and masks between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from echoexport.export.graphs.edited_graph import EditedGraph, attribute

if TYPE_CHECKING:
    import onnx

MASKED = -60000.0
"""Added to the scores of tokens of different attentions: far below any score, and
within float16."""

_SPLIT = [0, 2, 1, 3]
_TURNED = [0, 1, 3, 2]


@dataclass(frozen=True)
class AttentionPattern:
    """One attention, from the tokens that go in to the tokens that come out."""

    tokens: tuple[str, str, str]
    """Query, key and value, (batch, tokens, width) each."""
    heads: int
    """Among which the width is divided."""
    width: int
    """Values of one head."""
    scale: float
    """Of the scores."""
    output: str
    """The (batch, tokens, width) value that it gives."""
    name: str
    """The node's that mixes the values."""


@dataclass(frozen=True)
class _Product:
    """Softmax of scaled scores times the values: the (batch, heads, tokens, head width)
    query, key and value that go in, the scale, the value that comes out, and the name."""

    inputs: tuple[str, str, str]
    scale: float
    output: str
    name: str


def find_attentions(graph: EditedGraph) -> list[AttentionPattern]:
    """Every attention that the export wrote; parts of one batch count as one."""
    return list(_Finder(graph).find())


class _Finder:
    """Finds attentions by their shape in the graph, from the softmax outwards.

    Parts of one batch count as one.
    """

    def __init__(self, graph: EditedGraph) -> None:
        self._graph = graph

    def find(self) -> Iterator[AttentionPattern]:
        for node in self._graph.nodes:
            if node.op_type == "Softmax" and (attention := self._match(node)) is not None:
                yield attention

    def _match(self, softmax: onnx.NodeProto) -> AttentionPattern | None:
        product = self._find_product(softmax)
        concat = None if product is None else self._graph.only_reader(product.output, "Concat")
        if product is not None and concat is not None:
            product = self._join_parts(concat, product)
        if product is None:
            return None
        split = [self._split(name) for name in product.inputs]
        back = self._graph.only_reader(product.output, "Transpose")
        joined = (
            None
            if back is None or _perm(back) != _SPLIT
            else self._graph.only_reader(back.output[0], "Reshape")
        )
        if joined is None or None in split:
            return None
        tokens, heads = zip(*(each for each in split if each is not None), strict=True)
        if len(set(heads)) != 1 or self._shape(joined.input[1]) is None:
            return None
        shape = self._shape(joined.input[1]) or ()
        if len(shape) != 3 or shape[2] != heads[0][0] * heads[0][1]:
            return None
        return AttentionPattern(
            tokens, heads[0][0], heads[0][1], product.scale, joined.output[0], product.name
        )

    def _find_product(self, softmax: onnx.NodeProto | None) -> _Product | None:
        scores = None if softmax is None else self._graph.maker(softmax.input[0], "MatMul")
        mixed = None if softmax is None else self._graph.only_reader(softmax.output[0], "MatMul")
        if (
            softmax is None
            or scores is None
            or mixed is None
            or mixed.input[0] != softmax.output[0]
        ):
            return None
        if _axis(softmax, -1) not in (-1, 3):
            return None
        scaled = self._graph.maker(scores.input[0], "Mul")
        turned = self._graph.maker(scores.input[1], "Transpose")
        scale = None if scaled is None else self._graph.scalar(scaled.input[1])
        if scaled is None or scale is None or turned is None or _perm(turned) != _TURNED:
            return None
        return _Product(
            (scaled.input[0], turned.input[0], mixed.input[1]), scale, mixed.output[0], mixed.name
        )

    def _join_parts(self, concat: onnx.NodeProto, first: _Product) -> _Product | None:
        """The product of the whole batch, which the export wrote as parts.

        None unless ``first`` is the first part.
        """
        mixed = [self._graph.maker(name, "MatMul") for name in concat.input]
        parts = [
            None if one is None else self._find_product(self._graph.maker(one.input[0], "Softmax"))
            for one in mixed
        ]
        found = [part for part in parts if part is not None and part.scale == first.scale]
        splits = [
            split
            for name in first.inputs
            if (split := self._graph.maker(name, "Split")) is not None
        ]
        if (
            len(found) != len(parts)
            or found[0] != first
            or any(_axis(node) != 0 for node in (concat, *splits))
        ):
            return None
        if list(zip(*(part.inputs for part in found), strict=True)) != [
            tuple(split.output) for split in splits
        ]:
            return None
        query, key, value = (split.input[0] for split in splits)
        return _Product((query, key, value), first.scale, concat.output[0], concat.name)

    def _split(self, name: str) -> tuple[str, tuple[int, int]] | None:
        """The (batch, tokens, width) value behind a (batch, heads, tokens, head width) one.

        Heads and head width.
        """
        transpose = self._graph.maker(name, "Transpose")
        reshape = (
            None
            if transpose is None or _perm(transpose) != _SPLIT
            else self._graph.maker(transpose.input[0], "Reshape")
        )
        shape = None if reshape is None else self._shape(reshape.input[1])
        if reshape is None or shape is None or len(shape) != 4:
            return None
        return reshape.input[0], (shape[2], shape[3])

    def _shape(self, name: str) -> tuple[int, ...] | None:
        values = self._graph.read(name)
        return None if values is None else tuple(int(value) for value in values.ravel())


def draw_mask(tokens: int, packed: int, dtype: np.dtype[Any]) -> np.ndarray:
    """(1, 1, all tokens, all tokens) of so many attentions in one.

    Zero within an attention, ``MASKED`` between two.
    """
    mask = np.full((packed, tokens, packed, tokens), MASKED, dtype)
    for place in range(packed):
        mask[place, :, place] = 0
    wide = packed * tokens
    return mask.reshape(1, 1, wide, wide)


def match_gate(graph: EditedGraph, node: onnx.NodeProto) -> str | None:
    """The value, of three axes, whose first half a product multiplies by the GELU of the second."""
    if node.op_type != "Mul" or len(node.input) != 2:
        return None
    gelu = graph.maker(node.input[1], "Gelu")
    left = graph.maker(node.input[0], "Slice")
    right = None if gelu is None else graph.maker(gelu.input[0], "Slice")
    if gelu is None or left is None or right is None:
        return None
    whole = left.input[0]
    half = graph.shapes[node.output[0]][-1]
    bounds = [[graph.scalar(name) for name in part.input[1:4]] for part in (left, right)]
    if right.input[0] != whole or bounds != [[0, half, 2], [half, 2 * half, 2]]:
        return None
    exact = attribute(gelu, "approximate", b"none") == b"none"
    return whole if exact and graph.shapes[whole][2:] == (2 * half,) else None


def split_bias(graph: EditedGraph, node: onnx.NodeProto) -> tuple[str, str] | None:
    """Value and bias of an Add of a constant vector over the last axis."""
    for value, bias in (tuple(node.input), tuple(node.input)[::-1]):
        shape = graph.shapes[value]
        if graph.is_vector(bias) and len(shape) > 1 and graph.shapes[bias] == shape[-1:]:
            return value, bias
    return None


def _perm(node: onnx.NodeProto) -> list[int]:
    return list(attribute(node, "perm", ()))


def _axis(node: onnx.NodeProto, default: int = 0) -> int:
    return int(attribute(node, "axis", default))
