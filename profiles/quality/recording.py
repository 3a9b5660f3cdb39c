"""A bundle that keeps a few of its networks' calls while it renders.

They are fair samples of whole trajectories.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoexport.runtime.bundle.network import Network
from echoexport.runtime.bundle.opened import Bundle, Lease
from echoexport.runtime.engine.protocol import Engine
from echoexport.runtime.trace.tracer import Tracer

__all__ = ["CallReservoir", "RecordedCall", "RecordingBundle"]

_Arrays = Mapping[str, NDArray[np.floating]]


@dataclass(frozen=True, eq=False)
class RecordedCall:
    """What went into a network and what came out, by name."""

    inputs: _Arrays
    outputs: _Arrays


class CallReservoir:
    """Keeps at most ``most`` calls, every one of all that were seen with the same chance.

    Algorithm R of J. Vitter, "Random sampling with a reservoir", ACM Transactions on
    Mathematical Software 11 (1985). The same calls in the same order leave the same
    ones for a seed.
    """

    def __init__(self, most: int, *, seed: int) -> None:
        self.most = most
        self.seen = 0
        self._kept: list[tuple[int, RecordedCall]] = []
        self._lot = np.random.Generator(np.random.PCG64(seed))

    def offer(self, call: RecordedCall) -> None:
        """Take a call in, or not; the arrays must not be written to afterwards."""
        self.seen += 1
        if len(self._kept) < self.most:
            self._kept.append((self.seen, call))
            return
        place = int(self._lot.integers(self.seen))
        if place < self.most:
            self._kept[place] = (self.seen, call)

    @property
    def calls(self) -> list[RecordedCall]:
        """What is kept, in the order it came."""
        return [call for _, call in sorted(self._kept, key=lambda entry: entry[0])]


class RecordingBundle(Bundle):
    """An opened bundle seen through its calls; the bundle itself stays the caller's, and open."""

    def __init__(self, bundle: Bundle, *, most: int, seed: int = 0) -> None:
        """``most`` calls of each network are kept."""
        super().__init__(
            bundle.folder, bundle.manifest, backend=bundle.backend, options=bundle.options
        )
        # A seed by name, so that the choice does not hang on the order in which
        # networks are first called.
        self.reservoirs = {
            name: CallReservoir(most, seed=seed + zlib.crc32(name.encode()))
            for name in bundle.manifest.networks
        }
        self._source = bundle
        self._recording = threading.Lock()
        self._recorded: dict[str, tuple[Network, Network]] = {}

    def expect(self, name: str, waiting: int) -> None:
        """See :meth:`Bundle.expect`: it is the source's network that is opened."""
        self._source.expect(name, waiting)

    def take(self, name: str, lease: Lease, *, tracer: Tracer) -> Network:
        """The source's network, telling of its calls; raises what the source's does."""
        source = self._source.take(name, lease, tracer=tracer)
        with self._recording:
            known = self._recorded.get(name)
            if known is None or known[0] is not source:
                engine = _RecordedEngine(source, self.reservoirs[name], lock=self._recording)
                known = self._recorded[name] = (source, Network(source.spec, engine))
            return known[1]

    def take_ahead(self, name: str, lease: Lease, *, tracer: Tracer) -> None:
        """Have the source open a network."""
        self._source.take_ahead(name, lease, tracer=tracer)

    def let_go(self, name: str, lease: Lease) -> None:
        """Tell the source, which closes the network with its last holder."""
        self._source.let_go(name, lease)


class _RecordedEngine(Engine):
    """Calls a network as its engine, and keeps what its reservoir wants."""

    def __init__(self, network: Network, reservoir: CallReservoir, *, lock: threading.Lock) -> None:
        self.precision = network.precision
        self.lanes = network.lanes
        self._network = network
        self._reservoir = reservoir
        self._lock = lock

    @property
    def notes(self) -> Sequence[str]:  # type: ignore[override]
        """The network's."""
        return self._network.notes

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = self._network(inputs)
        with self._lock:
            self._reservoir.offer(RecordedCall(dict(inputs), dict(outputs)))
        return outputs

    def close(self) -> None:
        """The network is the source's."""
