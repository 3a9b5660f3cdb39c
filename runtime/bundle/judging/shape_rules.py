"""What shape each operator gives, as ONNX and ONNX Runtime define it, for the forms we write.

A value that does not fit raises one of LookupError, TypeError, ValueError and
ArithmeticError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from echoexport.runtime.bundle.judging.constants import Constants
from echoexport.runtime.bundle.judging.graph_file import Node, Sides
from echoexport.runtime.contract.operators import MICROSOFT

__all__ = ["ONE_BY_ONE", "SHAPERS", "TAKING_PRODUCTS", "Shaper", "count_products"]

Shaper = Callable[[Node, Sequence[Sides], Constants], list[Sides]]

_FURTHEST = 1 << 40  # beyond every side, and far below what overflows
_MOST_SCORES = 1 << 36


def _same(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    """Every output is as the first input."""
    return [given[0]] * len(node.outputs)


def _broadcast(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    shape = given[0]
    for other in given[1:]:
        if other != shape:
            shape = _join(shape, other)
    return [shape]


def _concatenate(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    axis = _find_axis(node.attributes["axis"], given[0])
    rest = {(*shape[:axis], *shape[axis + 1 :]) for shape in given}
    _require(len(rest) == 1 and len({len(shape) for shape in given}) == 1)
    total = sum(shape[axis] for shape in given)
    return [(*given[0][:axis], total, *given[0][axis + 1 :])]


def _convolve(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    source, weight = given[:2]
    _check_channels(node, source[1], made=weight[0], read=weight[1])
    _require(all(shape == weight[:1] for shape in given[2:]))
    return [(source[0], weight[0], *_slide(node, source[2:], weight[2:]))]


def _convolve_last(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    """Channels come last, in the value and in the weight."""
    source, weight = given
    _check_channels(node, source[-1], made=weight[0], read=weight[-1])
    return [(source[0], *_slide(node, source[1:-1], weight[1:-1]), weight[0])]


def _check_channels(node: Node, found: int, *, made: int, read: int) -> None:
    group = _integer(node.attributes.get("group", 1))
    _require(group >= 1 and found == read * group and made % group == 0)


def _slide(node: Node, sides: Sides, kernel: Sides) -> Sides:
    """Places of a window along each side."""
    rank = len(sides)
    strides = _integers(node.attributes.get("strides", (1,) * rank))
    dilations = _integers(node.attributes.get("dilations", (1,) * rank))
    pads = _integers(node.attributes.get("pads", (0,) * 2 * rank))
    _require(1 <= rank <= 3 and node.attributes.get("kernel_shape", kernel) == kernel)
    _require(len(strides) == len(dilations) == len(kernel) == rank and len(pads) == 2 * rank)
    _require(min(strides) >= 1 and min(dilations) >= 1 and min(pads) >= 0)
    _require(max(*strides, *dilations, *pads) < _FURTHEST)
    return tuple(
        (sides[i] + pads[i] + pads[rank + i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1
        for i in range(rank)
    )


def _quantize(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    """One scale for all, or one for each place of an axis."""
    scale = given[1]
    if scale not in ((), (1,)):
        axis = _find_axis(node.attributes.get("axis", 1), given[0])
        _require(scale == (given[0][axis],))
    _require(all(shape == scale for shape in given[2:]))
    return [given[0]]


def _normalize_instance(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    source, scale, shift = given
    _require(len(source) >= 3 and scale == shift == (source[1],))
    return [source]


def _normalize_layer(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    source = given[0]
    axis = _find_axis(node.attributes.get("axis", -1), source)
    _require(all(_join(source[axis:], shape) == source[axis:] for shape in given[1:]))
    return [source]


def _multiply(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    left, right = given
    _require(len(left) >= 2 and len(right) >= 2 and left[-1] == right[-2])
    batch = left[:-2] if left[:-2] == right[:-2] else _join(left[:-2], right[:-2])
    return [(*batch, left[-2], right[-1])]


def _pad(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    source = given[0]
    amounts = constants.read_integers(node, 1)
    rank = len(source)
    _require(len(amounts) == 2 * rank and min(amounts) >= 0 and max(amounts) < _FURTHEST)
    return [tuple(source[i] + amounts[i] + amounts[rank + i] for i in range(rank))]


def _reshape(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    """0 is the side as it was, -1 what is left."""
    wanted = constants.read_integers(node, 1)
    if min(wanted, default=1) < 1:
        wanted = tuple(side or given[0][i] for i, side in enumerate(wanted))
        _require(wanted.count(-1) <= 1)
        known = math.prod(side for side in wanted if side != -1)
        left = math.prod(given[0]) // known
        wanted = tuple(left if side == -1 else side for side in wanted)
    _require(min(wanted, default=1) >= 1 and math.prod(wanted) == math.prod(given[0]))
    return [wanted]


def _resize(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    """By scales or to sizes, of all sides; no region is cut out."""
    source = given[0]
    names = (*node.inputs, "", "", "")[1:4]
    _require(not names[0] and bool(names[1]) != bool(names[2]))
    if names[2]:
        sizes = constants.read_integers(node, 3)
        _require(len(sizes) == len(source) and min(sizes) >= 1)
        return [sizes]
    scales = constants.read_floats(node, 2)
    _require(all(0 < scale < _FURTHEST for scale in scales))
    return [tuple(int(side * scale) for side, scale in zip(source, scales, strict=True))]


def _slice(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    starts = constants.read_integers(node, 1)
    ends = constants.read_integers(node, 2)
    count = len(starts)
    axes = constants.read_integers(node, 3) if len(given) > 3 else tuple(range(count))
    steps = constants.read_integers(node, 4) if len(given) > 4 else (1,) * count
    sides = list(given[0])
    axes = tuple(_find_axis(axis, given[0]) for axis in axes)
    _require(len(set(axes)) == count and min(steps) >= 1)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        sides[axis] = len(range(*slice(start, end, step).indices(sides[axis])))
    return [tuple(sides)]


def _soften(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    _find_axis(node.attributes.get("axis", -1), given[0])
    return [given[0]]


def _split(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    source = given[0]
    sizes = constants.read_integers(node, 1)
    axis = _find_axis(node.attributes.get("axis", 0), source)
    _require(min(sizes) >= 1 and sum(sizes) == source[axis] and len(sizes) == len(node.outputs))
    return [(*source[:axis], size, *source[axis + 1 :]) for size in sizes]


def _gather(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    """Places of one axis, by a list of their numbers."""
    source = given[0]
    places = constants.read_integers(node, 1)
    axis = _find_axis(node.attributes.get("axis", 0), source)
    _require(given[1] == (len(places),) and min(places) >= 0 and max(places) < source[axis])
    return [(*source[:axis], len(places), *source[axis + 1 :])]


def _transpose(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    source = given[0]
    order = _integers(node.attributes.get("perm", tuple(reversed(range(len(source))))))
    _require(sorted(order) == list(range(len(source))))
    return [tuple(source[axis] for axis in order)]


def _expand(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    wanted = constants.read_integers(node, 1)
    _require(min(wanted, default=1) >= 1)
    return [_join(given[0], wanted)]


def _normalize_groups(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    """Channels come last; what is added is as large, or one row for each picture."""
    source, scale, shift = given[:3]
    channels = source[-1]
    _require(len(source) == 4 and scale == shift == (channels,))
    groups = _integer(node.attributes["groups"])
    _require(groups >= 1 and channels % groups == 0 and node.attributes["channels_last"] == 1)
    _require(all(shape in (source, (source[0], 1, 1, channels)) for shape in given[3:4]))
    _require(all(shape == scale for shape in given[4:]))
    return [source] * 2


def _normalize_sum(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    """The sum is given as the fourth output."""
    source, added = given[:2]
    _require(len(source) == 3 and added in (source, source[1:]))
    _require(all(shape == source[2:] for shape in given[2:]) and not any(node.outputs[1:3]))
    return [source] * 4


def _attend(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    query, key, value = given[:3]
    heads = _integer(node.attributes["num_heads"])
    _require(len(query) == len(key) == len(value) == 3 and not any(node.inputs[3:5]))
    _require(query[0] == key[0] == value[0] and query[2] == key[2] and key[1] == value[1])
    _require(heads >= 1 and query[2] % heads == 0 and value[2] % heads == 0)
    scores = (query[0], heads, query[1], key[1])
    _require(math.prod(scores) <= _MOST_SCORES)
    _require(all(_join(scores, shape) == scores for shape in given[5:]))
    return [(*query[:2], value[2])]


def _add_bias(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    source, bias, added = given
    _require(len(source) == 3 and bias == source[2:] and added == source)
    return [source]


def _gate(node: Node, given: Sequence[Sides], constants: Constants) -> list[Sides]:
    """The halves of the last axis, multiplied."""
    source, bias = given
    _require(len(source) == 3 and bias == source[2:] and source[2] % 2 == 0)
    return [(*source[:2], source[2] // 2)]


SHAPERS: Mapping[tuple[str, str], Shaper] = {
    **{("", name): _broadcast for name in ("Add", "Div", "Greater", "Mul", "Sub", "Where")},
    **{("", name): _same for name in ("Cast", "Gelu", "Not", "Sigmoid")},
    **{("", name): _quantize for name in ("DequantizeLinear", "QuantizeLinear")},
    ("", "Concat"): _concatenate,
    ("", "Conv"): _convolve,
    ("", "Expand"): _expand,
    ("", "Gather"): _gather,
    ("", "InstanceNormalization"): _normalize_instance,
    ("", "LayerNormalization"): _normalize_layer,
    ("", "MatMul"): _multiply,
    ("", "Pad"): _pad,
    ("", "Reshape"): _reshape,
    ("", "Resize"): _resize,
    ("", "Slice"): _slice,
    ("", "Softmax"): _soften,
    ("", "Split"): _split,
    ("", "Transpose"): _transpose,
    (MICROSOFT, "BiasAdd"): _add_bias,
    (MICROSOFT, "BiasSplitGelu"): _gate,
    (MICROSOFT, "FusedMatMul"): _multiply,
    (MICROSOFT, "GroupNorm"): _normalize_groups,
    (MICROSOFT, "MultiHeadAttention"): _attend,
    (MICROSOFT, "NhwcConv"): _convolve_last,
    (MICROSOFT, "SkipGroupNorm"): _normalize_groups,
    (MICROSOFT, "SkipLayerNormalization"): _normalize_sum,
}
"""By domain and name, for each operator that a bundle's graphs may hold."""


ONE_BY_ONE = frozenset(
    {"Add", "BiasAdd", "Cast", "DequantizeLinear", "Div", "Gelu", "Greater", "Mul", "Not"}
    | {"QuantizeLinear", "Reshape", "Sigmoid", "Sub", "Where"}
)
"""Operators that take numbers one by one, which engines join to one where they follow
each other."""

TAKING_PRODUCTS = frozenset({"Conv", "FusedMatMul", "MatMul", "MultiHeadAttention", "NhwcConv"})
"""Operators whose numbers are each a sum of many products."""


def count_products(node: Node, given: Sequence[Sides], made: Sequence[Sides]) -> int:
    """Multiplications of an operator of ``TAKING_PRODUCTS``."""
    if node.operator in ("MatMul", "FusedMatMul"):
        return math.prod(made[0]) * given[0][-1]
    if node.operator in ("Conv", "NhwcConv"):
        return math.prod(made[0]) * math.prod(given[1][1:])
    return (math.prod(given[0]) + math.prod(made[0])) * given[1][1]


def _join(one: Sides, other: Sides) -> Sides:
    """The shape that both are spread over."""
    if len(one) < len(other):
        one, other = other, one
    missing = len(one) - len(other)
    joined = list(one)
    for place, side in enumerate(other, missing):
        if joined[place] == 1:
            joined[place] = side
        elif side not in (1, joined[place]):
            raise ValueError
    return tuple(joined)


def _find_axis(axis: object, shape: Sides) -> int:
    found = _integer(axis)
    _require(-len(shape) <= found < len(shape))
    return found % len(shape)


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError
    return value


def _integers(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple) or not all(isinstance(value, int) for value in values):
        raise TypeError
    return values


def _require(holds: bool) -> None:
    if not holds:
        raise ValueError
