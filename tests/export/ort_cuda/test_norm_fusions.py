"""Sums, biases and norms as one operator; and what only looks like such a chain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from echoexport.export.ort_cuda import norm_fusions
from echoexport.export.ort_cuda.channels_last import lay_channels_last

pytest.importorskip("onnxruntime")

EXACT = 1e-5
B = 3
T = 5
C = 6


def layer_norm(draft: Any, value: str, width: int = C, **attributes: Any) -> str:
    return str(
        draft.add(
            "LayerNormalization", value, draft.weight(width), draft.weight(width), **attributes
        )
    )


def test_a_residual_and_a_layer_norm_are_one(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    total = draft.add("Add", draft.input(B, T, C), draft.input(B, T, C))
    found, error = rewritten(draft.finish(layer_norm(draft, total)), norm_fusions.fuse_layer_norms)
    assert error <= EXACT
    assert found == {"SkipLayerNormalization": 1, "Identity": 1}


def test_a_bias_before_it_goes_in_as_well(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    biased = draft.add("Add", draft.weight(C), draft.input(B, T, C))
    total = draft.add("Add", draft.input(B, T, C), biased)
    found, error = rewritten(draft.finish(layer_norm(draft, total)), norm_fusions.fuse_layer_norms)
    assert error <= EXACT
    assert found == {"SkipLayerNormalization": 1, "Identity": 1}


def test_two_biases_are_added_once_in_float32(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    sides = [draft.add("Add", draft.input(B, T, C), draft.weight(C)) for _ in range(2)]
    found, error = rewritten(
        draft.finish(layer_norm(draft, draft.add("Add", *sides))), norm_fusions.fuse_layer_norms
    )
    assert error <= EXACT
    assert found == {"SkipLayerNormalization": 1, "Identity": 1, "Cast": 3, "Add": 1}


def test_a_bias_alone_is_added_to_a_skip_of_zeros(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    total = draft.add("Add", draft.input(B, T, C), draft.weight(C))
    found, error = rewritten(draft.finish(layer_norm(draft, total)), norm_fusions.fuse_layer_norms)
    assert error <= EXACT
    assert found == {"SkipLayerNormalization": 1, "Identity": 1}


@pytest.mark.parametrize("given_out", [True, False])
def test_the_sum_comes_out_too_where_it_is_wanted(
    sketch: Any, rewritten: Any, given_out: bool
) -> None:
    draft = sketch()
    total = draft.add("Add", draft.input(B, T, C), draft.input(B, T, C))
    normal = layer_norm(draft, total)
    model = (
        draft.model(normal, total) if given_out else draft.finish(normal, draft.add("Relu", total))
    )
    found, error = rewritten(model, norm_fusions.fuse_layer_norms)
    assert error <= EXACT
    assert (found["SkipLayerNormalization"], found["Add"]) == (1, 0)


def test_of_two_norms_of_one_sum_the_first_takes_it_in(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    total = draft.add("Add", draft.input(B, T, C), draft.input(B, T, C))
    model = draft.finish(layer_norm(draft, total), layer_norm(draft, total))
    found, error = rewritten(model, norm_fusions.fuse_layer_norms)
    assert error <= EXACT
    assert (found["SkipLayerNormalization"], found["LayerNormalization"], found["Add"]) == (1, 1, 0)


def another_axis(draft: Any) -> str:
    total = draft.add("Add", draft.input(B, T, C), draft.input(B, T, C))
    return str(
        draft.add("LayerNormalization", total, draft.weight(T, C), draft.weight(T, C), axis=1)
    )


def no_shift(draft: Any) -> str:
    total = draft.add("Add", draft.input(B, T, C), draft.input(B, T, C))
    return str(draft.add("LayerNormalization", total, draft.weight(C)))


def mean_wanted(draft: Any) -> str:
    total = draft.add("Add", draft.input(B, T, C), draft.input(B, T, C))
    normal = draft.add("LayerNormalization", total, draft.weight(C), draft.weight(C), outputs=2)
    return str(draft.add("Mul", normal, f"{normal}.1"))


def other_rank(draft: Any) -> str:
    return layer_norm(draft, draft.add("Add", draft.input(2, B, T, C), draft.input(2, B, T, C)))


def row_for_all(draft: Any) -> str:
    return layer_norm(draft, draft.add("Add", draft.input(B, T, C), draft.input(B, 1, C)))


def stretched(draft: Any) -> str:
    return layer_norm(draft, draft.add("Add", draft.input(B, 1, C), draft.input(1, T, C)))


def product(draft: Any) -> str:
    return layer_norm(draft, draft.add("Mul", draft.input(B, T, C), draft.input(B, T, C)))


@pytest.mark.parametrize(
    "make", [another_axis, no_shift, mean_wanted, other_rank, row_for_all, stretched, product]
)
def test_what_the_skip_norm_does_not_compute_stays_plain(
    sketch: Any, rewritten: Any, make: Callable[[Any], str]
) -> None:
    draft = sketch()
    found, error = rewritten(draft.finish(make(draft)), norm_fusions.fuse_layer_norms)
    assert error <= EXACT
    assert (found["SkipLayerNormalization"], found["LayerNormalization"]) == (0, 1)


def read_elsewhere(draft: Any, biased: str) -> list[str]:
    return [str(draft.add("Relu", biased))]


def give_out(draft: Any, biased: str) -> list[str]:
    return [biased]


@pytest.mark.parametrize("use", [read_elsewhere, give_out])
def test_a_biased_value_that_others_want_keeps_its_bias(
    sketch: Any, rewritten: Any, use: Callable[[Any, str], list[str]]
) -> None:
    draft = sketch()
    biased = draft.add("Add", draft.input(B, T, C), draft.weight(C))
    total = draft.add("Add", biased, draft.input(B, T, C))
    model = draft.model(layer_norm(draft, total), *use(draft, biased))
    found, error = rewritten(model, norm_fusions.fuse_layer_norms)
    assert error <= EXACT
    assert (found["SkipLayerNormalization"], found["Add"]) == (1, 1)


def test_a_bias_of_one_value_for_all_channels_is_no_bias(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    column = draft.add("Add", draft.input(B, T, 1), draft.weight(1))
    total = draft.add("Add", draft.input(B, T, C), column)
    found, error = rewritten(draft.finish(layer_norm(draft, total)), norm_fusions.fuse_layer_norms)
    assert error <= EXACT
    assert found["SkipLayerNormalization"] == 0


def test_a_value_added_to_itself_has_its_bias_twice(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    biased = draft.add("Add", draft.input(B, T, C), draft.weight(C))
    found, error = rewritten(
        draft.finish(layer_norm(draft, draft.add("Add", biased, biased))),
        norm_fusions.fuse_layer_norms,
    )
    assert error <= EXACT
    assert found["SkipLayerNormalization"] == 1


SHAPE = (2, 8, 3, 4)


def fuse_maps(graph: Any) -> None:
    lay_channels_last(graph)
    norm_fusions.fuse_group_norms(graph)


@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("side", [SHAPE, (2, 8, 1, 1), (1, 8, 1, 1)])
def test_a_sum_and_a_group_norm_are_one(
    sketch: Any, rewritten: Any, side: tuple[int, ...], silu: bool
) -> None:
    draft = sketch()
    source = draft.add(
        "Conv", draft.input(*SHAPE), draft.weight(8, 8, 3, 3), draft.weight(8), pads=[1, 1, 1, 1]
    )
    total = draft.add("Add", source, draft.input(*side))
    found, error = rewritten(draft.finish(draft.norm(total, SHAPE, groups=4, silu=silu)), fuse_maps)
    assert error <= EXACT
    assert (found["SkipGroupNorm"], found["GroupNorm"], found["Add"], found["Sigmoid"]) == (
        1,
        0,
        0,
        0,
    )


def test_a_bias_alone_is_the_group_norms_skip(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    source = draft.add(
        "Conv", draft.input(*SHAPE), draft.weight(8, 8, 3, 3), draft.weight(8), pads=[1, 1, 1, 1]
    )
    found, error = rewritten(draft.finish(draft.norm(source, SHAPE, groups=4)), fuse_maps)
    assert error <= EXACT
    assert (found["SkipGroupNorm"], found["Add"]) == (1, 0)


def test_a_convolution_without_a_bias_is_followed_by_a_plain_group_norm(
    sketch: Any, rewritten: Any
) -> None:
    draft = sketch()
    source = draft.add("Conv", draft.input(*SHAPE), draft.weight(8, 8, 3, 3), pads=[1, 1, 1, 1])
    found, error = rewritten(draft.finish(draft.norm(source, SHAPE, groups=4)), fuse_maps)
    assert error <= EXACT
    assert (found["SkipGroupNorm"], found["GroupNorm"]) == (0, 1)


def test_of_two_group_norms_of_one_sum_the_first_takes_it_in(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    total = draft.add(
        "Add", draft.input(*SHAPE), draft.add("Conv", draft.input(*SHAPE), draft.weight(8, 8, 1, 1))
    )
    norms = [draft.norm(total, SHAPE, groups=groups) for groups in (2, 4)]
    found, error = rewritten(draft.finish(*norms, draft.add("Relu", total)), fuse_maps)
    assert error <= EXACT
    assert (found["SkipGroupNorm"], found["GroupNorm"], found["Add"]) == (1, 1, 0)


@pytest.mark.parametrize("side", [(2, 1, 3, 4), (1, 8, 3, 4), (2, 8, 1, 4)])
def test_a_residual_of_another_shape_stays_outside_a_group_norm(
    sketch: Any, rewritten: Any, side: tuple[int, ...]
) -> None:
    draft = sketch()
    source = draft.add("Conv", draft.input(*SHAPE), draft.weight(8, 8, 3, 3), pads=[1, 1, 1, 1])
    total = draft.add("Add", source, draft.input(*side))
    found, error = rewritten(draft.finish(draft.norm(total, SHAPE, groups=4)), fuse_maps)
    assert error <= EXACT
    assert (found["SkipGroupNorm"], found["GroupNorm"], found["Add"]) == (0, 1, 1)


@pytest.fixture
def residual_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel of bias and residual takes six channels."""
    monkeypatch.setattr(norm_fusions, "RESIDUAL_WIDTHS", (C,))


@pytest.mark.parametrize("shape", [(B, T, C), (2, B, T, C)])
def test_a_bias_and_a_residual_are_one(
    sketch: Any, rewritten: Any, residual_width: None, shape: tuple[int, ...]
) -> None:
    draft = sketch()
    biased = draft.add("Add", draft.input(*shape), draft.weight(C))
    found, error = rewritten(
        draft.finish(draft.add("Add", draft.input(*shape), biased)), norm_fusions.fuse_residuals
    )
    assert error <= EXACT
    assert (found["BiasAdd"], found["Add"]) == (1, 0)


def test_of_two_biased_sides_the_biases_are_added_once(
    sketch: Any, rewritten: Any, residual_width: None
) -> None:
    draft = sketch()
    sides = [draft.add("Add", draft.input(B, T, C), draft.weight(C)) for _ in range(2)]
    found, error = rewritten(draft.finish(draft.add("Add", *sides)), norm_fusions.fuse_residuals)
    assert error <= EXACT
    assert (found["BiasAdd"], found["Add"], found["Cast"]) == (1, 1, 3)


def no_bias(draft: Any) -> str:
    return str(draft.add("Add", draft.input(B, T, C), draft.input(B, T, C)))


def only_a_bias(draft: Any) -> str:
    return str(draft.add("Add", draft.input(B, T, C), draft.weight(C)))


def a_given_bias(draft: Any) -> str:
    return str(
        draft.add(
            "Add", draft.add("Add", draft.input(B, T, C), draft.input(C)), draft.input(B, T, C)
        )
    )


def another_shape(draft: Any) -> str:
    return str(
        draft.add(
            "Add", draft.add("Add", draft.input(B, T, C), draft.weight(C)), draft.input(B, 1, C)
        )
    )


def another_width(draft: Any) -> str:
    return str(
        draft.add(
            "Add", draft.add("Add", draft.input(B, T, 8), draft.weight(8)), draft.input(B, T, 8)
        )
    )


@pytest.mark.parametrize("make", [no_bias, only_a_bias, a_given_bias, another_shape, another_width])
def test_what_the_bias_kernel_does_not_compute_stays_plain(
    sketch: Any, rewritten: Any, residual_width: None, make: Callable[[Any], str]
) -> None:
    draft = sketch()
    found, error = rewritten(draft.finish(make(draft)), norm_fusions.fuse_residuals)
    assert error <= EXACT
    assert found["BiasAdd"] == 0


def test_in_fp16_biases_are_added_in_float32_and_given_in_fp16(
    sketch: Any, rewritten: Any, residual_width: None
) -> None:
    draft = sketch("float16")
    sides = [draft.add("Add", draft.input(B, T, C), draft.weight(C)) for _ in range(2)]
    found, error = rewritten(draft.finish(draft.add("Add", *sides)), norm_fusions.fuse_residuals)
    assert error <= np.finfo(np.float16).eps * 2
    assert found["BiasAdd"] == 1
