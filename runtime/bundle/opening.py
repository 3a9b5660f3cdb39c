"""How one network of a bundle is opened: files checked, graph and options chosen, proved."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from echoexport.runtime.bundle.choice import choose_arithmetic, describe_missing_arithmetic
from echoexport.runtime.bundle.files import hold_file
from echoexport.runtime.bundle.judging.judge import JUDGEMENT
from echoexport.runtime.bundle.judging.network import judge_network
from echoexport.runtime.bundle.network import Network
from echoexport.runtime.bundle.self_test import SelfTestResult, run_self_test
from echoexport.runtime.contract.compiled import CompiledEngine
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.contract.spec import PRECISIONS, SubnetSpec
from echoexport.runtime.engine.load_limit import find_load_limit, limit_load
from echoexport.runtime.engine.network_files import NetworkFiles
from echoexport.runtime.engine.protocol import Backend, Engine, EngineOptions
from echoexport.runtime.errors import BackendError, BundleError, DeviceError, UnknownNameError
from echoexport.runtime.files.held_file import HeldFile
from echoexport.runtime.trace.tracer import Tracer

_TRIES = 2
_GRAPH = ".onnx"


class NetworkOpener:
    """Opens the networks of one bundle on one backend, and says what each is opened from.

    Nothing is kept but which own graphs did not work here; several threads may open
    different networks at once.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, *, backend: Backend, options: EngineOptions
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.backend = backend
        self.options = options
        # Networks whose own graph for this backend did not work here.
        self._refused: set[str] = set()

    def open(self, name: str, tracer: Tracer, *, waiting: int = 1) -> Network:
        """A network as the bundle runs it; ``tracer`` is told how long that took.

        ``waiting``: calls of it that will wait for each other at once.

        Raises:
            UnknownNameError: no such network.
            BundleError: its files are not what the manifest says, or its graph is none
                that a build writes.
            BackendError: it does not open, or computes in bf16 or int8 and fails its
                self-test.
        """
        self.require_network(name)
        options = replace(self._options_for(name), waiting=waiting)
        with tracer.span("open", "stage", network=name):
            network = self._open_proved(name, options)
        if options.cache is not None:
            # No such folder: nothing was kept. "cache prune" goes by its time.
            with suppress(OSError):
                os.utime(options.cache)
        return network

    def open_profiled(self, name: str) -> Network:
        """A network on an engine of its own that also times its layers.

        Raises:
            As :meth:`open` does.
        """
        self.require_network(name)
        options = self._options_for(name)
        return self._open_proved(name, replace(options, lanes=1, cache=None, profile=True))

    def open_lanes(self, name: str, lanes: int) -> Network:
        """A network on an engine of its own that so many threads may call at once.

        Raises:
            As :meth:`open` does.
        """
        self.require_network(name)
        return self._open_proved(name, replace(self._options_for(name), lanes=lanes))

    def require_network(self, name: str) -> None:
        """Raise ``UnknownNameError`` where the bundle has no such network."""
        if name not in self.manifest.networks:
            raise UnknownNameError("network", name, known=self.manifest.networks)

    def files_of(self, name: str) -> tuple[str, ...]:
        """The files that a network is opened from: graph and weights, or its engine's."""
        engine = self._engine_of(name)
        if engine is not None:
            return engine.files
        return (self.graph_of(name), self.manifest.networks[name].weights)

    def graph_of(self, name: str) -> str:
        """The file of a network's graph.

        It is in the backend's own operators where the bundle has such and they work.
        """
        entry = self.manifest.networks[name]
        if name in self._refused:
            return entry.graph
        return entry.graph_for(self.backend.name)

    def measure_weights(self, *names: str) -> int:
        """Bytes of these networks' weights, or of their compiled engines, which hold them.

        A file that some share counts once.
        """
        files = set[str]()
        for name in names:
            engine = self._engine_of(name)
            files.update(
                (self.manifest.networks[name].weights,) if engine is None else engine.files
            )
        return sum(self.manifest.files[file].bytes for file in files)

    def identity(self, *names: str) -> str:
        """What these networks' results depend on: their files, the backend, its arithmetic."""
        hashes = [
            self.manifest.files[file].sha256 for name in names for file in self.files_of(name)
        ]
        computes = sorted({self._compute_of(name) for name in names})
        return "/".join([*hashes, self.backend.describe(), *computes])

    def arithmetic(self) -> dict[str, str]:
        """What each network computes in here.

        It is "fp32", "fp16", "bf16", "int8" or "int8+bf16".
        """
        return {
            name: entry.describe(name).computed_in(self._compute_of(name))
            for name, entry in self.manifest.networks.items()
        }

    def missing_arithmetic(self) -> str | None:
        """One line where the bundle's own arithmetic does not work here and fp32 stands in."""
        if self.options.compute or self.manifest.compiled is not None:
            return None
        return describe_missing_arithmetic(
            self.manifest, self.backend, available=self._available_arithmetic
        )

    def prove(self, network: Network) -> SelfTestResult:
        """Run a network on the arrays that travel with it.

        Raises:
            BundleError: the arrays are not what the manifest says, or not those of this
                network.
            BackendError: it does not run.
        """
        entry = self.manifest.networks[network.spec.name]
        return run_self_test(network, entry, folder=self.folder, manifest=self.manifest)

    def _open_proved(self, name: str, options: EngineOptions) -> Network:
        entry = self.manifest.networks[name]
        compiled = self._engine_of(name)
        spec = entry.describe(name)
        notes = list[str]()
        if compiled is None and self.graph_of(name) != entry.graph:
            try:
                return self._open_own(spec, options)
            except BackendError as error:
                # A library without these operators, or a GPU on which they are wrong.
                self._refused.add(name)
                notes.append(
                    f"{name}: runs in plain operators, which is slower: its graph for "
                    f"{self.backend.name}: {error}"
                )
        if compiled is None:
            network = self._open_graph(spec, options, notes=notes)
        else:
            network = self._open_compiled(spec, compiled, options)
        # Some fused bf16 attention kernels have been wrong, not merely coarse; int8 ones
        # saturate on some CPUs.
        if network.precision not in PRECISIONS or (compiled is not None and compiled.error is None):
            self._require_passed(network)
        return network

    def _open_own(self, spec: SubnetSpec, options: EngineOptions) -> Network:
        """In the backend's own operators, which only the network's self-test has checked."""
        network = self._open_graph(spec, options)
        self._require_passed(network)
        return network

    def _open_graph(
        self, spec: SubnetSpec, options: EngineOptions, *, notes: Sequence[str] = ()
    ) -> Network:
        def start(files: NetworkFiles) -> Engine:
            found = self._open_kept(files, spec, options)
            if found is not None:
                return found
            with self._limit_load(spec.name, files.path):
                return self.backend.open_held(files, spec, options)

        return self._open_held(spec, start, notes=notes)

    def _open_kept(
        self, files: NetworkFiles, spec: SubnetSpec, options: EngineOptions
    ) -> Engine | None:
        """What the backend keeps compiled of these files, else None and a judged graph.

        All files are proved to be the manifest's, the weights in a thread meanwhile. What
        is kept was compiled of a graph that was judged then: it is found by the files'
        hashes, see :meth:`_options_for`.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="echoexport-hash") as aside:
            proof = aside.submit(self._prove_files, files.beside)
            try:
                files.main.content()
                with self._limit_load(spec.name, files.path):
                    found = self.backend.open_kept(files, spec, options)
                if found is None:
                    self._judge(spec.name, files)
            except BaseException:
                for file in files.beside:
                    file.stop_reading()
                raise
        try:
            proof.result()
        except BaseException:
            if found is not None:
                found.close()
            raise
        return found

    def _prove_files(self, files: Sequence[HeldFile]) -> None:
        for file in files:
            if self.backend.in_memory:
                file.content()
            else:
                file.check()

    def _open_compiled(
        self, spec: SubnetSpec, compiled: CompiledEngine, options: EngineOptions
    ) -> Network:
        def start(files: NetworkFiles) -> Engine:
            for file in (files.main, *files.beside):
                file.content()
            self._judge(spec.name, files)
            try:
                with self._limit_load(spec.name, files.path):
                    return self.backend.open_held_engine(files, spec, options)
            except DeviceError as error:
                raise DeviceError(f"{spec.name}: {error}") from error
            except BackendError as error:
                remedy = self.manifest.compiled.remedy if self.manifest.compiled else ""
                raise BackendError(f"{spec.name}: {error}; {remedy}") from error

        return self._open_held(spec, start)

    def _open_held(
        self,
        spec: SubnetSpec,
        start: Callable[[NetworkFiles], Engine],
        *,
        notes: Sequence[str] = (),
    ) -> Network:
        """A network from files that did not change from the first look to the last.

        A second try is for what changes no byte, such as a link that another process
        makes to a file.
        """
        changed = None
        for _ in range(_TRIES):
            with self._hold(spec.name) as files:
                try:
                    engine = start(files)
                except BackendError:
                    changed = files.find_changed()
                    if changed is None:
                        raise
                    continue
                changed = files.find_changed()
                if changed is None:
                    return Network(spec, engine, notes=notes, files=files)
                engine.close()
        raise BundleError(
            f"{changed}: changed while it was opened; leave the bundle alone while it runs, or "
            "build or copy it again"
        )

    def _hold(self, name: str) -> NetworkFiles:
        """The files of :meth:`files_of`, opened."""
        held = list[HeldFile]()
        try:
            for file in self.files_of(name):
                held.append(hold_file(self.folder, file, manifest=self.manifest))
        except BaseException:
            for one in held:
                one.close()
            raise
        return NetworkFiles(held)

    def _judge(self, name: str, files: NetworkFiles) -> None:
        """Judge the bytes that were hashed, unless they are an engine in a library's format."""
        if self.manifest.compiled is None or files.path.suffix == _GRAPH:
            file = files.path.relative_to(self.folder).as_posix()
            data = bytes(files.main.content())
            judge_network(self.folder, self.manifest, name=name, file=file, data=data)

    def _limit_load(self, name: str, path: Path) -> AbstractContextManager[None]:
        seconds = find_load_limit(self.backend.longest_load, self.measure_weights(name))
        return limit_load(f"{path}", seconds)

    def _require_passed(self, network: Network) -> None:
        """Raise ``BackendError`` and close the network where it fails its self-test."""
        try:
            result = self.prove(network.lend())
            if not result.passed:
                remedy = "compute fp32" if "bf16" in result.precision else "another backend"
                remedy += ", or a bundle without int8" if result.precision == "int8" else ""
                raise BackendError(
                    f"{network.spec.name}: {result.precision} on this machine is wrong by "
                    f"{result.error:.2g} of the maximum (at most {result.tolerance:.2g} is "
                    f"allowed); use {remedy}"
                )
        except BaseException:
            network.close()
            raise

    def _engine_of(self, name: str) -> CompiledEngine | None:
        compiled = self.manifest.compiled
        return None if compiled is None else compiled.engines[name]

    def _options_for(self, name: str) -> EngineOptions:
        """Lanes only for the denoiser, whose windows do not wait for each other.

        And a cache folder of the network's own: a library may know its entries by the
        graph's path alone. It is of this release's judgement too, for what is kept there
        is not judged again.
        """
        lanes = self.options.lanes if name == "denoising_unet" else 1
        options = replace(self.options, lanes=lanes, compute=self._compute_of(name))
        if options.cache is None:
            return options
        known_by = f"{self.identity(name)}/{JUDGEMENT}"
        digest = hashlib.sha256(known_by.encode()).hexdigest()[:24]
        return replace(options, cache=options.cache / f"{name}-{digest}")

    def _compute_of(self, name: str) -> str:
        """A compiled engine's is fixed; see :func:`choose_arithmetic` for a graph's."""
        engine = self._engine_of(name)
        if engine is not None:
            return engine.compute
        return choose_arithmetic(
            self.manifest.networks[name].compute,
            asked=self.options.compute,
            available=self._available_arithmetic,
        )

    @cached_property
    def _available_arithmetic(self) -> tuple[str, ...]:
        return self.backend.arithmetic()
