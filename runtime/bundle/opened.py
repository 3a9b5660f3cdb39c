"""An opened bundle: its manifest, its checked files, and its networks, lent to who asks."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from echoexport.runtime.bundle.choice import choose_backend
from echoexport.runtime.bundle.files import check_file, check_files
from echoexport.runtime.bundle.fitting import require_fitting
from echoexport.runtime.bundle.network import Network
from echoexport.runtime.bundle.network_slot import NetworkSlot
from echoexport.runtime.bundle.opening import NetworkOpener
from echoexport.runtime.bundle.self_test import SelfTestResult
from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.contract.signing.trust import find_trust
from echoexport.runtime.engine.protocol import Backend, EngineOptions
from echoexport.runtime.trace.tracer import NULL, Tracer

if TYPE_CHECKING:
    from echoexport.runtime.live.opening import Conversation


def open_bundle(
    folder: str | Path,
    *,
    backend: str | None = None,
    options: EngineOptions | None = None,
    trust: Path | None = None,
) -> Bundle:
    """Open a bundle. Every file is looked at now; a network's are hashed when it is first used.

    ``backend`` None takes the first of the manifest's backends that works on this
    machine. A compiled bundle opens with its own backend alone, where every value of
    the backend's fingerprint is what it was when the engines were compiled. ``trust`` is
    as for ``read_manifest``; with one no cache is used: who writes there could forge.

    Raises:
        BundleError: the manifest is not valid, a file is missing, a link or of the wrong size.
        UnknownNameError: no such backend.
        BackendError: the backend (or each one that the manifest names) does not work
            here, or a compiled bundle is of another machine, library or backend; says
            why.
        SettingError: a compiled bundle's engines compute in something else than
            ``options`` want.
    """
    folder = Path(folder)
    manifest = read_manifest(folder, trust=trust)
    for name in manifest.files:
        check_file(folder, name, manifest=manifest)
    options = options or EngineOptions()
    if find_trust(trust) is not None:
        options = replace(options, cache=None)
    if manifest.compiled is None:
        chosen = choose_backend(manifest, backend)
    else:
        chosen = require_fitting(
            folder, manifest.compiled, backend=backend, compute=options.compute
        )
    return Bundle(folder, manifest, backend=chosen, options=options)


class Bundle:
    """What a bundle says of itself, and its networks. A context manager; closing it closes them.

    A bundle is shared, a lease is yours: who renders takes a :meth:`lease`, and nothing
    that it does changes the bundle for others. :meth:`network` is for single networks:
    it lends them for as long as the bundle is open, or until :meth:`close_network`.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, *, backend: Backend, options: EngineOptions
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.backend = backend
        self.options = options
        self._opener = NetworkOpener(folder, manifest, backend=backend, options=options)
        self._slots = {name: NetworkSlot() for name in manifest.networks}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="echoexport-open")
        self._own = self.lease()
        self._at_close: list[Callable[[], None]] = []

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def lease(self, *, tracer: Tracer = NULL, frugal: bool = False) -> Lease:
        """Networks with counts, notes and a tracer of their own; a context manager.

        ``frugal`` gives each back as soon as its holder says that it needs it no more,
        see :meth:`Lease.let_go`. A network closes when the last lease lets go of it.
        """
        return Lease(self, tracer=tracer, frugal=frugal)

    def network(self, name: str) -> Network:
        """The network called ``name``, opened on first use.

        Call it with a mapping of named arrays.

        Raises:
            UnknownNameError: no such network.
            BundleError: its files are not what the manifest says.
            BackendError: it does not open, or computes in bf16 or int8 and fails its
                self-test.
        """
        return self._own.network(name)

    def close_network(self, name: str) -> None:
        """Give back what :meth:`network` lent; it opens again when it is used again."""
        self._own.give_back(name)

    def calls(self) -> dict[str, int]:
        """How often each network that :meth:`network` lent has run."""
        return self._own.calls()

    def notes(self) -> tuple[str, ...]:
        """What does not run as it should in the networks that :meth:`network` lent."""
        return self._own.notes()

    def open_profiled(self, name: str) -> Network:
        """The network once more, on an engine of its own that also times its layers.

        The caller closes it.

        Raises:
            As :meth:`network` does.
        """
        return self._opener.open_profiled(name)

    def open_lanes(self, name: str, lanes: int) -> Network:
        """The network once more, on an engine that so many threads may call at once.

        The caller closes it.

        Raises:
            As :meth:`network` does.
        """
        return self._opener.open_lanes(name, lanes)

    def self_test(self, name: str) -> SelfTestResult:
        """Run a network on the arrays that travel with it.

        Raises:
            BundleError: the arrays are not what the manifest says, or not those of this
                network.
            BackendError: the network does not open or run.
        """
        return self._opener.prove(self.network(name))

    def check_files(self) -> Iterator[str]:
        """Hash every file anew, giving each name as it passes.

        Raises:
            BundleError: a file is not what the manifest says, or is in the folder but
                not in the manifest.
        """
        return check_files(self.folder, self.manifest)

    def files_of(self, name: str) -> tuple[str, ...]:
        """The files that a network is opened from."""
        return self._opener.files_of(name)

    def graph_of(self, name: str) -> str:
        """The file of a network's graph: the backend's own, where there is one and it works."""
        return self._opener.graph_of(name)

    def measure_weights(self, *names: str) -> int:
        """Bytes of these networks' weights, or of their compiled engines, which hold them.

        A file that some share counts once.
        """
        return self._opener.measure_weights(*names)

    def identity(self, *names: str) -> str:
        """What these networks' results depend on: their files, the backend, its arithmetic."""
        return self._opener.identity(*names)

    def arithmetic(self) -> dict[str, str]:
        """What each network computes in here: "fp32", "fp16", "bf16", "int8", "int8+bf16"."""
        return self._opener.arithmetic()

    def missing_arithmetic(self) -> str | None:
        """One line where the bundle's own arithmetic does not work here and fp32 stands in."""
        return self._opener.missing_arithmetic()

    def live(self, portrait: str | Path | np.ndarray, **settings: Any) -> Conversation:
        """A live session of this bundle: sound in as it is spoken, frames out when they are due.

        See :func:`echoexport.runtime.live.opening.open_live`, whose arguments and errors
        it has.
        """
        from echoexport.runtime.live.opening import open_live

        return open_live(self, portrait, **settings)

    def call_at_close(self, call: Callable[[], None]) -> None:
        """``call`` is called when the bundle closes, before its networks do."""
        self._at_close.append(call)

    def close(self) -> None:
        """Close every network, whoever holds it."""
        while self._at_close:
            self._at_close.pop()()
        for slot in self._slots.values():
            slot.close()
        self._thread.shutdown()

    def take(self, name: str, lease: Lease, *, tracer: Tracer) -> Network:
        """For leases: the network itself, opened where it is not, and held for ``lease``."""
        self._opener.require_network(name)
        slot = self._slots[name]
        with slot.lock:
            slot.holders.add(lease)
            try:
                if slot.network is None:
                    slot.network = self._open(name, slot, tracer)
            except BaseException:
                slot.holders.discard(lease)
                raise
            return slot.network

    def take_ahead(self, name: str, lease: Lease, *, tracer: Tracer) -> None:
        """For leases: begin to open a network in the bundle's thread, held for ``lease``."""
        self._opener.require_network(name)
        slot = self._slots[name]
        with slot.lock:
            slot.holders.add(lease)
            if slot.network is None and slot.begun is None:
                slot.begun = self._thread.submit(self._open_aside, name, tracer)

    def expect(self, name: str, waiting: int) -> None:
        """For leases: so many calls of a network will wait for each other at once.

        What it is opened for, where it is not open yet.
        """
        self._slots[name].waiting = waiting

    def let_go(self, name: str, lease: Lease) -> None:
        """For leases: ``lease`` needs the network no more; it closes with its last holder."""
        slot = self._slots[name]
        with slot.lock:
            slot.holders.discard(lease)
            if not slot.holders:
                slot.close()

    def _open(self, name: str, slot: NetworkSlot, tracer: Tracer) -> Network:
        begun = slot.begun
        if begun is None:
            return self._opener.open(name, tracer, waiting=slot.waiting)
        try:
            with tracer.span("opening", "wait", network=name):
                network = begun.result()
        except Exception:
            # Whoever asks next tries anew; after an interrupt it is still being opened.
            slot.begun = None
            raise
        slot.begun = None
        return network

    def _open_aside(self, name: str, tracer: Tracer) -> Network:
        tracer.name_track("opener")
        return self._opener.open(name, tracer, waiting=self._slots[name].waiting)


class Lease:
    """The networks of a bundle for one holder, with counts, notes and a tracer of its own.

    A context manager: leaving it lets go of every network. Several threads may use it.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        tracer: Tracer = NULL,
        frugal: bool = False,
        holder: Lease | None = None,
    ) -> None:
        """``holder``: the lease that holds the networks, where it is not this one."""
        self.bundle = bundle
        self.manifest = bundle.manifest
        self.tracer = tracer
        self.frugal = frugal
        self._holder = holder or self
        self._lent: dict[str, Network] = {}
        self._calls: Counter[str] = Counter()  # of networks that were given back
        self._notes: list[str] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def network(self, name: str) -> Network:
        """The network called ``name``, opened where it is not; see :meth:`Bundle.network`."""
        network = self.bundle.take(name, self._holder, tracer=self.tracer)
        with self._lock:
            lent = self._lent.get(name)
            if lent is None or not lent.calls_what(network):
                self._count(name)  # another part of the holder's work may have given it back
                lent = self._lent[name] = network.lend(self.tracer)
            return lent

    def open_ahead(self, *names: str) -> None:
        """Begin to open these networks in a thread, the first first.

        Who needs one meanwhile waits for it alone.
        """
        for name in names:
            self.bundle.take_ahead(name, self._holder, tracer=self.tracer)

    def expect(self, name: str, waiting: int) -> None:
        """Say that so many calls of a network will wait for each other at once.

        A backend that is left the lanes goes by it when it opens the network; one that
        is open stays as it is.
        """
        self.bundle.expect(name, waiting)

    def identity(self, *names: str) -> str:
        """What these networks' results depend on, see :meth:`Bundle.identity`."""
        return self.bundle.identity(*names)

    def calls(self) -> dict[str, int]:
        """How often each network has run for this lease."""
        with self._lock:
            found = self._calls.copy()
            for name, network in self._lent.items():
                found[name] += network.calls
        return {name: found[name] for name in self.manifest.networks}

    def notes(self) -> tuple[str, ...]:
        """What does not run as it should, from every network this lease used; each once."""
        with self._lock:
            lent = list(self._lent.values())
            kept = list(self._notes)
        # Engines are asked outside the lock: another thread may open a network meanwhile.
        return tuple(dict.fromkeys([*kept, *(note for one in lent for note in one.notes)]))

    def lend(self, *, tracer: Tracer | None = None) -> Lease:
        """A lease of what this one holds, for a part of its work.

        It has counts and notes of its own, and this one's tracer where none is given.
        The networks that it opens are held here, and stay when it ends.
        """
        return Lease(
            self.bundle,
            tracer=self.tracer if tracer is None else tracer,
            frugal=self.frugal,
            holder=self._holder,
        )

    def let_go(self, *names: str) -> None:
        """These are needed no more: a frugal lease gives them back, any other keeps them."""
        for name in names if self.frugal else ():
            self.give_back(name)

    def give_back(self, name: str) -> None:
        """Let go of one network; it opens again when it is used again."""
        with self._lock:
            self._count(name)
        self.bundle.let_go(name, self._holder)

    def close(self) -> None:
        """Let go of every network."""
        for name in self.manifest.networks:
            with self._lock:
                self._count(name)
            if self._holder is self:
                self.bundle.let_go(name, self)

    def _count(self, name: str) -> None:
        """Keep what a network that goes has told."""
        lent = self._lent.pop(name, None)
        if lent is not None:
            self._calls[name] += lent.calls
            self._notes += lent.notes
