"""Leases: a bundle is shared, and what one holder does is nothing to the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime import Bundle, EngineOptions, Network, SubnetSpec, Tracer
from echoexport.runtime.backends.null import NullBackend, NullEngine
from echoexport.runtime.contract.manifest import read_manifest

DECODER = "vae_decoder"


class CountingBackend(NullBackend):
    """Null engines, kept in the order in which they were opened."""

    def __init__(self) -> None:
        self.opened: list[ClosingEngine] = []

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> ClosingEngine:
        engine = ClosingEngine(spec)
        self.opened.append(engine)
        return engine


class ClosingEngine(NullEngine):
    """A null engine that knows whether it is closed, and has something to say."""

    def __init__(self, spec: SubnetSpec) -> None:
        super().__init__(spec)
        self.closed = False
        self.notes = [f"{spec.name} is slow"]

    def close(self) -> None:
        super().close()
        self.closed = True


@pytest.fixture
def counted(null_bundle: Path) -> Iterator[tuple[Bundle, CountingBackend]]:
    """The null bundle, and the backend that knows its engines."""
    backend = CountingBackend()
    manifest = read_manifest(null_bundle)
    with Bundle(null_bundle, manifest, backend=backend, options=EngineOptions()) as bundle:
        yield bundle, backend


def call(network: Network) -> None:
    network({tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in network.spec.inputs})


def test_two_leases_share_an_engine_and_count_apart(
    counted: tuple[Bundle, CountingBackend],
) -> None:
    bundle, backend = counted
    with bundle.lease() as one, bundle.lease() as other:
        for lease, times in ((one, 3), (other, 1)):
            for _ in range(times):
                call(lease.network(DECODER))
        assert (one.calls()[DECODER], other.calls()[DECODER]) == (3, 1)
    assert len(backend.opened) == 1


def test_a_network_closes_when_its_last_holder_lets_go(
    counted: tuple[Bundle, CountingBackend],
) -> None:
    bundle, backend = counted
    with bundle.lease() as one:
        with bundle.lease() as other:
            one.network(DECODER)
            other.network(DECODER)
        assert not backend.opened[0].closed
        call(one.network(DECODER))
    assert backend.opened[0].closed


def test_a_frugal_lease_gives_back_what_it_needs_no_more_and_others_keep_it(
    counted: tuple[Bundle, CountingBackend],
) -> None:
    bundle, backend = counted
    frugal = bundle.lease(frugal=True)
    frugal.network(DECODER)
    frugal.let_go(DECODER)
    assert backend.opened[0].closed
    keeper = bundle.lease()
    keeper.network(DECODER)
    frugal.network(DECODER)
    frugal.let_go(DECODER)
    assert not backend.opened[1].closed
    call(keeper.network(DECODER))


def test_a_lease_that_is_not_frugal_keeps_its_networks_to_its_end(
    counted: tuple[Bundle, CountingBackend],
) -> None:
    bundle, backend = counted
    with bundle.lease() as lease:
        lease.network(DECODER)
        lease.let_go(DECODER)
        assert not backend.opened[0].closed


def test_counts_and_notes_outlive_the_network(counted: tuple[Bundle, CountingBackend]) -> None:
    bundle, backend = counted
    lease = bundle.lease(frugal=True)
    for _ in range(2):
        call(lease.network(DECODER))
        lease.let_go(DECODER)
    assert lease.calls()[DECODER] == 2
    assert lease.notes() == (f"{DECODER} is slow",)
    assert len(backend.opened) == 2


def test_notes_are_of_the_networks_that_a_lease_used(
    counted: tuple[Bundle, CountingBackend],
) -> None:
    bundle, _ = counted
    one = bundle.lease()
    other = bundle.lease()
    one.network(DECODER)
    other.network("vae_encoder")
    assert one.notes() == (f"{DECODER} is slow",)
    assert other.notes() == ("vae_encoder is slow",)


def test_each_lease_tells_its_own_tracer(counted: tuple[Bundle, CountingBackend]) -> None:
    bundle, _ = counted
    tracers = [Tracer(), Tracer()]
    for tracer, times in zip(tracers, (2, 1), strict=True):
        network = bundle.lease(tracer=tracer).network(DECODER)
        for _ in range(times):
            call(network)
    names = [[span.name for span in tracer.spans()] for tracer in tracers]
    assert names[0] == ["open", *["inputs", DECODER] * 2]
    assert names[1] == ["inputs", DECODER]


def test_a_part_of_a_leases_work_counts_apart_and_leaves_its_networks_open(
    counted: tuple[Bundle, CountingBackend],
) -> None:
    bundle, backend = counted
    with bundle.lease() as whole:
        with whole.lend() as part:
            call(part.network(DECODER))
            assert part.calls()[DECODER] == 1
        assert not backend.opened[0].closed
        call(whole.network(DECODER))
        assert whole.calls()[DECODER] == 1
    assert backend.opened[0].closed


def test_what_a_part_gives_back_its_lease_opens_anew(
    counted: tuple[Bundle, CountingBackend],
) -> None:
    bundle, backend = counted
    whole = bundle.lease(frugal=True)
    call(whole.network(DECODER))
    part = whole.lend()
    part.network(DECODER)
    part.let_go(DECODER)
    assert backend.opened[0].closed
    call(whole.network(DECODER))
    assert whole.calls()[DECODER] == 2
    assert len(backend.opened) == 2


def test_a_network_that_is_opened_ahead_for_a_lease_closes_with_it(
    counted: tuple[Bundle, CountingBackend],
) -> None:
    bundle, backend = counted
    with bundle.lease() as lease:
        lease.open_ahead(DECODER)
    assert [engine.closed for engine in backend.opened] in ([], [True])


def test_closing_the_bundle_closes_what_leases_still_hold(
    counted: tuple[Bundle, CountingBackend],
) -> None:
    bundle, backend = counted
    bundle.lease().network(DECODER)
    bundle.close()
    assert backend.opened[0].closed


def test_threads_that_take_and_let_go_at_random_leave_nothing_open(
    counted: tuple[Bundle, CountingBackend],
) -> None:
    bundle, backend = counted
    calls = [0] * 4

    def use(number: int) -> None:
        draw = np.random.default_rng(number)
        with bundle.lease(frugal=True) as lease:
            for _ in range(60):
                network = lease.network(DECODER)
                if draw.random() < 0.7:
                    call(network)
                    calls[number] += 1
                if draw.random() < 0.4:
                    lease.let_go(DECODER)
            assert lease.calls()[DECODER] == calls[number]

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(calls)
    assert all(engine.closed for engine in backend.opened)


def test_a_network_is_opened_for_as_many_calls_as_will_wait(null_bundle: Path) -> None:
    class Asked(NullBackend):
        """Null engines; what they were asked for is kept."""

        def __init__(self) -> None:
            self.waiting: dict[str, int] = {}

        def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> NullEngine:
            self.waiting[spec.name] = options.waiting
            return NullEngine(spec)

    backend = Asked()
    manifest = read_manifest(null_bundle)
    with Bundle(null_bundle, manifest, backend=backend, options=EngineOptions(lanes=0)) as bundle:
        lease = bundle.lease()
        lease.expect("denoising_unet", 7)
        lease.network("denoising_unet")
        lease.network(DECODER)
        lease.expect("denoising_unet", 2)  # it is open, and stays as it is
        lease.network("denoising_unet")
    assert backend.waiting == {"denoising_unet": 7, DECODER: 1}
