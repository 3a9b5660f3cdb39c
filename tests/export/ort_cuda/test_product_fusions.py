"""Products, gates, choices and small attentions in fewer operators.

And what only looks like them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from echoexport.export.ort_cuda import fusions
from echoexport.export.ort_cuda.edited_graph import EditedGraph

pytest.importorskip("onnxruntime")

EXACT = 1e-5
B = 2
T = 5
C = 6
HALF = 4


@pytest.fixture
def geglu_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel of split, GELU and product takes four values a half."""
    monkeypatch.setattr(fusions, "GEGLU_WIDTHS", (HALF,))


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


def finish(draft: Any, *outputs: str) -> onnx.ModelProto:
    """The model of outputs that are copied: the values themselves are not given out."""
    model: onnx.ModelProto = draft.model(*(draft.add("Identity", name) for name in outputs))
    return model


def biased(draft: Any, *shape: int) -> str:
    return str(draft.add("Add", draft.input(*shape), draft.weight(shape[-1])))


def test_bias_halves_gelu_and_product_are_one(
    sketch: Any, rewritten: Any, geglu_width: None
) -> None:
    draft = sketch()
    found, error = rewritten(
        finish(draft, geglu(draft, biased(draft, B, T, 2 * HALF))), fusions._fuse_geglu
    )
    assert error <= EXACT
    assert found == {"BiasSplitGelu": 1, "Identity": 1}


def test_a_half_that_others_read_stays_beside_the_gate(
    sketch: Any, rewritten: Any, geglu_width: None
) -> None:
    draft = sketch()
    gate = geglu(draft, biased(draft, B, T, 2 * HALF))
    left = next(node.output[0] for node in draft.nodes if node.op_type == "Slice")
    found, error = rewritten(draft.model(gate, left), fusions._fuse_geglu)
    assert error <= EXACT
    assert (found["BiasSplitGelu"], found["Slice"], found["Gelu"]) == (1, 1, 0)


NO_GATES: dict[str, Callable[[Any], str]] = {
    "tanh": lambda d: geglu(d, biased(d, B, T, 2 * HALF), approximate="tanh"),
    "gelu of the first half": lambda d: geglu(d, biased(d, B, T, 2 * HALF), turned=True),
    "another axis": lambda d: geglu(d, biased(d, B, 2 * HALF, HALF), axis=1),
    "other halves": lambda d: geglu(
        d, biased(d, B, T, 2 * HALF), bounds=(0, HALF, HALF - 1, 2 * HALF - 1)
    ),
    "a part": lambda d: geglu(d, biased(d, B, T, 3 * HALF)),
    "no bias": lambda d: geglu(d, d.input(B, T, 2 * HALF)),
    "a given bias": lambda d: geglu(d, d.add("Add", d.input(B, T, 2 * HALF), d.input(2 * HALF))),
    "another width": lambda d: geglu(d, biased(d, B, T, 12), bounds=(0, 6, 6, 12)),
    "another rank": lambda d: geglu(d, biased(d, 1, B, T, 2 * HALF), axis=3),
}


@pytest.mark.parametrize("make", NO_GATES.values(), ids=NO_GATES)
def test_what_the_gates_kernel_does_not_compute_stays_plain(
    sketch: Any, rewritten: Any, geglu_width: None, make: Callable[[Any], str]
) -> None:
    draft = sketch()
    found, error = rewritten(finish(draft, make(draft)), fusions._fuse_geglu)
    assert error <= EXACT
    assert (found["BiasSplitGelu"], found["Gelu"]) == (0, 1)


def test_halves_of_two_values_are_no_gate(sketch: Any, rewritten: Any, geglu_width: None) -> None:
    draft = sketch()
    places = [
        [draft.integers(value) for value in bounds]
        for bounds in ((0, HALF, 2), (HALF, 2 * HALF, 2))
    ]
    left, right = (draft.add("Slice", biased(draft, B, T, 2 * HALF), *place) for place in places)
    found, error = rewritten(
        finish(draft, draft.add("Mul", left, draft.add("Gelu", right))), fusions._fuse_geglu
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
    found, error = rewritten(finish(draft, scaled), fusions._scale_products)
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
    return [draft.add("Mul", biased(draft, B, T, C), draft.number(0.25))]


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
    found, error = rewritten(finish(draft, *make(draft)), fusions._scale_products)
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
        fusions._scale_products,
    )
    assert error <= EXACT
    assert (found["FusedMatMul"], found["MatMul"]) == (0, 1)


@pytest.mark.parametrize("bias", [True, False])
def test_many_small_products_of_the_same_rows_are_one(
    sketch: Any, rewritten: Any, bias: bool
) -> None:
    draft = sketch()
    x = draft.input(B, T, C)
    ends = [linear(draft, x, width)[bias] for width in range(1, fusions.FEWEST + 1)]
    found, error = rewritten(finish(draft, *ends), fusions._join_products)
    assert error <= EXACT
    assert (found["MatMul"], found["Split"], found["Add"]) == (1, 1, int(bias))


def test_joined_products_may_be_given_out(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    x = draft.input(T, C)
    pairs = [linear(draft, x) for _ in range(fusions.FEWEST)]
    found, error = rewritten(
        draft.model(*(pair[1] for pair in pairs), pairs[0][0]), fusions._join_products
    )
    assert error <= EXACT
    assert found["MatMul"] == 1


def test_where_one_product_has_no_bias_all_keep_theirs(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    x = draft.input(B, T, C)
    ends = [linear(draft, x)[i > 0] for i in range(fusions.FEWEST)]
    found, error = rewritten(finish(draft, *ends), fusions._join_products)
    assert error <= EXACT
    assert (found["MatMul"], found["Add"]) == (1, fusions.FEWEST - 1)


@pytest.mark.parametrize(
    ("count", "rows"), [(fusions.FEWEST - 1, T), (fusions.FEWEST, fusions.MOST_ROWS + 1)]
)
def test_few_or_large_products_stay_apart(
    sketch: Any, rewritten: Any, count: int, rows: int
) -> None:
    draft = sketch()
    x = draft.input(rows, C)
    found, error = rewritten(
        finish(draft, *(linear(draft, x)[1] for _ in range(count))), fusions._join_products
    )
    assert error <= EXACT
    assert found["MatMul"] == count


def test_products_with_what_is_no_weight_stay_apart(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    x = draft.input(T, C)
    ends = [draft.add("MatMul", x, draft.input(C, 4)) for _ in range(fusions.FEWEST)]
    found, error = rewritten(finish(draft, *ends), fusions._join_products)
    assert error <= EXACT
    assert found["MatMul"] == fusions.FEWEST


def attention(draft: Any, *shapes: tuple[int, int, int], heads: int = 2) -> str:
    inputs = [draft.input(*shape) for shape in shapes]
    node = draft.add(
        "MultiHeadAttention", *inputs, domain="com.microsoft", num_heads=heads, scale=0.5
    )
    draft.values[node] = shapes[0]
    return str(node)


@pytest.mark.parametrize("batch", [fusions.PACKED, 3 * fusions.PACKED])
@pytest.mark.parametrize("tokens", [1, 3, fusions.SHORTEST])
def test_small_attentions_are_packed_with_a_mask_between_them(
    sketch: Any, rewritten: Any, batch: int, tokens: int
) -> None:
    draft = sketch()
    model = draft.model(attention(draft, *[(batch, tokens, 8)] * 3))
    found, error = rewritten(model, fusions._pack_attentions)
    assert error <= EXACT
    assert found == {"MultiHeadAttention": 1, "Reshape": 4}


@pytest.mark.parametrize(
    "shapes",
    [
        [(fusions.PACKED + 1, 3, 8)] * 3,
        [(fusions.PACKED - 1, 3, 8)] * 3,
        [(fusions.PACKED, fusions.SHORTEST + 1, 8)] * 3,
        [(fusions.PACKED, 3, 8), (fusions.PACKED, 4, 8), (fusions.PACKED, 4, 8)],
    ],
)
def test_attentions_that_do_not_divide_or_are_long_or_look_elsewhere_stay_apart(
    sketch: Any, rewritten: Any, shapes: list[tuple[int, int, int]]
) -> None:
    draft = sketch()
    found, error = rewritten(draft.model(attention(draft, *shapes)), fusions._pack_attentions)
    assert error <= EXACT
    assert found == {"MultiHeadAttention": 1}


def test_masks_of_attentions_alike_are_one_constant(sketch: Any) -> None:
    draft = sketch()
    model = draft.model(*(attention(draft, *[(fusions.PACKED, 3, 8)] * 3) for _ in range(2)))
    graph = EditedGraph(model)
    fusions._pack_attentions(graph)
    graph.index()
    masks = [
        tensor
        for tensor in graph.finish().graph.initializer
        if tensor.name.startswith("attention_mask")
    ]
    assert len(masks) == 1


def choose(
    draft: Any,
    gate: str,
    reference: str,
    own: str,
    *,
    last: str = "",
    axis: int = 2,
    turned: bool = False,
) -> str:
    chosen = draft.add("Where", gate, *((own, reference) if turned else (reference, own)))
    return str(draft.add("Concat", last or own, chosen, axis=axis))


@pytest.fixture(params=[1, 4])
def frames(request: pytest.FixtureRequest) -> int:
    """A single frame, and several."""
    return int(request.param)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_own_keys_and_the_chosen_ones_are_one_choice(
    sketch: Any, rewritten: Any, frames: int, seed: int
) -> None:
    draft = sketch()
    gate = draft.add("Greater", draft.input(1), draft.number(0))
    both = choose(draft, gate, draft.input(1, 1, T, C), draft.input(1, frames, T, C))
    found, error = rewritten(finish(draft, both), fusions._flatten_choices, seed=seed)
    assert error == 0
    assert (found["Where"], found["Reshape"], found["Not"]) == (1, 4, 1)


NO_CHOICES: dict[str, Callable[[Any, str], str]] = {
    "another axis": lambda d, g: choose(d, g, d.input(1, 1, T, C), d.input(1, 4, T, C), axis=1),
    "another first": lambda d, g: choose(
        d, g, d.input(1, 1, T, C), d.input(1, 4, T, C), last=d.input(1, 4, T, C)
    ),
    "a reference each": lambda d, g: choose(d, g, d.input(1, 4, T, C), d.input(1, 4, T, C)),
    "a batch": lambda d, g: choose(d, g, d.input(1, 1, T, C), d.input(2, 4, T, C)),
    "another order": lambda d, g: choose(
        d, g, d.input(1, 1, T, C), d.input(1, 4, T, C), turned=True
    ),
}


@pytest.mark.parametrize("make", NO_CHOICES.values(), ids=NO_CHOICES)
@pytest.mark.parametrize("seed", [1, 4])
def test_other_choices_stay_as_they_are(
    sketch: Any, rewritten: Any, make: Callable[[Any, str], str], seed: int
) -> None:
    draft = sketch()
    gate = draft.add("Greater", draft.input(1), draft.number(0))
    found, error = rewritten(finish(draft, make(draft, gate)), fusions._flatten_choices, seed=seed)
    assert error == 0
    assert found["Reshape"] == 0


def test_what_is_added_to_every_row_alike_has_two_axes(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    model = finish(draft, draft.add("Add", draft.input(B, T, C), draft.weight(1, T, C)))
    found, error = rewritten(model, fusions._flatten_sums)
    assert error == 0
    assert found["Reshape"] == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((B, T, C), (B, T, C)),
        ((1, T, C), (1, T, C)),
        ((B, T, C), (B, 1, C)),
        ((1, T, C), (B, T, C)),
        ((T, C), (1, C)),
    ],
)
def test_other_sums_stay_as_they_are(
    sketch: Any, rewritten: Any, one: tuple[int, ...], other: tuple[int, ...]
) -> None:
    draft = sketch()
    model = finish(draft, draft.add("Add", draft.input(*one), draft.input(*other)))
    found, error = rewritten(model, fusions._flatten_sums)
    assert error == 0
    assert found["Reshape"] == 0


def test_a_residual_of_a_single_row_goes_into_its_norm(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    total = draft.add("Add", draft.input(1, T, C), draft.input(1, T, C))
    normal = draft.add("LayerNormalization", total, draft.weight(C), draft.weight(C))
    found, error = rewritten(finish(draft, normal), fusions.fuse)
    assert error <= EXACT
    assert found == {"SkipLayerNormalization": 1, "Identity": 1}


def test_what_is_computed_twice_alike_is_computed_once(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    x = draft.input(B, T, C)
    ends = [draft.add("Relu", draft.add("Transpose", x, perm=[0, 2, 1])) for _ in range(2)]
    found, error = rewritten(finish(draft, draft.add("Mul", *ends)), fusions._merge_twins)
    assert error == 0
    assert found == {"Transpose": 1, "Relu": 1, "Mul": 1, "Identity": 1}


def test_twins_that_are_given_out_keep_their_names(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    x = draft.input(B, T, C)
    found, error = rewritten(
        draft.model(*(draft.add("Relu", x) for _ in range(3))), fusions._merge_twins
    )
    assert error == 0
    assert found == {"Relu": 3}


def test_nodes_that_differ_in_an_attribute_or_in_what_they_give_are_no_twins(
    sketch: Any, rewritten: Any
) -> None:
    draft = sketch()
    x = draft.input(B, T, C)
    gain = draft.weight(C)
    shift = draft.weight(C)
    turned = [draft.add("Transpose", x, perm=perm) for perm in ([0, 2, 1], [1, 0, 2])]
    norms = [draft.add("LayerNormalization", x, gain, shift, outputs=outputs) for outputs in (1, 2)]
    model = finish(draft, *turned, draft.add("Add", norms[0], f"{norms[1]}.1"), norms[1])
    found, error = rewritten(model, fusions._merge_twins)
    assert error == 0
    assert (found["Transpose"], found["LayerNormalization"]) == (2, 2)


def list_operators(graph: EditedGraph) -> list[str]:
    return [node.op_type for node in graph.finish().graph.node]


def test_a_bias_sinks_below_views_that_keep_its_axis(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    turned = draft.add(
        "Transpose", draft.reshape(biased(draft, B, T * 3, C), B, T, 3, C), perm=[2, 0, 1, 3]
    )
    model = finish(draft, turned)
    graph = EditedGraph(model)
    fusions._sink_biases(graph)
    graph.index()
    assert rewritten(model, fusions._sink_biases)[1] == 0
    assert list_operators(graph) == ["Reshape", "Transpose", "Add", "Identity"]


def moved(draft: Any) -> str:
    return str(draft.add("Transpose", biased(draft, B, T, C), perm=[0, 2, 1]))


def cut(draft: Any) -> str:
    return str(draft.reshape(biased(draft, B, T, C), B, T, 2, C // 2))


def read_twice(draft: Any) -> str:
    total = biased(draft, B, T, C)
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
    model = finish(draft, make(draft))
    graph = EditedGraph(model)
    fusions._sink_biases(graph)
    graph.index()
    assert rewritten(model, fusions._sink_biases)[1] <= EXACT
    assert list_operators(graph)[0] == "Add"
