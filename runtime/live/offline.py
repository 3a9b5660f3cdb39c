"""A bundle for offline work beside live sessions: the same engines, whenever those are free."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from echoexport.runtime.bundle.network import Network
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.bundle.opening import NetworkOpener
from echoexport.runtime.engine.protocol import Arrays, Engine
from echoexport.runtime.live.host import LiveHost
from echoexport.runtime.live.scheduling.spare import SpareTime
from echoexport.runtime.trace.tracer import Tracer


class SpareBundle(Bundle):
    """A live host's bundle once more; each call of a network takes what live sessions leave.

    Networks that sessions have open are theirs, so that no weights lie in memory twice;
    others are opened with as many lanes. Closing it leaves the host's as they are.
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
        if host.find_open(name) is not None:
            find = partial(host.network, name)
            return self._wrap(find(), tracer, find=find, close=lambda: None)
        own = host.open_lanes(name)
        return self._wrap(own, tracer, find=lambda: own, close=own.close)

    def _wrap(
        self,
        network: Network,
        tracer: Tracer,
        *,
        find: Callable[[], Network],
        close: Callable[[], None],
    ) -> Network:
        engine = _SpareEngine(network, self._time, find=find, close=close)
        return Network(network.spec, engine, tracer=tracer)


class _SpareEngine(Engine):
    """Calls a network in the time of others."""

    def __init__(
        self,
        network: Network,
        time: SpareTime,
        *,
        find: Callable[[], Network],
        close: Callable[[], None],
    ) -> None:
        """``find`` gives the network anew for each call, as a host's may fail and be replaced."""
        self.precision = network.precision
        self.lanes = network.lanes
        self.notes = network.notes
        self._time = time
        self._find = find
        self._close = close

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """See :meth:`Engine.__call__`."""
        return self._time.run(lambda: self._find()(inputs))

    def close(self) -> None:
        """Close what is not the host's."""
        self._close()
