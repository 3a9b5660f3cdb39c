"""The Open Inference Protocol by gRPC, spoken to by Triton's own client."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.served import NULL_NETWORK, TOKEN, Served, draw_inputs, draw_null

from echoexport.runtime.errors import SettingError
from echoexport.runtime.live.opening import find_host


@pytest.fixture
def networks(serve: Callable[..., Served]) -> Served:
    """The null bundle's networks, by gRPC alone."""
    pytest.importorskip("grpc")
    return serve(grpc_port=0)


@pytest.fixture
def client_of() -> Iterator[Callable[[Served], Any]]:
    """A function that gives Triton's client of a server."""
    triton = pytest.importorskip("tritonclient.grpc")
    made: list[Any] = []

    def connect(served: Served) -> Any:
        made.append(triton.InferenceServerClient(f"127.0.0.1:{served.server.grpc_port}"))
        return made[-1]

    yield connect
    for client in made:
        client.close()


def send_inputs(arrays: dict[str, np.ndarray], *, datatype: str = "FP32") -> list[Any]:
    import tritonclient.grpc as triton

    sent = []
    for name, array in arrays.items():
        sent.append(triton.InferInput(name, list(array.shape), datatype))
        sent[-1].set_data_from_numpy(array)
    return sent


def test_health_and_metadata_are_what_a_client_of_triton_reads(
    networks: Served, client_of: Callable[[Served], Any]
) -> None:
    client = client_of(networks)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata().name == "echoexport"
    for name, entry in networks.bundle.manifest.networks.items():
        assert client.is_model_ready(name)
        told = client.get_model_metadata(name, "1")
        assert [(t.name, t.datatype, tuple(t.shape)) for t in told.inputs] == [
            (tensor.name, "FP32", tensor.shape) for tensor in entry.inputs
        ]


@pytest.mark.slow
def test_every_network_gives_what_the_runtime_gives(
    serve: Callable[..., Served],
    build_tiny: Callable[..., Path],
    client_of: Callable[[Served], Any],
) -> None:
    for package in ("openvino", "grpc"):
        pytest.importorskip(package)
    served = serve(folder=build_tiny("acc", live=True), warm=False, grpc_port=0)
    assert served.plane is not None
    served.plane.warm_up()
    client = client_of(served)
    for name, entry in served.bundle.manifest.networks.items():
        arrays = draw_inputs(entry.describe(name))
        wanted = find_host(served.bundle).network(name)(arrays)
        answer = client.infer(name, send_inputs(arrays), request_id="mine")
        assert answer.get_response().id == "mine"
        for tensor in entry.outputs:
            found = answer.as_numpy(tensor.name)
            assert np.abs(found).max() > 0
            np.testing.assert_array_equal(found, wanted[tensor.name])


def test_typed_contents_are_read_too(networks: Served) -> None:
    import grpc

    from echoexport.runtime.serve.inference.grpc_schema import SERVICE, load_messages

    messages = load_messages()
    (tensor,) = networks.bundle.manifest.networks[NULL_NETWORK].inputs
    request = messages["ModelInferRequest"](model_name=NULL_NETWORK)
    entry = request.inputs.add(name=tensor.name, datatype="FP32", shape=tensor.shape)
    entry.contents.fp32_contents.extend([0.5] * int(np.prod(tensor.shape)))
    with grpc.insecure_channel(f"127.0.0.1:{networks.server.grpc_port}") as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=messages["ModelInferRequest"].SerializeToString,
            response_deserializer=messages["ModelInferResponse"].FromString,
        )
        answer = call(request, timeout=20)
        assert len(answer.raw_output_contents) == 1
        entry.datatype = "FP16"
        with pytest.raises(grpc.RpcError) as refused:
            call(request, timeout=20)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "raw_input_contents" in refused.value.details()


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (lambda arrays: {"nobody": arrays["latents"]}, "INVALID_ARGUMENT", "no input 'nobody'"),
        (lambda arrays: {"latents": arrays["latents"][:, :2]}, "INVALID_ARGUMENT", "has shape"),
        (lambda arrays: {"latents": arrays["latents"] * np.nan}, "INVALID_ARGUMENT", "not finite"),
    ],
)
def test_what_is_not_the_networks_is_one_line(
    networks: Served,
    client_of: Callable[[Served], Any],
    change: Callable[[Any], Any],
    status: str,
    words: str,
) -> None:
    triton = pytest.importorskip("tritonclient.grpc")
    arrays = change(draw_null(networks))
    with pytest.raises(triton.InferenceServerException, match=words) as refused:
        client_of(networks).infer(NULL_NETWORK, send_inputs(arrays))
    assert refused.value.status() == f"StatusCode.{status}"
    assert "\n" not in refused.value.message()


def test_a_network_that_is_not_there_is_not_found(
    networks: Served, client_of: Callable[[Served], Any]
) -> None:
    triton = pytest.importorskip("tritonclient.grpc")
    with pytest.raises(triton.InferenceServerException, match="unknown network 'nobody'") as found:
        client_of(networks).infer("nobody", send_inputs(draw_null(networks)))
    assert found.value.status() == "StatusCode.NOT_FOUND"


def test_a_message_that_is_too_large_is_refused_before_it_is_read(
    networks: Served, client_of: Callable[[Served], Any]
) -> None:
    triton = pytest.importorskip("tritonclient.grpc")
    arrays = {"latents": np.zeros((64, 4, 128, 128), np.float32)}
    with pytest.raises(triton.InferenceServerException, match="larger than max"):
        client_of(networks).infer(NULL_NETWORK, send_inputs(arrays))


def test_without_the_token_nobody_is_let_in(
    serve: Callable[..., Served], client_of: Callable[[Served], Any]
) -> None:
    triton = pytest.importorskip("tritonclient.grpc")
    served = serve(grpc_port=0, tokens=(TOKEN,))
    client = client_of(served)
    for sent in ({}, {"authorization": "Bearer a-token-of-nobody"}):
        with pytest.raises(triton.InferenceServerException, match="token") as refused:
            client.is_server_live(headers=sent)
        assert refused.value.status() == "StatusCode.UNAUTHENTICATED"
    assert client.is_server_live(headers={"authorization": f"Bearer {TOKEN}"})


def test_a_stranger_is_turned_away_before_anything_of_the_call_comes(
    serve: Callable[..., Served],
) -> None:
    grpc = pytest.importorskip("grpc")
    served = serve(grpc_port=0, tokens=(TOKEN,))
    never = threading.Event()

    def send_nothing() -> Iterator[bytes]:
        never.wait(60)
        yield b""

    with grpc.insecure_channel(f"127.0.0.1:{served.server.grpc_port}") as channel:
        call = channel.stream_unary("/inference.GRPCInferenceService/ServerLive")
        try:
            with pytest.raises(grpc.RpcError) as refused:
                call(send_nothing(), timeout=20)
        finally:
            never.set()
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_a_port_that_is_taken_is_told(serve: Callable[..., Served]) -> None:
    pytest.importorskip("grpc")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingError, match=f"port {port} for gRPC.*--grpc-port"):
            serve(grpc_port=port)


def test_each_call_is_counted_by_its_network_and_how_it_ended(
    networks: Served, client_of: Callable[[Served], Any]
) -> None:
    errors = pytest.importorskip("tritonclient.utils")
    client = client_of(networks)
    client.infer(NULL_NETWORK, send_inputs(draw_null(networks)))
    with pytest.raises(errors.InferenceServerException):
        client.infer(NULL_NETWORK, [])
    with pytest.raises(errors.InferenceServerException):
        client.infer("nobody", send_inputs(draw_null(networks)))
    told = networks.table.figures.write().decode()
    for network, outcome in (
        (NULL_NETWORK, "done"),
        (NULL_NETWORK, "invalid_request"),
        ("unknown", "not_found"),
    ):
        assert f'inference_seconds_count{{network="{network}",outcome="{outcome}"}} 1.0' in told
