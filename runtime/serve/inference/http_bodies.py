"""Requests and answers as the protocol writes them in HTTP: JSON, and binary tensors behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from echoexport.runtime.contract.spec import TensorSpec
from echoexport.runtime.errors import InputError
from echoexport.runtime.serve.inference.plane import VERSION, InferenceAnswer, InferenceRequest
from echoexport.runtime.serve.inference.tensors import (
    SentTensor,
    describe_tensor,
    shorten_name,
    write_tensor,
)
from echoexport.runtime.serve.refusals import RefusedError, refuse

HEADER_LENGTH = "inference-header-content-length"
"""How many bytes of a body are JSON, where binary tensors follow."""

# Reading JSON holds all of Python up, the threads of live sessions with it: this much for less
# than a frame's time.
MOST_JSON = 1 << 20
_SLICE = 4096  # numbers that are written at once, for the same reason
_MOST_RANK = 16
_NOT_TAKEN = ("sequence_id", "shared_memory_region")  # parameters that would change the result

JsonObject = dict[str, Any]


class InferenceBody:
    """A request's body, taken apart."""

    def __init__(self, body: bytes, header_length: str | None) -> None:
        """Raises InputError or RefusedError: it is none that the protocol knows."""
        json_size = _read_length(header_length, len(body))
        if json_size > MOST_JSON:
            raise RefusedError(
                refuse(
                    413,
                    f"{json_size} bytes of JSON; {MOST_JSON} are read: send the tensors as binary "
                    "data ('binary_data_size')",
                )
            )
        self._head = _read_json(body[:json_size])
        self._rest = memoryview(body)[json_size:]
        self._binary = _read_flag(self._head, "the request", "binary_data_output", usual=False)
        outputs = _list_objects(self._head, "outputs") if "outputs" in self._head else []
        self._outputs = tuple(_read_text(one, "name") for one in outputs)
        flags = [_read_flag(one, "an output", "binary_data", usual=self._binary) for one in outputs]
        self._binary_of = dict(zip(self._outputs, flags, strict=True))

    def read_request(self, network: str, version: str) -> InferenceRequest:
        """What it asks of a network. Raises InputError."""
        identity = self._head.get("id", "")
        if not isinstance(identity, str) or len(identity) > 256:
            raise InputError("'id' is a text of 256 letters at most")
        inputs = tuple(self._read_inputs())
        if len(self._rest):
            raise InputError(f"{len(self._rest)} bytes are left behind the last binary tensor")
        return InferenceRequest(network, version, inputs, self._outputs, identity)

    def wants_binary(self, output: str) -> bool:
        """Whether an output is to be given as binary data."""
        return self._binary_of.get(output, self._binary)

    def _read_inputs(self) -> Iterator[SentTensor]:
        for one in _list_objects(self._head, "inputs"):
            name = _read_text(one, "name")
            shape = _read_shape(one.get("shape"), name)
            parameters = _find_parameters(one, "an input")
            content = one.get("data")
            if "binary_data_size" in parameters:
                content = self._take(parameters["binary_data_size"], name)
            elif not isinstance(content, list):
                raise InputError(
                    f"input {shorten_name(name)}: 'data' is a list of numbers, or the parameter "
                    "'binary_data_size' says how many bytes follow"
                )
            yield SentTensor(name, _read_text(one, "datatype"), shape, content)

    def _take(self, size: Any, name: str) -> memoryview:
        if type(size) is not int or not 0 <= size <= len(self._rest):
            raise InputError(
                f"input {shorten_name(name)}: 'binary_data_size' is {str(size)[:20]}, and "
                f"{len(self._rest)} bytes follow; '{HEADER_LENGTH}' says where they begin"
            )
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def write_answer(answer: InferenceAnswer, body: InferenceBody) -> tuple[bytes, int | None]:
    """The body of an answer, and how much of it is JSON; None where all of it is.

    Raises:
        RefusedError: values that JSON cannot tell, as they are not finite.
    """
    described: list[JsonObject] = []
    texts: list[Iterator[str] | None] = []
    binary: list[bytes] = []
    for tensor, array in answer.tensors:
        entry: JsonObject = describe_tensor(tensor)
        if body.wants_binary(tensor.name):
            binary.append(write_tensor(array))
            entry["parameters"] = {"binary_data_size": len(binary[-1])}
            texts.append(None)
        else:
            _require_finite(tensor, array)
            texts.append(_write_numbers(array))
        described.append(entry)
    head: JsonObject = {"model_name": answer.network, "model_version": VERSION}
    if answer.identity:
        head["id"] = answer.identity
    outputs = ",".join(_write_output(*pair) for pair in zip(described, texts, strict=True))
    text = f'{json.dumps(head)[:-1]}, "outputs": [{outputs}]}}'.encode()
    return b"".join([text, *binary]), len(text) if binary else None


def _write_output(entry: JsonObject, text: Iterator[str] | None) -> str:
    if text is None:
        return json.dumps(entry)
    return f'{json.dumps(entry)[:-1]}, "data": [{",".join(text)}]}}'


def _write_numbers(array: np.ndarray) -> Iterator[str]:
    """A slice at a time, so that other threads come to their turn."""
    flat = array.reshape(-1)
    for place in range(0, flat.size, _SLICE):
        yield json.dumps(flat[place : place + _SLICE].tolist())[1:-1]


def _require_finite(tensor: TensorSpec, array: np.ndarray) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise RefusedError(
            refuse(
                400,
                f"output {tensor.name!r} holds values that are not finite, which JSON cannot "
                "tell: ask for binary data ('binary_data')",
            )
        )


def _read_length(header: str | None, size: int) -> int:
    if header is None:
        return size
    if not header.isdecimal() or len(header) > 12 or int(header) > size:
        raise InputError(
            f"{HEADER_LENGTH} is {shorten_name(header)}; the body has {size} bytes, and it says "
            "how many of them are JSON"
        )
    return int(header)


def _read_json(text: bytes) -> JsonObject:
    try:
        head = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError("the request is no JSON") from None
    if not isinstance(head, dict):
        raise InputError("the request is a JSON object with 'inputs'")
    return head


def _list_objects(head: JsonObject, name: str) -> list[JsonObject]:
    found = head.get(name)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InputError(f"'{name}' is a list of objects")
    return found


def _find_parameters(holder: JsonObject, what: str) -> JsonObject:
    found = holder.get("parameters", {})
    if not isinstance(found, dict):
        raise InputError(f"'parameters' of {what} is an object")
    for name in _NOT_TAKEN:
        if name in found:
            raise InputError(f"parameter '{name}' of {what}: is not known here")
    return found


def _read_flag(holder: JsonObject, what: str, name: str, *, usual: bool) -> bool:
    found = _find_parameters(holder, what).get(name, usual)
    if not isinstance(found, bool):
        raise InputError(f"parameter '{name}' of {what} is true or false")
    return found


def _read_text(holder: JsonObject, name: str) -> str:
    found = holder.get(name)
    if not isinstance(found, str):
        raise InputError(f"'{name}' of a tensor is a text")
    return found


def _read_shape(shape: Any, name: str) -> tuple[int, ...]:
    sizes = shape if isinstance(shape, list) and len(shape) <= _MOST_RANK else [None]
    if not all(type(size) is int and 0 <= size < 1 << 31 for size in sizes):
        raise InputError(f"input {shorten_name(name)}: 'shape' is a list of sizes")
    return tuple(sizes)
