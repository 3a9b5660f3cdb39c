"""What a client sends becomes an array of the tensor's shape and dtype, or one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec
from echoexport.runtime.errors import InputError
from echoexport.runtime.serve.inference.tensors import (
    DATATYPES,
    SentTensor,
    choose_outputs,
    count_bytes,
    read_tensors,
    write_tensor,
)


def describe(dtype: str) -> SubnetSpec:
    """A network of one input, whose two outputs are named a and b."""
    tensor = TensorSpec("x", dtype, (("rows", 2), ("columns", 2)))
    outputs = tuple(TensorSpec(name, "float32", (("rows", 3),)) for name in "ab")
    return SubnetSpec("net", (tensor,), outputs, {}, "fp32")


def read(dtype: str, content: Any, *, datatype: str = "") -> np.ndarray:
    sent = SentTensor("x", datatype or DATATYPES[dtype], (2, 2), content)
    return read_tensors(describe(dtype), [sent])["x"]


@pytest.mark.parametrize("dtype", DATATYPES)
def test_bytes_of_each_datatype_come_back_as_they_were(dtype: str) -> None:
    array = np.array([[0, 1], [1, 0]], dtype)
    found = read(dtype, write_tensor(array))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("content", [[1, 2, 3, 4], [[1, 2], [3, 4]]])
@pytest.mark.parametrize("dtype", ["float16", "float32", "int64", "uint8"])
def test_numbers_may_be_flat_or_nested(dtype: str, content: list[Any]) -> None:
    np.testing.assert_array_equal(read(dtype, content), np.array([[1, 2], [3, 4]], dtype))


@pytest.mark.parametrize(
    ("dtype", "content", "words"),
    [
        ("float32", b"\0" * 15, "has 15 bytes; its shape and datatype take 16"),
        ("float16", [1.0, 2.0, 3.0, 1e5], "not finite in FP16"),
        ("float32", [1.0, 2.0, 3.0, float("nan")], "not finite"),
        ("int64", [1, 2, 3, 4.5], "no INT64"),
        ("uint8", [1, 2, 3, 256], "no UINT8"),
        ("int8", [1, 2, 3, -129], "no INT8"),
        ("int64", [1, 2, 3, 1 << 70], "other values"),
        ("bool", [0, 1, 2, 3], "other values than BOOL"),
        ("float32", [True, False, True, True], "other values than FP32"),
    ],
)
def test_values_that_the_datatype_does_not_hold_are_refused(
    dtype: str, content: Any, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        read(dtype, content)


def test_another_datatype_is_refused_with_the_right_one() -> None:
    with pytest.raises(InputError, match="is 'FP16'; wanted 'FP32'"):
        read("float32", b"\0" * 16, datatype="FP16")


def test_a_long_name_is_shortened_in_the_line_that_refuses_it() -> None:
    sent = SentTensor("n" * 100_000, "FP32", (2, 2), [0.0] * 4)
    with pytest.raises(InputError) as refused:
        read_tensors(describe("float32"), [sent])
    assert len(str(refused.value)) < 200


def test_outputs_are_given_in_the_order_that_they_are_asked_for_in() -> None:
    spec = describe("float32")
    assert [tensor.name for tensor in choose_outputs(spec, ("b", "a"))] == ["b", "a"]
    assert choose_outputs(spec, ()) == spec.outputs
    assert count_bytes(spec.outputs) == 24
