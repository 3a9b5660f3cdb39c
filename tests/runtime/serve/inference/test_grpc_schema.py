"""The messages are those of the protocol: each field's number and type as a client has them."""

from __future__ import annotations

from typing import Any

import pytest

from echoexport.runtime.serve.inference.grpc_schema import SERVICE_METHODS, load_messages


def list_fields(descriptor: Any) -> list[tuple[str, int, int]]:
    return [(field.name, field.number, field.type) for field in descriptor.fields]


def test_every_message_is_the_one_that_tritons_client_sends() -> None:
    pytest.importorskip("google.protobuf")
    theirs = pytest.importorskip("tritonclient.grpc.service_pb2").DESCRIPTOR.message_types_by_name
    for name, ours in load_messages().items():
        outer, _, inner = name.partition(".")
        other = theirs[outer].nested_types_by_name[inner] if inner else theirs[outer]
        assert list_fields(ours.DESCRIPTOR) == list_fields(other), name


def test_parameters_come_through_unchanged() -> None:
    pytest.importorskip("google.protobuf")
    ours = load_messages()["ModelInferRequest"]
    theirs = pytest.importorskip("tritonclient.grpc.service_pb2").ModelInferRequest(id="a")
    theirs.parameters["priority"].int64_param = -3
    theirs.parameters["binary"].bool_param = False
    read = ours.FromString(theirs.SerializeToString())
    assert read.parameters["priority"].int64_param == -3
    assert read.parameters["binary"].WhichOneof("parameter_choice") == "bool_param"
    assert theirs.FromString(read.SerializeToString()) == theirs


def test_every_method_has_a_request_and_a_response() -> None:
    pytest.importorskip("google.protobuf")
    assert {
        f"{method}{kind}" for method in SERVICE_METHODS for kind in ("Request", "Response")
    } <= set(load_messages())
