"""JSON and the binary tensors behind it, taken apart and put together."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.contract.spec import TensorSpec
from echoexport.runtime.errors import InputError
from echoexport.runtime.serve.inference.http_bodies import InferenceBody, write_answer
from echoexport.runtime.serve.inference.plane import InferenceAnswer
from echoexport.runtime.serve.refusals import RefusedError


def take_apart(head: dict[str, Any], rest: bytes = b"") -> InferenceBody:
    text = json.dumps(head).encode()
    return InferenceBody(text + rest, str(len(text)))


def name_input(name: str, size: int) -> dict[str, Any]:
    return {
        "name": name,
        "datatype": "FP32",
        "shape": [size // 4],
        "parameters": {"binary_data_size": size},
    }


def answer_with(*values: float) -> InferenceAnswer:
    array = np.array(values, np.float32)
    spec = TensorSpec("out", "float32", (("rows", array.size),))
    return InferenceAnswer("net", "", ((spec, array),))


def test_binary_tensors_follow_each_other() -> None:
    body = take_apart({"inputs": [name_input("a", 8), name_input("b", 4)]}, b"aaaaaaaabbbb")
    request = body.read_request("net", "1")
    assert [bytes(sent.content) for sent in request.inputs] == [b"aaaaaaaa", b"bbbb"]
    assert [sent.shape for sent in request.inputs] == [(2,), (1,)]


def test_more_than_follows_cannot_be_taken() -> None:
    body = take_apart({"inputs": [name_input("a", 8), name_input("b", 4)]}, b"aaaaaaaabbb")
    with pytest.raises(InputError, match=r"input 'b'.*3 bytes follow"):
        body.read_request("net", "1")


def test_each_output_may_be_asked_for_in_its_own_way() -> None:
    outputs = [{"name": "a", "parameters": {"binary_data": False}}, {"name": "b"}]
    parameters = {"binary_data_output": True}
    body = take_apart({"inputs": [], "outputs": outputs, "parameters": parameters})
    assert [body.wants_binary(name) for name in ("a", "b", "c")] == [False, True, True]


def test_values_come_out_of_json_as_they_were() -> None:
    values = np.random.default_rng(2).standard_normal(10_000).astype(np.float32)
    body = take_apart({"inputs": []})
    text, size = write_answer(answer_with(*values), body)
    assert size is None
    (output,) = json.loads(text)["outputs"]
    np.testing.assert_array_equal(np.array(output["data"], np.float32), values)


def test_binary_values_stand_behind_the_json() -> None:
    body = take_apart({"inputs": [], "parameters": {"binary_data_output": True}})
    content, size = write_answer(answer_with(1.0, np.inf), body)
    assert size is not None
    (output,) = json.loads(content[:size])["outputs"]
    assert output["parameters"] == {"binary_data_size": 8}
    np.testing.assert_array_equal(np.frombuffer(content[size:], "<f4"), [1.0, np.inf])


def test_json_tells_no_value_that_is_not_finite() -> None:
    with pytest.raises(RefusedError, match="ask for binary data"):
        write_answer(answer_with(1.0, np.nan), take_apart({"inputs": []}))


@pytest.mark.parametrize(
    "head",
    [
        {"outputs": [{"name": "a", "parameters": 1}]},
        {"outputs": [{"name": "a", "parameters": {"binary_data": "no"}}]},
        {"outputs": [{"name": "a", "parameters": {"sequence_id": 1}}]},
        {"outputs": [{"parameters": {}}]},
        {"parameters": {"binary_data_output": 1}},
    ],
    ids=str,
)
def test_what_is_asked_of_outputs_is_looked_at_before_anything_runs(head: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"parameter|'name'"):
        take_apart({"inputs": [], **head})
