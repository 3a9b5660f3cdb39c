"""The Open Inference Protocol by REST, spoken to by Triton's own client and by hand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.served import NULL_NETWORK, TOKEN, Served, draw_inputs, draw_null

from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.live.opening import find_host


@pytest.fixture
def networks(serve: Callable[..., Served]) -> Served:
    """The null bundle's networks."""
    return serve(inference=True)


@pytest.fixture
def client_of() -> Iterator[Callable[[Served], Any]]:
    """A function that gives Triton's client of a server."""
    triton = pytest.importorskip("tritonclient.http")
    made: list[Any] = []

    def connect(served: Served) -> Any:
        made.append(triton.InferenceServerClient(served.url.removeprefix("http://")))
        return made[-1]

    yield connect
    for client in made:
        client.close()


def send_inputs(arrays: dict[str, np.ndarray], *, binary: bool = True) -> list[Any]:
    import tritonclient.http as triton

    sent = []
    for name, array in arrays.items():
        sent.append(triton.InferInput(name, list(array.shape), "FP32"))
        sent[-1].set_data_from_numpy(array, binary_data=binary)
    return sent


def write_head(bundle: Bundle, **changes: Any) -> dict[str, Any]:
    """A request for the null network with zeros, by hand; ``changes`` are of its input."""
    (tensor,) = bundle.manifest.networks[NULL_NETWORK].inputs
    entry = {
        "name": tensor.name,
        "datatype": "FP32",
        "shape": list(tensor.shape),
        "data": np.zeros(tensor.shape).tolist(),
    }
    return {"inputs": [{**entry, **changes}]}


def infer(served: Served, head: Any, **more: Any) -> Any:
    content = head if isinstance(head, bytes) else json.dumps(head).encode()
    return served.request("POST", f"/v2/models/{NULL_NETWORK}/infer", content=content, **more)


def test_health_and_metadata_are_what_a_client_of_triton_reads(
    networks: Served, client_of: Callable[[Served], Any]
) -> None:
    client = client_of(networks)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    for name, entry in networks.bundle.manifest.networks.items():
        assert client.is_model_ready(name, "1")
        told = client.get_model_metadata(name)
        assert told["versions"] == ["1"]
        assert told["platform"] == "echoexport_null"
        assert [(t["name"], tuple(t["shape"])) for t in told["inputs"]] == [
            (tensor.name, tensor.shape) for tensor in entry.inputs
        ]
        assert {tensor["datatype"] for tensor in told["outputs"]} == {"FP32"}


@pytest.mark.slow
def test_every_network_gives_what_the_runtime_gives(
    serve: Callable[..., Served],
    build_tiny: Callable[..., Path],
    client_of: Callable[[Served], Any],
) -> None:
    pytest.importorskip("openvino")
    served = serve(folder=build_tiny("acc", live=True), warm=False, inference=True)
    client = client_of(served)
    assert not client.is_server_ready()
    assert served.plane is not None
    served.plane.warm_up()
    assert client.is_server_ready()
    for name, entry in served.bundle.manifest.networks.items():
        arrays = draw_inputs(entry.describe(name))
        wanted = find_host(served.bundle).network(name)(arrays)
        answer = client.infer(name, send_inputs(arrays), request_id="mine")
        assert answer.get_response()["id"] == "mine"
        for tensor in entry.outputs:
            found = answer.as_numpy(tensor.name)
            assert np.abs(found).max() > 0
            np.testing.assert_array_equal(found, wanted[tensor.name])


@pytest.mark.slow
def test_numbers_in_json_give_the_same_as_binary_ones(
    serve: Callable[..., Served],
    build_tiny: Callable[..., Path],
    client_of: Callable[[Served], Any],
) -> None:
    pytest.importorskip("openvino")
    triton = pytest.importorskip("tritonclient.http")
    served = serve(folder=build_tiny("acc", live=True), warm=False, inference=True)
    assert served.plane is not None
    served.plane.warm_up()
    client = client_of(served)
    arrays = draw_null(served)
    raw = client.infer(NULL_NETWORK, send_inputs(arrays)).as_numpy("picture")
    wanted = [triton.InferRequestedOutput("picture", binary_data=False)]
    told = client.infer(NULL_NETWORK, send_inputs(arrays, binary=False), outputs=wanted)
    assert "data" in told.get_output("picture")
    np.testing.assert_array_equal(told.as_numpy("picture"), raw)


def test_a_request_by_hand_is_answered_in_json(networks: Served) -> None:
    answer = infer(networks, {**write_head(networks.bundle), "id": "7"})
    assert answer.status_code == 200
    told = answer.json()
    assert (told["id"], told["model_name"], told["model_version"]) == ("7", NULL_NETWORK, "1")
    (output,) = told["outputs"]
    assert len(output["data"]) == np.prod(output["shape"])
    assert set(output["data"]) == {0.0}


def test_no_network_is_served_unless_it_is_wanted(served: Served) -> None:
    answer = served.request("GET", "/v2")
    assert answer.status_code == 404
    assert "--inference" in answer.json()["error"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "nobody"}, "no input 'nobody'"),
        ({"datatype": "FP64"}, "wanted 'FP32'"),
        ({"shape": [1, 4, 4, 5]}, "has shape [1, 4, 4, 5]; wanted (batch 1"),
        ({"shape": [-1]}, "'shape' is a list of sizes"),
        ({"shape": "4"}, "'shape' is a list of sizes"),
        ({"data": [1.0]}, "has 1 values; its shape takes 64"),
        ({"data": [[1.0], [1.0, 2.0]]}, "different lengths"),
        ({"data": ["a"] * 64}, "other values than FP32"),
        ({"data": [1e39] * 64}, "not finite in FP32"),
        ({"data": [None] * 64}, "other values than FP32"),
        ({"data": None}, "'binary_data_size'"),
        ({"parameters": {"binary_data_size": 10}}, "0 bytes follow"),
        ({"parameters": {"shared_memory_region": "a"}}, "is not known here"),
        ({"parameters": 5}, "is an object"),
    ],
)
def test_an_input_that_is_not_the_networks_is_one_line(
    networks: Served, changes: dict[str, Any], words: str
) -> None:
    answer = infer(networks, write_head(networks.bundle, **changes))
    assert answer.status_code == 400
    line = answer.json()["error"]
    assert words in line
    assert len(line) < 300


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda head: {"inputs": head["inputs"] * 2}, "is there twice"),
        (lambda head: {"inputs": []}, "is missing; wanted (batch 1"),
        (lambda head: {}, "'inputs' is a list"),
        (lambda head: {**head, "outputs": [{"name": "sound"}]}, "no output 'sound'"),
        (lambda head: {**head, "outputs": [{"name": "picture"}] * 2}, "asked for twice"),
        (lambda head: {**head, "id": 5}, "'id' is a text"),
        (lambda head: {**head, "parameters": {"sequence_id": 4}}, "is not known here"),
        (lambda head: [head], "JSON object"),
        (lambda head: b"{", "no JSON"),
        (lambda head: b"[" * 100_000, "no JSON"),
    ],
)
def test_a_request_that_is_none_is_one_line(
    networks: Served, change: Callable[[Any], Any], words: str
) -> None:
    answer = infer(networks, change(write_head(networks.bundle)))
    assert answer.status_code == 400
    assert words in answer.json()["error"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(
    networks: Served, client_of: Callable[[Served], Any], value: float
) -> None:
    triton = pytest.importorskip("tritonclient.http")
    arrays = draw_null(networks)
    arrays["latents"][0, 0, 0, 0] = value
    with pytest.raises(triton.InferenceServerException, match="not finite"):
        client_of(networks).infer(NULL_NETWORK, send_inputs(arrays))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v2/models/nobody", "unknown network 'nobody'"),
        ("/v2/models/nobody/ready", "unknown network 'nobody'"),
        (f"/v2/models/{NULL_NETWORK}/versions/2", "known: 1"),
        (f"/v2/models/{NULL_NETWORK}/config", "Not Found"),
    ],
)
def test_what_is_not_there_is_404(networks: Served, path: str, words: str) -> None:
    answer = networks.request("GET", path)
    assert answer.status_code == 404
    assert words in answer.json()["error"]


def test_a_body_that_is_too_large_is_413(networks: Served) -> None:
    head = write_head(networks.bundle, data=[1.0] * 400_000)
    answer = infer(networks, head)
    assert answer.status_code == 413
    assert "binary data" in answer.json()["error"]
    answer = infer(networks, b" " * (8 << 20))
    assert answer.status_code == 413
    assert "a request has at most" in answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "99999999", "many"])
def test_a_length_of_json_that_cannot_be_is_refused(networks: Served, length: str) -> None:
    header = {"inference-header-content-length": length}
    answer = infer(networks, write_head(networks.bundle), headers=header)
    assert answer.status_code == 400
    assert "how many of them are JSON" in answer.json()["error"]


def test_bytes_behind_the_last_tensor_are_refused(networks: Served) -> None:
    head = json.dumps(write_head(networks.bundle)).encode()
    header = {"inference-header-content-length": str(len(head))}
    answer = infer(networks, head + b"more", headers=header)
    assert answer.status_code == 400
    assert "4 bytes are left" in answer.json()["error"]


def test_without_the_token_nothing_is_told(serve: Callable[..., Served]) -> None:
    served = serve(inference=True, tokens=(TOKEN,))
    for path in ("/v2", "/v2/health/ready", f"/v2/models/{NULL_NETWORK}"):
        assert served.request("GET", path).status_code == 401
        assert served.request("GET", path, token=TOKEN).status_code == 200
    answer = infer(served, write_head(served.bundle))
    assert answer.status_code == 401
    assert "token" in answer.json()["error"]


def test_requests_beyond_those_that_run_or_wait_are_429(networks: Served) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()
    host = find_host(networks.bundle)

    def hold() -> None:
        begun.release()
        go_on.wait(20)

    for _ in range(host.workers.count):  # as sessions that draw all the time would
        host.workers.submit("draw", hold, due=0.0, done=lambda seconds: None)
        begun.acquire(timeout=20)
    head = write_head(networks.bundle)
    found: list[int] = []
    most = max(1, host.workers.count // 2) + 4
    crowd = [
        threading.Thread(target=lambda: found.append(infer(networks, head).status_code))
        for _ in range(most + 3)
    ]
    for thread in crowd:
        thread.start()
    while len(found) < 3:
        assert any(thread.is_alive() for thread in crowd)
    go_on.set()
    for thread in crowd:
        thread.join(20)
    assert sorted(found) == [200] * most + [429] * 3


def test_each_request_is_counted_by_its_network_and_how_it_ended(networks: Served) -> None:
    infer(networks, write_head(networks.bundle))
    infer(networks, write_head(networks.bundle, datatype="INT8"))
    infer(networks, b"{")
    for name in ("nobody", "somebody"):
        networks.request("POST", f"/v2/models/{name}/infer", content=b"{}")
    assert networks.plane is not None
    networks.plane.close()
    infer(networks, write_head(networks.bundle))
    lines = networks.request("GET", "/metrics").text.splitlines()
    counted = {line for line in lines if line.startswith("echoexport_inference_seconds_count")}
    assert counted == {
        f'echoexport_inference_seconds_count{{network="{network}",outcome="{outcome}"}} {count}'
        for network, outcome, count in (
            (NULL_NETWORK, "done", "1.0"),
            (NULL_NETWORK, "invalid_request", "2.0"),
            (NULL_NETWORK, "not_ready", "1.0"),
            ("unknown", "not_found", "2.0"),
        )
    }
