"""The shape that each operator gives, and what it does not take."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from echoexport.runtime.bundle.judging.constants import Constants
from echoexport.runtime.bundle.judging.graph_file import Node, Tensor
from echoexport.runtime.bundle.judging.shape_rules import SHAPERS
from echoexport.runtime.bundle.judging.wire import ObjectionError
from echoexport.runtime.contract.operators import MICROSOFT, OWN_OPERATORS, PLAIN_OPERATORS

MISFIT = (ArithmeticError, LookupError, TypeError, ValueError)
WINDOW = {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1), "strides": (2, 2), "dilations": (1, 1)}


def shape(
    operator: str,
    *given: Any,
    domain: str = "",
    outputs: int = 1,
    **attributes: Any,
) -> list[tuple[int, ...]]:
    """What an operator gives for shapes, and for lists of numbers, which stand for constants."""
    names = [f"in.{place}" if one is not None else "" for place, one in enumerate(given)]
    content = b""
    tensors = {}
    for name, one in zip(names, given, strict=True):
        if isinstance(one, list):
            whole = all(isinstance(value, int) for value in one)
            raw = struct.pack(f"<{len(one)}{'q' if whole else 'f'}", *one)
            place = (len(content), len(content) + len(raw))
            tensors[name] = Tensor(name, 7 if whole else 1, (len(one),), place, False, {})
            content += raw
    shapes = [(len(one),) if isinstance(one, list) else one or () for one in given]
    made = tuple(f"out.{place}" for place in range(outputs))
    node = Node("node", operator, domain, tuple(names), made, attributes)
    return SHAPERS[domain, operator](node, shapes, Constants(content, tensors))


def test_every_operator_of_the_lists_has_a_rule() -> None:
    listed = {("", name) for name in PLAIN_OPERATORS}
    for domains in OWN_OPERATORS.values():
        listed |= {(domain, name) for domain, names in domains.items() for name in names}
    assert SHAPERS.keys() == listed


@pytest.mark.parametrize(
    ("operator", "given", "attributes", "wanted"),
    [
        ("Add", [(2, 1, 4), (3, 1)], {}, (2, 3, 4)),
        ("Where", [(1,), (2, 3), ()], {}, (2, 3)),
        ("Sigmoid", [(2, 3)], {}, (2, 3)),
        ("Concat", [(2, 3), (2, 5)], {"axis": -1}, (2, 8)),
        ("Conv", [(1, 4, 9, 8), (6, 4, 3, 3), (6,)], WINDOW, (1, 6, 5, 4)),
        ("Conv", [(1, 4, 9, 9), (4, 2, 3, 3)], {"group": 2}, (1, 4, 7, 7)),
        ("DequantizeLinear", [(4, 5), (5,)], {"axis": 1}, (4, 5)),
        ("QuantizeLinear", [(4, 5), (), ()], {}, (4, 5)),
        ("InstanceNormalization", [(1, 3, 8), (3,), (3,)], {}, (1, 3, 8)),
        ("LayerNormalization", [(2, 3, 8), (8,), (8,)], {"axis": -1}, (2, 3, 8)),
        ("MatMul", [(2, 1, 3, 4), (5, 4, 6)], {}, (2, 5, 3, 6)),
        ("Pad", [(2, 3), [0, 1, 0, 2], ()], {}, (2, 6)),
        ("Reshape", [(2, 6), [0, 2, -1]], {}, (2, 2, 3)),
        ("Reshape", [(2, 6), [3, 4]], {}, (3, 4)),
        ("Reshape", [(1,), []], {}, ()),
        ("Resize", [(1, 2, 4, 4), None, [1.0, 1.0, 2.0, 2.0]], {}, (1, 2, 8, 8)),
        ("Resize", [(1, 2, 4, 4), None, None, [1, 2, 5, 7]], {}, (1, 2, 5, 7)),
        ("Slice", [(4, 9), [2], [100], [1]], {}, (4, 7)),
        ("Slice", [(4, 9), [0, 1], [-1, -2], [0, 1], [1, 2]], {}, (3, 3)),
        ("Softmax", [(2, 3)], {"axis": -1}, (2, 3)),
        ("Transpose", [(2, 3, 4)], {"perm": (2, 0, 1)}, (4, 2, 3)),
        ("Expand", [(3, 1), [2, 1, 5]], {}, (2, 3, 5)),
        ("Gather", [(2, 5, 3), [4, 0, 4, 1]], {"axis": 1}, (2, 4, 3)),
        ("Gather", [(5, 3), [0]], {}, (1, 3)),
    ],
)
def test_an_operator_gives_the_shape_that_onnx_says(
    operator: str, given: list[Any], attributes: dict[str, Any], wanted: tuple[int, ...]
) -> None:
    assert shape(operator, *given, **attributes) == [wanted]


@pytest.mark.parametrize(
    ("operator", "given", "attributes", "wanted"),
    [
        ("BiasAdd", [(2, 5, 8), (8,), (2, 5, 8)], {}, (2, 5, 8)),
        ("BiasSplitGelu", [(2, 5, 8), (8,)], {}, (2, 5, 4)),
        ("FusedMatMul", [(2, 3, 4), (4, 6)], {"alpha": 0.5}, (2, 3, 6)),
        ("MultiHeadAttention", [(2, 5, 8), (2, 7, 8), (2, 7, 6)], {"num_heads": 2}, (2, 5, 6)),
        ("NhwcConv", [(1, 9, 8, 4), (6, 3, 3, 4)], WINDOW, (1, 5, 4, 6)),
    ],
)
def test_an_own_operator_gives_the_shape_that_its_library_says(
    operator: str, given: list[Any], attributes: dict[str, Any], wanted: tuple[int, ...]
) -> None:
    assert shape(operator, *given, domain=MICROSOFT, **attributes) == [wanted]


def test_norms_give_the_sum_before_them_as_well() -> None:
    last = {"groups": 2, "channels_last": 1}
    given = [(1, 3, 3, 4), (4,), (4,), (1, 1, 1, 4), (4,)]
    assert shape("SkipGroupNorm", *given, domain=MICROSOFT, **last) == [(1, 3, 3, 4)] * 2
    given = [(2, 5, 8), (5, 8), (8,), (8,), (8,)]
    assert shape("SkipLayerNormalization", *given, domain=MICROSOFT) == [(2, 5, 8)] * 4


def test_a_split_gives_its_parts() -> None:
    assert shape("Split", (6, 3), [2, 4], outputs=2, axis=0) == [(2, 3), (4, 3)]


@pytest.mark.parametrize(
    ("operator", "given", "attributes"),
    [
        ("Add", [(2, 3), (2, 4)], {}),
        ("Concat", [(2, 3), (3, 3)], {"axis": 1}),
        ("Concat", [(2, 3), (2, 3)], {"axis": 2}),
        ("Concat", [(2, 3)], {}),
        ("Concat", [(2, 3)], {"axis": b"1"}),
        ("Conv", [(1, 4, 9, 9), (6, 4, 3, 3)], {"strides": (0, 1)}),
        ("Conv", [(1, 4, 9, 9), (6, 4, 3, 3)], {"pads": (-1, 0, 0, 0)}),
        ("Conv", [(1, 4, 9, 9), (6, 4, 3, 3)], {"pads": (1 << 62, 0, 0, 0)}),
        ("Conv", [(1, 4, 9, 9), (6, 4, 3, 3)], {"group": 0}),
        ("Conv", [(1, 4, 9, 9), (6, 4, 3, 3)], {"kernel_shape": (5, 5)}),
        ("Conv", [(1, 4, 9, 9), (6, 4, 3, 3), (5,)], {}),
        ("Conv", [(1, 4), (6, 4)], {}),
        ("DequantizeLinear", [(4, 5), (4,)], {"axis": 1}),
        ("InstanceNormalization", [(1, 3, 8), (8,), (8,)], {}),
        ("MatMul", [(3, 4), (3, 4)], {}),
        ("Pad", [(2, 3), [0, 1, 0], ()], {}),
        ("Pad", [(2, 3), [0, -1, 0, 0], ()], {}),
        ("Reshape", [(2, 6), [5, 2]], {}),
        ("Reshape", [(2, 6), [-1, -1]], {}),
        ("Reshape", [(2, 6), [-2, -6]], {}),
        ("Reshape", [(2, 6), [-1, 0, 0, 0]], {}),
        ("Resize", [(1, 4), None, [1.0, -1.0]], {}),
        ("Resize", [(1, 4), None, [1.0, float("inf")]], {}),
        ("Resize", [(1, 4), None, [1.0, float("nan")]], {}),
        ("Resize", [(1, 4), None, [1.0]], {}),
        ("Resize", [(1, 4), None, [1.0, 1.0], [1, 4]], {}),
        ("Slice", [(4, 9), [0], [1], [2]], {}),
        ("Slice", [(4, 9), [0], [1], [0], [0]], {}),
        ("Slice", [(4, 9), [0, 0], [1, 1], [0, 0]], {}),
        ("Softmax", [(2, 3)], {"axis": 2}),
        ("Split", [(6, 3), [2, 5]], {"axis": 0}),
        ("Transpose", [(2, 3)], {"perm": (0, 0)}),
        ("Transpose", [(2, 3)], {"perm": 1}),
        ("Expand", [(3, 2), [3, 3]], {}),
        ("Expand", [(3, 2), [-1, 2]], {}),
        ("Gather", [(2, 5, 3), [5]], {"axis": 1}),
        ("Gather", [(2, 5, 3), [-1]], {"axis": 1}),
        ("Gather", [(2, 5, 3), []], {"axis": 1}),
        ("Gather", [(2, 5, 3), [0]], {"axis": 3}),
    ],
)
def test_what_does_not_fit_an_operator_is_refused(
    operator: str, given: list[Any], attributes: dict[str, Any]
) -> None:
    with pytest.raises(MISFIT):
        shape(operator, *given, **attributes)


@pytest.mark.parametrize(
    ("operator", "given", "attributes"),
    [
        ("BiasSplitGelu", [(2, 5, 7), (7,)], {}),
        ("GroupNorm", [(1, 3, 3, 4), (4,), (4,)], {"groups": 3, "channels_last": 1}),
        ("GroupNorm", [(1, 4, 3, 3), (4,), (4,)], {"groups": 2, "channels_last": 0}),
        ("MultiHeadAttention", [(2, 5, 8)] * 3, {"num_heads": 3}),
        ("MultiHeadAttention", [(2, 5, 8)] * 3, {"num_heads": 0}),
        ("MultiHeadAttention", [(1, 1 << 20, 8)] * 3, {"num_heads": 8}),
        ("NhwcConv", [(1, 9, 8, 4), (6, 4, 3, 3)], WINDOW),
        ("SkipLayerNormalization", [(2, 5, 8), (4, 8), (8,)], {}),
    ],
)
def test_what_does_not_fit_an_own_operator_is_refused(
    operator: str, given: list[Any], attributes: dict[str, Any]
) -> None:
    with pytest.raises(MISFIT):
        shape(operator, *given, domain=MICROSOFT, **attributes)


def test_a_shape_that_comes_out_of_data_is_refused() -> None:
    with pytest.raises(ObjectionError, match=r"takes 'in\.1' from no list of constants"):
        shape("Reshape", (2, 6), (2,))
    with pytest.raises(ObjectionError, match="no list of constants"):
        shape("Reshape", (2, 6), [3.0, 4.0])
    with pytest.raises(ObjectionError, match="no short list"):
        shape("Reshape", (2, 6), [1] * 5000)
