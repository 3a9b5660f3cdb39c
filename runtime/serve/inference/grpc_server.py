"""The Open Inference Protocol v2 by gRPC, on a port of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

from echoexport.runtime.errors import (
    EchoExportError,
    InputError,
    MissingPackageError,
    SettingError,
    UnknownNameError,
)
from echoexport.runtime.serve.access import Access
from echoexport.runtime.serve.inference.grpc_schema import SERVICE, SERVICE_METHODS, load_messages
from echoexport.runtime.serve.inference.plane import (
    EXTENSIONS,
    SERVER,
    VERSION,
    InferencePlane,
    InferenceRequest,
)
from echoexport.runtime.serve.inference.tensors import (
    SentTensor,
    describe_tensor,
    shorten_name,
    write_tensor,
)
from echoexport.runtime.serve.log import ServeLog
from echoexport.runtime.serve.refusals import Refusal, RefusedError, explain_error, refuse
from echoexport.runtime.serve.settings import ServeSettings

_OTHERS = 4  # calls beside those of networks
_GRACE = 1.0  # seconds for calls to end when the server stops
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
}
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}  # FP16 has none and comes raw


class InferenceGrpcServer:
    """Serves a plane by gRPC; a context manager."""

    def __init__(self, plane: InferencePlane, settings: ServeSettings, *, log: ServeLog) -> None:
        """Raises MissingPackageError: the extra "grpc" is not installed."""
        require_grpc_packages()
        self._plane = plane
        self._settings = settings
        self._access = Access(settings)
        self._log = log
        self._messages = load_messages()
        self._server: Any = None
        self.port = 0
        """Once it listens."""

    def __enter__(self) -> InferenceGrpcServer:
        """Listen. Raises ``SettingError``: the address or the certificate cannot be used."""
        import grpc

        most = self._plane.most_at_once + _OTHERS
        self._server = grpc.server(
            ThreadPoolExecutor(most, thread_name_prefix="echoexport-grpc"),
            interceptors=[_make_doorman(self._refuse_stranger)],
            maximum_concurrent_rpcs=most,
            options=[
                ("grpc.max_receive_message_length", self._plane.most_request),
                ("grpc.max_send_message_length", self._plane.most_answer),
                ("grpc.so_reuseport", 0),  # else two servers share a port without a word
            ],
        )
        self._server.add_generic_rpc_handlers([self._list_handlers()])
        self.port = self._bind()
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(_GRACE).wait(2 * _GRACE)

    def _bind(self) -> int:
        import grpc

        host, port = self._settings.host.strip("[]"), self._settings.grpc_port
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        certificate, key = self._settings.certificate, self._settings.key
        try:
            if certificate is None or key is None:
                bound = self._server.add_insecure_port(address)
            else:
                pair = (key.read_bytes(), certificate.read_bytes())
                credentials = grpc.ssl_server_credentials([pair])
                bound = self._server.add_secure_port(address, credentials)
        except (RuntimeError, OSError, ValueError):
            bound = 0
        if not bound:
            raise SettingError(
                f"{self._settings.host} port {port} for gRPC: it is taken, or the certificate is "
                "none; choose another with --grpc-port"
            )
        return int(bound)

    def _list_handlers(self) -> Any:
        import grpc

        calls: dict[str, Callable[[Any], Any]] = {
            "ServerLive": self._tell_life,
            "ServerReady": self._tell_readiness,
            "ModelReady": self._tell_network_readiness,
            "ServerMetadata": self._tell_server,
            "ModelMetadata": self._tell_network,
            "ModelInfer": self._infer,
        }
        handlers = {
            method: grpc.unary_unary_rpc_method_handler(
                self._guard(calls[method]),
                request_deserializer=self._messages[f"{method}Request"].FromString,
                response_serializer=self._messages[f"{method}Response"].SerializeToString,
            )
            for method in SERVICE_METHODS
        }
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _guard(self, call: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
        """The same with every error as a status of gRPC and one line."""

        def answer(request: Any, context: Any) -> Any:
            try:
                return call(request)
            except Exception as error:
                if not isinstance(error, (EchoExportError, RefusedError)):
                    self._log.fail("a call by gRPC failed", error)
                refusal = explain_error(error)
            return context.abort(_find_code(refusal), refusal.message)

        return answer

    def _refuse_stranger(self, metadata: Any) -> Refusal | None:
        headers = {name: value for name, value in metadata or () if isinstance(value, str)}
        if self._access.identify(headers) is not None:
            return None
        self._log.tell("refused", path=SERVICE, status=401)
        return refuse(401, "a token is needed: metadata 'authorization: Bearer TOKEN'")

    def _tell_life(self, request: Any) -> Any:
        return self._messages["ServerLiveResponse"](live=True)

    def _tell_readiness(self, request: Any) -> Any:
        return self._messages["ServerReadyResponse"](ready=self._plane.ready)

    def _tell_network_readiness(self, request: Any) -> Any:
        try:
            self._plane.find(request.name, request.version)
        except UnknownNameError:
            return self._messages["ModelReadyResponse"](ready=False)
        return self._messages["ModelReadyResponse"](ready=self._plane.ready)

    def _tell_server(self, request: Any) -> Any:
        return self._messages["ServerMetadataResponse"](
            name=SERVER, version=self._plane.release, extensions=EXTENSIONS
        )

    def _tell_network(self, request: Any) -> Any:
        spec = self._plane.find(request.name, request.version)
        return self._messages["ModelMetadataResponse"](
            name=spec.name,
            versions=[VERSION],
            platform=self._plane.platform,
            inputs=[describe_tensor(tensor) for tensor in spec.inputs],
            outputs=[describe_tensor(tensor) for tensor in spec.outputs],
        )

    def _infer(self, request: Any) -> Any:
        with self._plane.admit(request.model_name, request.model_version):
            answer = self._plane.infer(read_grpc_request(request))
        return self._messages["ModelInferResponse"](
            model_name=answer.network,
            model_version=VERSION,
            id=answer.identity,
            outputs=[describe_tensor(tensor) for tensor, _ in answer.tensors],
            raw_output_contents=[write_tensor(array) for _, array in answer.tensors],
        )


def read_grpc_request(message: Any) -> InferenceRequest:
    """A ``ModelInferRequest`` as the plane takes it.

    Raises:
        InputError: tensors both raw and typed, or not one raw content for each input.
    """
    raw = list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        raise InputError(f"{len(raw)} raw contents for {len(message.inputs)} inputs")
    inputs = []
    for place, tensor in enumerate(message.inputs):
        typed = tensor.HasField("contents")
        if raw and typed:
            name = shorten_name(tensor.name)
            raise InputError(f"input {name}: both raw and typed contents were sent")
        content = raw[place] if raw else _read_typed(tensor)
        inputs.append(SentTensor(tensor.name, tensor.datatype, tuple(tensor.shape), content))
    outputs = tuple(output.name for output in message.outputs)
    return InferenceRequest(
        message.model_name, message.model_version, tuple(inputs), outputs, message.id
    )


def require_grpc_packages() -> None:
    """Raises MissingPackageError: one of what the extra "grpc" brings is not installed."""
    for package in ("grpc", "google.protobuf"):
        try:
            found = find_spec(package)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise MissingPackageError(package, extra="grpc", purpose="--grpc-port")


def _make_doorman(find_refusal: Callable[[Any], Refusal | None]) -> Any:
    """Looks at a call's metadata before anything else of it is read.

    Who is turned away is so as one who sends a stream: a handler of one message would wait for
    it first, and hold a place for as long.
    """
    import grpc

    class Doorman(grpc.ServerInterceptor):  # type: ignore[misc,unused-ignore]
        def intercept_service(self, continuation: Any, details: Any) -> Any:
            refusal = find_refusal(details.invocation_metadata)
            if refusal is None:
                return continuation(details)

            def turn_away(requests: Any, context: Any) -> None:
                context.abort(_find_code(refusal), refusal.message)

            return grpc.stream_unary_rpc_method_handler(turn_away)

    return Doorman()


def _read_typed(tensor: Any) -> list[Any]:
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        name = shorten_name(tensor.name)
        raise InputError(
            f"input {name} of datatype {shorten_name(tensor.datatype)}: send its values in "
            "raw_input_contents"
        )
    return list(getattr(tensor.contents, field))


def _find_code(refusal: Refusal) -> Any:
    import grpc

    return getattr(grpc.StatusCode, _CODES.get(refusal.status, "INTERNAL"))
