"""An opened bundle: its manifest, its files checked against it, and its networks on a backend."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType

from echoexport.runtime.bundle.choice import _choose_backend, _require_backend
from echoexport.runtime.bundle.files import check_file, check_files, check_hash
from echoexport.runtime.bundle.fitting import require_fitting
from echoexport.runtime.bundle.network import Network
from echoexport.runtime.bundle.self_test import SelfTestResult, run_self_test
from echoexport.runtime.contract.compiled import CompiledEngine
from echoexport.runtime.contract.manifest import Manifest, NetworkEntry, read_manifest
from echoexport.runtime.contract.spec import PRECISIONS, SubnetSpec
from echoexport.runtime.engine.protocol import (
    Backend,
    Engine,
    EngineOptions,
    as_compiling,
    list_arithmetic,
)
from echoexport.runtime.errors import BackendError, DeviceError, UnknownNameError
from echoexport.runtime.trace.tracer import NULL, Tracer


def open_bundle(
    folder: str | Path,
    *,
    backend: str | None = None,
    options: EngineOptions | None = None,
    tracer: Tracer = NULL,
) -> Bundle:
    """Open a bundle. Every file is looked at now.

    A network's files are hashed when it is first used.

    ``backend`` None takes the first of the manifest's backends that works on this
    machine. A compiled bundle opens with its own backend alone, where every value of
    the backend's fingerprint is what it was when the engines were compiled.

    Raises:
        BundleError: the manifest is not valid, or a file is missing, a link, or of the
            wrong size. UnknownNameError: no such backend. BackendError: the backend (or
            each one that the manifest names) does not work here, or a compiled bundle
            is of
            another machine, library or backend; says why.
        SettingError: a compiled bundle's engines compute in something else than
            ``options`` want.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for name in manifest.files:
        check_file(folder, name, manifest=manifest)
    options = options or EngineOptions()
    if manifest.compiled is not None:
        chosen: Backend = require_fitting(
            folder, manifest.compiled, backend=backend, compute=options.compute
        )
    else:
        chosen = _choose_backend(manifest) if backend is None else _require_backend(backend)
    return Bundle(folder, manifest, backend=chosen, options=options, tracer=tracer)


class Bundle:
    """Gives networks by name. A context manager; closing it closes every network it opened."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        *,
        backend: Backend,
        options: EngineOptions,
        tracer: Tracer = NULL,
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.backend = backend
        self.options = options
        self._tracer = tracer
        self._networks: dict[str, Network] = {}
        self._closed_calls: Counter[str] = Counter()
        self._closed_notes: list[str] = []
        self._refused: set[str] = (
            set()
        )  # networks whose own graph for this backend did not work here
        self._lock = threading.RLock()
        self._opener = ThreadPoolExecutor(1, thread_name_prefix="echoexport-open")
        self._opening: dict[str, Future[Network]] = {}

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def network(self, name: str) -> Network:
        """The network called ``name``, opened on first use; call it with a mapping of named arrays.

        Raises:
            UnknownNameError: no such network. BundleError: its files are not what the
                manifest says. BackendError: it does not open, or computes in bf16 or
                int8 and fails its self-test.
        """
        with self._lock:
            if name not in self._networks:
                begun = self._opening.get(name)
                network = self._open(name) if begun is None else self._await(name, begun)
                network.tracer = self._tracer  # only now: a self-test's calls are nobody's
                self._networks[name] = network
                self._opening.pop(name, None)
            return self._networks[name]

    @property
    def tracer(self) -> Tracer:
        """What is told when a network opens or runs.

        May be set at any time, for all that comes after.
        """
        return self._tracer

    @tracer.setter
    def tracer(self, tracer: Tracer) -> None:
        with self._lock:
            self._tracer = tracer
            for network in self._networks.values():
                network.tracer = tracer

    def measure_weights(self, name: str) -> int:
        """Bytes of a network's weights, or of its compiled engine, which holds them."""
        files = (
            (self.manifest.networks[name].weights,)
            if self._engine_of(name) is None
            else self.files_of(name)
        )
        return sum(self.manifest.files[file].bytes for file in files)

    def files_of(self, name: str) -> tuple[str, ...]:
        """The files that a network is opened from.

        The backend's graph and the weights, or its compiled engine's.
        """
        engine = self._engine_of(name)
        return (
            (self.graph_of(name), self.manifest.networks[name].weights)
            if engine is None
            else engine.files
        )

    def graph_of(self, name: str) -> str:
        """The file of a network's graph.

        In the backend's own operators, where the bundle has such and it works.
        """
        entry = self.manifest.networks[name]
        return (
            entry.graph
            if name in self._refused
            else entry.graphs.get(self.backend.name, entry.graph)
        )

    def open_ahead(self, *names: str) -> None:
        """Begin to open these networks in a thread, the first first.

        Who needs one meanwhile waits for it alone.
        """
        with self._lock:
            for name in names:
                if name not in self._networks and name not in self._opening:
                    self._opening[name] = self._opener.submit(self._open_aside, name)

    def calls(self) -> dict[str, int]:
        """How often each network has run since the bundle was opened."""
        open_calls = {name: network.calls for name, network in self._networks.copy().items()}
        return {
            name: self._closed_calls[name] + open_calls.get(name, 0)
            for name in self.manifest.networks
        }

    def notes(self) -> tuple[str, ...]:
        """What does not run as it should, from every network that was opened so far; each once."""
        networks = self._networks.copy()  # another thread may open one meanwhile
        found = [note for network in networks.values() for note in network.notes]
        return tuple(dict.fromkeys([*self._closed_notes, *found]))

    def identity(self, *names: str) -> str:
        """What these networks' results depend on: their files, the backend and its arithmetic."""
        hashes = [
            self.manifest.files[file].sha256 for name in names for file in self.files_of(name)
        ]
        computes = sorted({self._compute_of(name) for name in names})
        return "/".join([*hashes, self.backend.describe(), *computes])

    def arithmetic(self) -> dict[str, str]:
        """What each network computes in here: "fp32", "fp16", "bf16", "int8" or "int8+bf16"."""
        entries = self.manifest.networks.items()
        return {
            name: entry.describe(name).computed_in(self._compute_of(name))
            for name, entry in entries
        }

    def missing_arithmetic(self) -> str | None:
        """One line where fp32 takes the place of the bundle's own choice of arithmetic.

        That choice does not work here, then.
        """
        if self.options.compute or self.manifest.compiled is not None:
            return None
        entries = self.manifest.networks.items()
        wants = {
            name: entry.compute
            for name, entry in entries
            if entry.compute not in self._available_arithmetic
        }
        if not wants:
            return None
        return (
            f"the bundle chose {'/'.join(sorted(set(wants.values())))} for {', '.join(wants)}, "
            "which backend "
            f"{self.backend.name!r} does not have on this machine: computing in fp32, more slowly"
        )

    def check_files(self) -> Iterator[str]:
        """Hash every file anew, giving each name as it passes.

        Raises:
            BundleError: a file is not what the manifest says, or is in the folder but
                not in the manifest.
        """
        return check_files(self.folder, self.manifest)

    def self_test(self, name: str) -> SelfTestResult:
        """Run a network on the arrays that travel with it.

        Raises:
            BundleError: the arrays are not what the manifest says, or not those of this
                network. BackendError: the network does not open or run.
        """
        network = self.network(name)
        entry = self.manifest.networks[name]
        return run_self_test(network, entry, folder=self.folder, manifest=self.manifest)

    def open_profiled(self, name: str) -> Network:
        """The network once more, on an engine of its own that also times its layers.

        The caller closes it.

        Raises:
            As :meth:`network` does.
        """
        if name not in self.manifest.networks:
            raise UnknownNameError("network", name, known=self.manifest.networks)
        return self._compile(
            name, replace(self._options_for(name), lanes=1, cache=None, profile=True)
        )

    def close_network(self, name: str) -> None:
        """Give one network's memory back; it opens again when it is used again."""
        network = self._networks.pop(name, None)
        if network is not None:
            self._closed_calls[name] += network.calls
            self._closed_notes += network.notes
            network.close()

    def close(self) -> None:
        """Close every network."""
        for name, begun in list(self._opening.items()):
            if begun.cancel():
                del self._opening[name]
            elif begun.exception() is None:
                self._networks[name] = begun.result()
        self._opening.clear()
        self._opener.shutdown()
        for name in list(self._networks):
            self.close_network(name)

    def _await(self, name: str, begun: Future[Network]) -> Network:
        try:
            with self._tracer.span("opening", "wait", network=name):
                return begun.result()
        except (
            Exception
        ):  # whoever asks next tries anew; after an interrupt it is still being opened
            del self._opening[name]
            raise

    def _open_aside(self, name: str) -> Network:
        self._tracer.name_track("opener")
        return self._open(name)

    def _open(self, name: str) -> Network:
        if name not in self.manifest.networks:
            raise UnknownNameError("network", name, known=self.manifest.networks)
        options = self._options_for(name)
        with self._tracer.span("open", "stage", network=name):
            network = self._compile(name, options)
        if options.cache is not None:
            with suppress(
                OSError
            ):  # no such folder: nothing was kept. "cache prune" goes by its time
                os.utime(options.cache)
        return network

    def _compile(self, name: str, options: EngineOptions) -> Network:
        entry = self.manifest.networks[name]
        compiled = self._engine_of(name)
        for file in self.files_of(name):
            check_hash(self.folder, file, manifest=self.manifest)
        spec = entry.describe(name)
        notes = list[str]()
        if compiled is None and self.graph_of(name) != entry.graph:
            try:
                return self._open_own(spec, entry, options)
            except (
                BackendError
            ) as error:  # a library without these operators, or a GPU on which they are wrong
                self._refused.add(name)
                notes.append(
                    f"{name}: runs in plain operators, which is slower: its graph for "
                    f"{self.backend.name}: {error}"
                )
            check_hash(self.folder, entry.graph, manifest=self.manifest)
        network = Network(spec, self._open_engine(spec, compiled, options), notes=notes)
        # Some fused bf16 attention kernels have been wrong, not merely coarse; int8
        # ones saturate on some CPUs.
        if network.precision not in PRECISIONS or (compiled is not None and compiled.error is None):
            self._require_passed(network, entry)
        return network

    def _open_own(self, spec: SubnetSpec, entry: NetworkEntry, options: EngineOptions) -> Network:
        """In the backend's own operators, which nobody but the network's self-test has checked."""
        graph = self.folder / self.graph_of(spec.name)
        network = Network(spec, self.backend.open(graph, spec, options))
        self._require_passed(network, entry)
        return network

    def _open_engine(
        self, spec: SubnetSpec, compiled: CompiledEngine | None, options: EngineOptions
    ) -> Engine:
        if compiled is None:
            return self.backend.open(
                self.folder / self.manifest.networks[spec.name].graph, spec, options
            )
        backend = as_compiling(self.backend)
        summary = self.manifest.compiled
        if backend is None or summary is None:
            raise BackendError(
                f"{self.folder}: backend {self.backend.name!r} opens no compiled engines"
            )
        try:
            return backend.open_engine(self.folder / compiled.files[0], spec, options)
        except DeviceError as error:
            raise DeviceError(f"{spec.name}: {error}") from error
        except BackendError as error:
            raise BackendError(f"{spec.name}: {error}; {summary.remedy}") from error

    def _engine_of(self, name: str) -> CompiledEngine | None:
        compiled = self.manifest.compiled
        return None if compiled is None else compiled.engines[name]

    def _options_for(self, name: str) -> EngineOptions:
        """Side by side only for the denoiser, whose windows do not wait for each other;
        and a cache folder of the network's own, since a library may know its entries by
        the graph's path alone."""
        lanes = self.options.lanes if name == "denoising_unet" else 1
        options = replace(self.options, lanes=lanes, compute=self._compute_of(name))
        if options.cache is None:
            return options
        digest = hashlib.sha256(self.identity(name).encode()).hexdigest()[:24]
        return replace(options, cache=options.cache / f"{name}-{digest}")

    def _compute_of(self, name: str) -> str:
        """What is asked for, else the bundle's own choice where the backend has it, else fp32.

        An engine's is fixed.
        """
        engine = self._engine_of(name)
        if engine is not None:
            return engine.compute
        if self.options.compute:
            return self.options.compute
        chosen = self.manifest.networks[name].compute
        return chosen if chosen in self._available_arithmetic else "fp32"

    @cached_property
    def _available_arithmetic(self) -> tuple[str, ...]:
        return list_arithmetic(self.backend)

    def _require_passed(self, network: Network, entry: NetworkEntry) -> None:
        try:
            result = run_self_test(network, entry, folder=self.folder, manifest=self.manifest)
            if not result.passed:
                remedy = "compute fp32" if "bf16" in result.precision else "another backend"
                remedy += ", or a bundle without int8" if result.precision == "int8" else ""
                raise BackendError(
                    f"{network.spec.name}: {result.precision} on this machine is wrong by "
                    f"{result.error:.2g} of the "
                    f"maximum (at most {result.tolerance:.2g} is allowed); use {remedy}"
                )
        except BaseException:
            network.close()
            raise
        # of nobody's asking
        network.calls = 0
        network.seconds = 0.0
