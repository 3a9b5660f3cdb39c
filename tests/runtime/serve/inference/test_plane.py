"""The data plane by itself: live work goes first, and who waits is let go at the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime import open_bundle
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.errors import UnknownNameError
from echoexport.runtime.live.opening import find_host
from echoexport.runtime.serve.figures import ServeFigures
from echoexport.runtime.serve.inference.plane import InferencePlane, InferenceRequest
from echoexport.runtime.serve.inference.tensors import SentTensor, count_bytes
from echoexport.runtime.serve.refusals import RefusedError

NETWORK = "vae_decoder"


@pytest.fixture
def bundle(null_bundle: Path) -> Iterator[Bundle]:
    with open_bundle(null_bundle) as opened:
        yield opened


@pytest.fixture
def plane(bundle: Bundle) -> InferencePlane:
    made = InferencePlane(bundle, ServeFigures())
    made.warm_up()
    return made


def ask(plane: InferencePlane) -> InferenceRequest:
    inputs = tuple(
        SentTensor(tensor.name, "FP32", tensor.shape, bytes(4 * int(np.prod(tensor.shape))))
        for tensor in plane.find(NETWORK).inputs
    )
    return InferenceRequest(NETWORK, "1", inputs)


def hold_workers(bundle: Bundle, go_on: threading.Event) -> None:
    """Keep every worker at work until ``go_on``."""
    host = find_host(bundle)
    begun = threading.Semaphore(0)

    def hold() -> None:
        begun.release()
        go_on.wait(20)

    for _ in range(host.workers.count):
        host.workers.submit("draw", hold, due=0.0, done=lambda seconds: None)
        begun.acquire(timeout=20)


def test_live_work_that_comes_later_is_done_before(bundle: Bundle, plane: InferencePlane) -> None:
    go_on = threading.Event()
    hold_workers(bundle, go_on)
    order: list[str] = []
    network = find_host(bundle).network(NETWORK)
    waiting = threading.Thread(target=lambda: order.append(plane.infer(ask(plane)).network))
    waiting.start()
    workers = find_host(bundle).workers
    for number in range(2 * workers.count):
        workers.submit(
            "draw",
            lambda number=number: order.append(f"live {network.calls}"),
            due=1e9 + number,
            done=lambda seconds: None,
        )
    go_on.set()
    waiting.join(20)
    assert order[-1] == NETWORK
    assert order[: workers.count] == ["live 0"] * workers.count


def test_who_waits_is_let_go_when_it_closes(bundle: Bundle, plane: InferencePlane) -> None:
    go_on = threading.Event()
    hold_workers(bundle, go_on)
    found: list[Exception] = []

    def wait() -> None:
        try:
            plane.infer(ask(plane))
        except RefusedError as error:
            found.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    plane.close()
    waiting.join(10)
    assert [str(error) for error in found] == ["the server stops"]
    with pytest.raises(RefusedError, match="stops"), plane.admit(NETWORK):
        pass
    go_on.set()


def test_a_version_that_is_not_there_is_named(plane: InferencePlane) -> None:
    with pytest.raises(UnknownNameError, match="unknown version of vae_decoder '2'; known: 1"):
        plane.find(NETWORK, "2")


def test_a_request_may_be_as_large_as_the_largest_networks_inputs(
    bundle: Bundle, plane: InferencePlane
) -> None:
    largest = max(count_bytes(entry.inputs) for entry in bundle.manifest.networks.values())
    assert largest < plane.most_request <= largest + (1 << 20)
