"""Attention as one operator of ONNX Runtime's own: its CUDA provider then keeps no scores in memory.

A graph for ONNX Runtime alone; bundles hold the plain operators, which every other engine fuses by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

WIDEST_HEAD = 256
"""Values of a head that ONNX Runtime's flash attention takes at most."""

_DOMAIN = "com.microsoft"
_SPLIT, _TURNED = [0, 2, 1, 3], [0, 1, 3, 2]


@dataclass(frozen=True)
class _Attention:
    """One attention: (batch, tokens, width) query, key and value, heads and scale; the value that it gives, and its
    name."""

    tokens: tuple[str, str, str]
    heads: int
    scale: float
    output: str
    name: str


@dataclass(frozen=True)
class _Product:
    """Softmax of scaled scores times the values: the (batch, heads, tokens, head width) query, key and value that go
    in, the scale, the value that comes out, and the name."""

    inputs: tuple[str, str, str]
    scale: float
    output: str
    name: str


def fuse_attention(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    """A copy with every attention that the export wrote as one MultiHeadAttention, and how many there were.

    Left as they are: heads wider than ``WIDEST_HEAD``, and whatever looks otherwise.
    """
    import onnx
    from onnx import helper

    result = onnx.ModelProto()
    result.CopyFrom(model)
    found = {attention.output: attention for attention in _Finder(result).find()}
    nodes = []
    for node in result.graph.node:
        attention = found.get(node.output[0])
        if attention is not None:
            node = helper.make_node(  # noqa: PLW2901 - in its place
                "MultiHeadAttention", list(attention.tokens), [attention.output], name=attention.name, domain=_DOMAIN,
                num_heads=attention.heads, scale=attention.scale,
            )  # fmt: skip
        nodes.append(node)
    kept = _drop_unread(nodes, {value.name for value in result.graph.output})
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del result.graph.node[:]
    result.graph.node.extend(copies)
    _forget_unmade(result)
    if found:
        result.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    return result, len(found)


class _Finder:
    """Finds attentions by their shape in the graph, from the softmax outwards; parts of one batch count as one."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._makers = {name: node for node in model.graph.node for name in node.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}

    def find(self) -> Iterator[_Attention]:
        for node in self._graph.node:
            if node.op_type == "Softmax" and (attention := self._match(node)) is not None:
                yield attention

    def _match(self, softmax: onnx.NodeProto) -> _Attention | None:
        product = self._find_product(softmax)
        concat = None if product is None else self._reader(product.output, "Concat")
        if product is not None and concat is not None:
            product = self._join_parts(concat, product)
        if product is None:
            return None
        split = [self._split(name) for name in product.inputs]
        back = self._reader(product.output, "Transpose")
        joined = None if back is None or _perm(back) != _SPLIT else self._reader(back.output[0], "Reshape")
        if joined is None or None in split:
            return None
        tokens, heads = zip(*(each for each in split if each is not None), strict=True)
        if len(set(heads)) != 1 or heads[0][1] > WIDEST_HEAD or self._shape(joined.input[1]) is None:
            return None
        shape = self._shape(joined.input[1]) or ()
        if len(shape) != 3 or shape[2] != heads[0][0] * heads[0][1]:
            return None
        return _Attention(tokens, heads[0][0], product.scale, joined.output[0], product.name)

    def _find_product(self, softmax: onnx.NodeProto | None) -> _Product | None:
        scores = None if softmax is None else self._maker(softmax.input[0], "MatMul")
        mixed = None if softmax is None else self._reader(softmax.output[0], "MatMul")
        if softmax is None or scores is None or mixed is None or mixed.input[0] != softmax.output[0]:
            return None
        if _axis(softmax, -1) not in (-1, 3):
            return None
        scaled, turned = self._maker(scores.input[0], "Mul"), self._maker(scores.input[1], "Transpose")
        scale = None if scaled is None else self._scalar(scaled.input[1])
        if scaled is None or scale is None or turned is None or _perm(turned) != _TURNED:
            return None
        return _Product((scaled.input[0], turned.input[0], mixed.input[1]), scale, mixed.output[0], mixed.name)

    def _join_parts(self, concat: onnx.NodeProto, first: _Product) -> _Product | None:
        """The product of the whole batch, which the export wrote as parts; None unless ``first`` is the first part."""
        mixed = [self._maker(name, "MatMul") for name in concat.input]
        parts = [None if one is None else self._find_product(self._maker(one.input[0], "Softmax")) for one in mixed]
        found = [part for part in parts if part is not None and part.scale == first.scale]
        splits = [split for name in first.inputs if (split := self._maker(name, "Split")) is not None]
        if len(found) != len(parts) or found[0] != first or any(_axis(node) != 0 for node in (concat, *splits)):
            return None
        if list(zip(*(part.inputs for part in found), strict=True)) != [tuple(split.output) for split in splits]:
            return None
        query, key, value = (split.input[0] for split in splits)
        return _Product((query, key, value), first.scale, concat.output[0], concat.name)

    def _split(self, name: str) -> tuple[str, tuple[int, int]] | None:
        """The (batch, tokens, width) value behind a (batch, heads, tokens, head width) one; heads and head width."""
        transpose = self._maker(name, "Transpose")
        reshape = (
            None if transpose is None or _perm(transpose) != _SPLIT else self._maker(transpose.input[0], "Reshape")
        )
        shape = None if reshape is None else self._shape(reshape.input[1])
        if reshape is None or shape is None or len(shape) != 4:
            return None
        return reshape.input[0], (shape[2], shape[3])

    def _maker(self, name: str, operator: str) -> onnx.NodeProto | None:
        node = self._makers.get(name)
        return node if node is not None and node.op_type == operator else None

    def _reader(self, name: str, operator: str) -> onnx.NodeProto | None:
        readers = self._readers.get(name, [])
        return readers[0] if len(readers) == 1 and readers[0].op_type == operator else None

    def _shape(self, name: str) -> tuple[int, ...] | None:
        values = self._values(name)
        return None if values is None else tuple(int(value) for value in values.ravel())

    def _scalar(self, name: str) -> float | None:
        values = self._values(name)
        return float(values.ravel()[0]) if values is not None and values.size == 1 else None

    def _values(self, name: str) -> Any:
        from onnx import TensorProto, numpy_helper

        tensor = self._constants.get(name)
        if tensor is None or tensor.data_location == TensorProto.EXTERNAL:
            return None
        return numpy_helper.to_array(tensor)


def _perm(node: onnx.NodeProto) -> list[int]:
    return next((list(one.ints) for one in node.attribute if one.name == "perm"), [])


def _axis(node: onnx.NodeProto, default: int = 0) -> int:
    return next((one.i for one in node.attribute if one.name == "axis"), default)


def _drop_unread(nodes: list[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """Without the nodes whose values nobody reads any more."""
    uses = Counter(name for node in nodes for name in node.input)
    kept: list[onnx.NodeProto] = []
    for node in reversed(nodes):
        if any(uses[name] or name in outputs for name in node.output):
            kept.append(node)
        else:
            uses.subtract(node.input)
    return kept[::-1]


def _forget_unmade(model: onnx.ModelProto) -> None:
    made = {name for node in model.graph.node for name in node.output}
    infos = [type(info).FromString(info.SerializeToString()) for info in model.graph.value_info if info.name in made]
    del model.graph.value_info[:]
    model.graph.value_info.extend(infos)
