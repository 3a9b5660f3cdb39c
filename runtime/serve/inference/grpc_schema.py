"""The messages of the protocol's gRPC service, made when they are first used.

No file is generated. What protoc writes works with the protobuf of its own year and the
next; making messages of descriptors is the same in protobuf 5, 6 and 7. The pool is our
own: a client library in the same process registers messages of these names in the common
one, and two of a name cannot be there.
"""

from __future__ import annotations

from functools import cache
from typing import Any

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
SERVICE_METHODS = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
)
"""Of the service; each takes a message ``METHODRequest`` and gives a ``METHODResponse``."""

# One field a line, as a .proto has it; "map" is of texts, "choice" one of several.
_FIELDS = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "bool live = 1",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "bool ready = 1",
    "ModelReadyRequest": """
        string name = 1
        string version = 2""",
    "ModelReadyResponse": "bool ready = 1",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": """
        string name = 1
        string version = 2
        repeated string extensions = 3""",
    "ModelMetadataRequest": """
        string name = 1
        string version = 2""",
    "ModelMetadataResponse": """
        string name = 1
        repeated string versions = 2
        string platform = 3
        repeated ModelMetadataResponse.TensorMetadata inputs = 4
        repeated ModelMetadataResponse.TensorMetadata outputs = 5""",
    "ModelMetadataResponse.TensorMetadata": """
        string name = 1
        string datatype = 2
        repeated int64 shape = 3""",
    "InferParameter": """
        choice bool bool_param = 1
        choice int64 int64_param = 2
        choice string string_param = 3
        choice double double_param = 4
        choice uint64 uint64_param = 5""",
    "InferTensorContents": """
        repeated bool bool_contents = 1
        repeated int32 int_contents = 2
        repeated int64 int64_contents = 3
        repeated uint32 uint_contents = 4
        repeated uint64 uint64_contents = 5
        repeated float fp32_contents = 6
        repeated double fp64_contents = 7
        repeated bytes bytes_contents = 8""",
    "ModelInferRequest": """
        string model_name = 1
        string model_version = 2
        string id = 3
        map InferParameter parameters = 4
        repeated ModelInferRequest.InferInputTensor inputs = 5
        repeated ModelInferRequest.InferRequestedOutputTensor outputs = 6
        repeated bytes raw_input_contents = 7""",
    "ModelInferRequest.InferInputTensor": """
        string name = 1
        string datatype = 2
        repeated int64 shape = 3
        map InferParameter parameters = 4
        InferTensorContents contents = 5""",
    "ModelInferRequest.InferRequestedOutputTensor": """
        string name = 1
        map InferParameter parameters = 2""",
    "ModelInferResponse": """
        string model_name = 1
        string model_version = 2
        string id = 3
        map InferParameter parameters = 4
        repeated ModelInferResponse.InferOutputTensor outputs = 5
        repeated bytes raw_output_contents = 6""",
    "ModelInferResponse.InferOutputTensor": """
        string name = 1
        string datatype = 2
        repeated int64 shape = 3
        map InferParameter parameters = 4
        InferTensorContents contents = 5""",
}


@cache
def load_messages() -> dict[str, Any]:
    """The class of each message by its name; nested ones by ``OUTER.INNER``."""
    from google.protobuf import descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    pool.Add(_describe_file())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in _FIELDS
    }


def _describe_file() -> Any:
    from google.protobuf import descriptor_pb2

    file = descriptor_pb2.FileDescriptorProto(
        name="echoexport/inference.proto", package=PACKAGE, syntax="proto3"
    )
    described: dict[str, Any] = {}
    for name, fields in _FIELDS.items():
        outer, _, inner = name.rpartition(".")
        holder = described[outer].nested_type if outer else file.message_type
        described[name] = holder.add(name=inner)
        for line in filter(None, map(str.strip, fields.splitlines())):
            _add_field(described[name], name, line.split())
    return file


def _add_field(message: Any, full_name: str, words: list[str]) -> None:
    *marks, kind, name, _, number = words
    mark = marks[0] if marks else ""
    field = message.field.add(name=name, number=int(number))
    field.label = field.LABEL_REPEATED if mark in ("repeated", "map") else field.LABEL_OPTIONAL
    if mark == "map":
        kind = f"{full_name}.{_add_entry(message, name, kind)}"
    _set_type(field, kind)
    if mark == "choice":
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0


def _add_entry(message: Any, name: str, kind: str) -> str:
    """What protobuf makes of a map: a repeated pair under a name that follows the field's."""
    entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
    entry.options.map_entry = True
    for number, (part, its) in enumerate((("key", "string"), ("value", kind)), start=1):
        field = entry.field.add(name=part, number=number)
        field.label = field.LABEL_OPTIONAL
        _set_type(field, its)
    return str(entry.name)


def _set_type(field: Any, kind: str) -> None:
    if kind[0].isupper():
        field.type = field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"
    else:
        field.type = getattr(field, f"TYPE_{kind.upper()}")
