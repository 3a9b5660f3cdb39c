"""Products, gates and biases in fewer operators; and what only looks like them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from echoexport.export.graphs.edited_graph import EditedGraph
from echoexport.export.ort_cuda import product_fusions

pytest.importorskip("onnxruntime")

EXACT = 1e-5
B = 2
T = 5
C = 6
HALF = 4


@pytest.fixture
def geglu_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel of split, GELU and product takes four values a half."""
    monkeypatch.setattr(product_fusions, "GEGLU_WIDTHS", (HALF,))


def geglu(
    draft: Any,
    whole: str,
    *,
    bounds: tuple[int, int, int, int] = (0, HALF, HALF, 2 * HALF),
    axis: int = 2,
    turned: bool = False,
    **gelu: Any,
) -> str:
    parts = [
        draft.add(
            "Slice", whole, *(draft.integers(value) for value in (*bounds[2 * i : 2 * i + 2], axis))
        )
        for i in range(2)
    ]
    left, right = reversed(parts) if turned else parts
    return str(draft.add("Mul", left, draft.add("Gelu", right, **gelu)))


def test_bias_halves_gelu_and_product_are_one(
    sketch: Any, rewritten: Any, geglu_width: None
) -> None:
    draft = sketch()
    found, error = rewritten(
        draft.finish(geglu(draft, draft.biased(B, T, 2 * HALF))), product_fusions.fuse_geglu
    )
    assert error <= EXACT
    assert found == {"BiasSplitGelu": 1, "Identity": 1}


def test_a_half_that_others_read_stays_beside_the_gate(
    sketch: Any, rewritten: Any, geglu_width: None
) -> None:
    draft = sketch()
    gate = geglu(draft, draft.biased(B, T, 2 * HALF))
    left = next(node.output[0] for node in draft.nodes if node.op_type == "Slice")
    found, error = rewritten(draft.model(gate, left), product_fusions.fuse_geglu)
    assert error <= EXACT
    assert (found["BiasSplitGelu"], found["Slice"], found["Gelu"]) == (1, 1, 0)


NO_GATES: dict[str, Callable[[Any], str]] = {
    "tanh": lambda d: geglu(d, d.biased(B, T, 2 * HALF), approximate="tanh"),
    "gelu of the first half": lambda d: geglu(d, d.biased(B, T, 2 * HALF), turned=True),
    "another axis": lambda d: geglu(d, d.biased(B, 2 * HALF, HALF), axis=1),
    "other halves": lambda d: geglu(
        d, d.biased(B, T, 2 * HALF), bounds=(0, HALF, HALF - 1, 2 * HALF - 1)
    ),
    "a part": lambda d: geglu(d, d.biased(B, T, 3 * HALF)),
    "no bias": lambda d: geglu(d, d.input(B, T, 2 * HALF)),
    "a given bias": lambda d: geglu(d, d.add("Add", d.input(B, T, 2 * HALF), d.input(2 * HALF))),
    "another width": lambda d: geglu(d, d.biased(B, T, 12), bounds=(0, 6, 6, 12)),
    "another rank": lambda d: geglu(d, d.biased(1, B, T, 2 * HALF), axis=3),
}


@pytest.mark.parametrize("make", NO_GATES.values(), ids=NO_GATES)
def test_what_the_gates_kernel_does_not_compute_stays_plain(
    sketch: Any, rewritten: Any, geglu_width: None, make: Callable[[Any], str]
) -> None:
    draft = sketch()
    found, error = rewritten(draft.finish(make(draft)), product_fusions.fuse_geglu)
    assert error <= EXACT
    assert (found["BiasSplitGelu"], found["Gelu"]) == (0, 1)


def test_halves_of_two_values_are_no_gate(sketch: Any, rewritten: Any, geglu_width: None) -> None:
    draft = sketch()
    places = [
        [draft.integers(value) for value in bounds]
        for bounds in ((0, HALF, 2), (HALF, 2 * HALF, 2))
    ]
    left, right = (draft.add("Slice", draft.biased(B, T, 2 * HALF), *place) for place in places)
    found, error = rewritten(
        draft.finish(draft.add("Mul", left, draft.add("Gelu", right))), product_fusions.fuse_geglu
    )
    assert error <= EXACT
    assert found["BiasSplitGelu"] == 0


def linear(draft: Any, source: str, width: int = 4) -> tuple[str, str]:
    """x W, and x W + b."""
    product = draft.add("MatMul", source, draft.weight(C, width))
    return product, draft.add("Add", product, draft.weight(width))


def test_a_scaled_product_scales_by_itself(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    scaled = draft.add("Mul", linear(draft, draft.input(B, T, C))[1], draft.number(0.25))
    found, error = rewritten(draft.finish(scaled), product_fusions.scale_products)
    assert error <= EXACT
    assert (found["FusedMatMul"], found["MatMul"]) == (1, 0)


def scaled_by_an_input(draft: Any) -> list[str]:
    return [draft.add("Mul", linear(draft, draft.input(B, T, C))[1], draft.input(1))]


def scaled_by_a_vector(draft: Any) -> list[str]:
    return [draft.add("Mul", linear(draft, draft.input(B, T, C))[1], draft.weight(4))]


def scaled_to_more_axes(draft: Any) -> list[str]:
    number = draft.constant(np.full((1, 1, 1, 1), 0.5, np.float32))
    return [draft.add("Mul", linear(draft, draft.input(B, T, C))[1], number)]


def sum_read_elsewhere(draft: Any) -> list[str]:
    total = linear(draft, draft.input(B, T, C))[1]
    return [draft.add("Mul", total, draft.number(0.25)), draft.add("Relu", total)]


def product_read_elsewhere(draft: Any) -> list[str]:
    product, total = linear(draft, draft.input(B, T, C))
    return [draft.add("Mul", total, draft.number(0.25)), draft.add("Relu", product)]


def no_product(draft: Any) -> list[str]:
    return [draft.add("Mul", draft.biased(B, T, C), draft.number(0.25))]


@pytest.mark.parametrize(
    "make",
    [
        scaled_by_an_input,
        scaled_by_a_vector,
        scaled_to_more_axes,
        sum_read_elsewhere,
        product_read_elsewhere,
        no_product,
    ],
)
def test_a_product_that_cannot_scale_by_itself_stays_plain(
    sketch: Any, rewritten: Any, make: Callable[[Any], list[str]]
) -> None:
    draft = sketch()
    found, error = rewritten(draft.finish(*make(draft)), product_fusions.scale_products)
    assert error <= EXACT
    assert found["FusedMatMul"] == 0


@pytest.mark.parametrize("place", [0, 1])
def test_a_product_that_is_given_out_is_computed_once(
    sketch: Any, rewritten: Any, place: int
) -> None:
    draft = sketch()
    values = linear(draft, draft.input(B, T, C))
    found, error = rewritten(
        draft.model(draft.add("Mul", values[1], draft.number(2)), values[place]),
        product_fusions.scale_products,
    )
    assert error <= EXACT
    assert (found["FusedMatMul"], found["MatMul"]) == (0, 1)


@pytest.mark.parametrize("bias", [True, False])
def test_many_small_products_of_the_same_rows_are_one(
    sketch: Any, rewritten: Any, bias: bool
) -> None:
    draft = sketch()
    x = draft.input(B, T, C)
    ends = [linear(draft, x, width)[bias] for width in range(1, product_fusions.FEWEST + 1)]
    found, error = rewritten(draft.finish(*ends), product_fusions.join_products)
    assert error <= EXACT
    assert (found["MatMul"], found["Split"], found["Add"]) == (1, 1, int(bias))


def test_joined_products_may_be_given_out(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    x = draft.input(T, C)
    pairs = [linear(draft, x) for _ in range(product_fusions.FEWEST)]
    found, error = rewritten(
        draft.model(*(pair[1] for pair in pairs), pairs[0][0]), product_fusions.join_products
    )
    assert error <= EXACT
    assert found["MatMul"] == 1


def test_where_one_product_has_no_bias_all_keep_theirs(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    x = draft.input(B, T, C)
    ends = [linear(draft, x)[i > 0] for i in range(product_fusions.FEWEST)]
    found, error = rewritten(draft.finish(*ends), product_fusions.join_products)
    assert error <= EXACT
    assert (found["MatMul"], found["Add"]) == (1, product_fusions.FEWEST - 1)


@pytest.mark.parametrize(
    ("count", "rows"),
    [(product_fusions.FEWEST - 1, T), (product_fusions.FEWEST, product_fusions.MOST_ROWS + 1)],
)
def test_few_or_large_products_stay_apart(
    sketch: Any, rewritten: Any, count: int, rows: int
) -> None:
    draft = sketch()
    x = draft.input(rows, C)
    found, error = rewritten(
        draft.finish(*(linear(draft, x)[1] for _ in range(count))), product_fusions.join_products
    )
    assert error <= EXACT
    assert found["MatMul"] == count


def test_products_with_what_is_no_weight_stay_apart(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    x = draft.input(T, C)
    ends = [draft.add("MatMul", x, draft.input(C, 4)) for _ in range(product_fusions.FEWEST)]
    found, error = rewritten(draft.finish(*ends), product_fusions.join_products)
    assert error <= EXACT
    assert found["MatMul"] == product_fusions.FEWEST


def list_operators(graph: EditedGraph) -> list[str]:
    return [node.op_type for node in graph.finish().graph.node]


def test_a_bias_sinks_below_views_that_keep_its_axis(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    turned = draft.add(
        "Transpose", draft.reshape(draft.biased(B, T * 3, C), B, T, 3, C), perm=[2, 0, 1, 3]
    )
    model = draft.finish(turned)
    graph = EditedGraph(model)
    product_fusions.sink_biases(graph)
    graph.index()
    assert rewritten(model, product_fusions.sink_biases)[1] == 0
    assert list_operators(graph) == ["Reshape", "Transpose", "Add", "Identity"]


def moved(draft: Any) -> str:
    return str(draft.add("Transpose", draft.biased(B, T, C), perm=[0, 2, 1]))


def cut(draft: Any) -> str:
    return str(draft.reshape(draft.biased(B, T, C), B, T, 2, C // 2))


def read_twice(draft: Any) -> str:
    total = draft.biased(B, T, C)
    return str(
        draft.add(
            "MatMul", draft.reshape(total, B, T, C), draft.add("Transpose", total, perm=[0, 2, 1])
        )
    )


@pytest.mark.parametrize("make", [moved, cut, read_twice])
def test_a_bias_stays_above_what_moves_its_axis_or_where_others_read_it(
    sketch: Any, rewritten: Any, make: Callable[[Any], str]
) -> None:
    draft = sketch()
    model = draft.finish(make(draft))
    graph = EditedGraph(model)
    product_fusions.sink_biases(graph)
    graph.index()
    assert rewritten(model, product_fusions.sink_biases)[1] <= EXACT
    assert list_operators(graph)[0] == "Add"
