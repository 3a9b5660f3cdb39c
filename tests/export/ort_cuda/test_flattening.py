"""Choices, sums and twins of the export, flat and once; and what only looks like them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from echoexport.export.ort_cuda import flattening

pytest.importorskip("onnxruntime")

EXACT = 1e-5
B = 2
T = 5
C = 6


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
    found, error = rewritten(draft.finish(both), flattening.flatten_choices, seed=seed)
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
    found, error = rewritten(draft.finish(make(draft, gate)), flattening.flatten_choices, seed=seed)
    assert error == 0
    assert found["Reshape"] == 0


def test_what_is_added_to_every_row_alike_has_two_axes(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    model = draft.finish(draft.add("Add", draft.input(B, T, C), draft.weight(1, T, C)))
    found, error = rewritten(model, flattening.flatten_sums)
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
    model = draft.finish(draft.add("Add", draft.input(*one), draft.input(*other)))
    found, error = rewritten(model, flattening.flatten_sums)
    assert error == 0
    assert found["Reshape"] == 0


def test_what_is_computed_twice_alike_is_computed_once(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    x = draft.input(B, T, C)
    ends = [draft.add("Relu", draft.add("Transpose", x, perm=[0, 2, 1])) for _ in range(2)]
    found, error = rewritten(draft.finish(draft.add("Mul", *ends)), flattening.merge_twins)
    assert error == 0
    assert found == {"Transpose": 1, "Relu": 1, "Mul": 1, "Identity": 1}


def test_twins_that_are_given_out_keep_their_names(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    x = draft.input(B, T, C)
    found, error = rewritten(
        draft.model(*(draft.add("Relu", x) for _ in range(3))), flattening.merge_twins
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
    model = draft.finish(*turned, draft.add("Add", norms[0], f"{norms[1]}.1"), norms[1])
    found, error = rewritten(model, flattening.merge_twins)
    assert error == 0
    assert (found["Transpose"], found["LayerNormalization"]) == (2, 2)
