"""The contract of a network: shapes, what is stored and computed, tolerances."""

from __future__ import annotations

import pytest

from echoexport.runtime.contract.spec import (
    TOLERANCES,
    SubnetSpec,
    TensorSpec,
    describe_arithmetic,
    find_tolerance,
)


def test_arithmetic_is_told_in_one_phrase() -> None:
    assert describe_arithmetic({"a": "bf16", "b": "bf16"}) == "bf16"
    assert (
        describe_arithmetic({"a": "int8", "b": "bf16", "c": "int8"})
        == "mixed: bf16 (b), int8 (a, c)"
    )


def test_a_tensors_shape_is_the_sizes_of_its_axes() -> None:
    tensor = TensorSpec("latents", "float16", (("batch", 1), ("channels", 4), ("height", 64)))
    assert tensor.shape == (1, 4, 64)
    assert TensorSpec("gate", "float32", ()).shape == ()


def network(dtype: str, precision: str = "") -> SubnetSpec:
    tensor = TensorSpec("latents", dtype, (("batch", 1),))
    return SubnetSpec("vae_decoder", (tensor,), (tensor,), TOLERANCES, precision)


@pytest.mark.parametrize(
    ("dtype", "precision", "stored"),
    [
        ("float32", "", "fp32"),
        ("float16", "", "fp16"),
        ("float32", "int8", "int8"),
        ("float16", "int8", "int8"),
    ],
)
def test_what_is_stored_is_said_or_read_off_the_inputs(
    dtype: str, precision: str, stored: str
) -> None:
    assert network(dtype, precision).stored == stored


@pytest.mark.parametrize(
    ("precision", "arithmetic", "computed"),
    [
        ("", "fp32", "fp16"),
        ("", "bf16", "bf16"),
        ("int8", "fp32", "int8"),
        ("int8", "bf16", "int8+bf16"),
    ],
)
def test_int8_layers_stay_int8_whatever_the_rest_computes_in(
    precision: str, arithmetic: str, computed: str
) -> None:
    assert network("float16", precision).computed_in(arithmetic) == computed


def test_a_mixture_is_held_to_its_coarser_part() -> None:
    assert find_tolerance({"bf16": 0.1, "int8": 0.3}, "int8+bf16") == 0.3
    assert find_tolerance({"bf16": 0.5, "int8": 0.3}, "int8+bf16") == 0.5


def test_a_tolerance_that_an_older_bundle_lacks_is_todays() -> None:
    assert find_tolerance({"fp32": 0.1}, "int8") == TOLERANCES["int8"]


def test_coarser_arithmetic_has_the_wider_tolerance() -> None:
    assert TOLERANCES["fp32"] < TOLERANCES["fp16"] < TOLERANCES["bf16"] < TOLERANCES["int8"]
