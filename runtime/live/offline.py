"""A bundle for offline work beside live sessions: the same engines, whenever those are free."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from echoexport.runtime.bundle.network import Network
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.bundle.opening import NetworkOpener
from echoexport.runtime.engine.protocol import Arrays, Engine
from echoexport.runtime.errors import BackendError
from echoexport.runtime.live.host import LiveHost
from echoexport.runtime.live.scheduling.spare import SpareTime
from echoexport.runtime.trace.tracer import Tracer


class SpareBundle(Bundle):
    """A live host's bundle once more; each call of a network takes what live sessions leave.

    Networks that sessions call are theirs, so that no weights lie in memory twice, even
    where one failed and is opened anew; others are opened with as many lanes. Closing it
    leaves the host's as they are.
    """

    def __init__(self, host: LiveHost, *, is_stopped: Callable[[], bool]) -> None:
        """``is_stopped``: see :class:`SpareTime`."""
        own = host.bundle
        super().__init__(own.folder, own.manifest, backend=own.backend, options=own.options)
        time = SpareTime(host.workers, host.costs, is_stopped=is_stopped)
        self._opener = _SpareOpener(host, time)


class _SpareOpener(NetworkOpener):
    """Opens what a host has not, and borrows what it has."""

    def __init__(self, host: LiveHost, time: SpareTime) -> None:
        own = host.bundle
        super().__init__(own.folder, own.manifest, backend=own.backend, options=own.options)
        self._host = host
        self._time = time

    def open(self, name: str, tracer: Tracer, *, waiting: int = 1) -> Network:
        """See :meth:`NetworkOpener.open`."""
        host = self._host
        if host.is_shared(name):
            find = partial(host.network, name)
            engine = _BorrowedEngine(find(), self._time, find=find, host=host)
            return Network(engine.network.spec, engine, tracer=tracer)
        own = host.open_lanes(name)
        return Network(own.spec, _SpareEngine(own, self._time), tracer=tracer)


class _SpareEngine(Engine):
    """Calls a network in the time of others."""

    def __init__(self, network: Network, time: SpareTime) -> None:
        self.precision = network.precision
        self.lanes = network.lanes
        self.notes = network.notes
        self.network = network
        self._time = time

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """See :meth:`Engine.__call__`."""
        return self._time.run(lambda: self._call(inputs))

    def close(self) -> None:
        """Close the network."""
        self.network.close()

    def _call(self, inputs: Arrays) -> dict[str, np.ndarray]:
        return self.network(inputs)


class _BorrowedEngine(_SpareEngine):
    """Calls a host's network, which it does not close; the host is told where that fails."""

    def __init__(
        self, network: Network, time: SpareTime, *, find: Callable[[], Network], host: LiveHost
    ) -> None:
        """``find`` gives the network anew for each call, as a host's may fail and be replaced."""
        super().__init__(network, time)
        self._find = find
        self._host = host

    def close(self) -> None:
        """Leave it to the host."""

    def _call(self, inputs: Arrays) -> dict[str, np.ndarray]:
        try:
            return self._find()(inputs)
        except BackendError as error:
            self._host.note_failure(error)
            raise
