"""One network compiled on the machine that runs it.

Taken from the cache or built, and proved before it is kept.
"""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from echoexport.export.compile.engine_cache import (
    ENGINE_SCHEMA,
    CachedEngine,
    EngineCache,
    EngineIdentity,
    EngineRecord,
)
from echoexport.export.engines import BuiltEngine, EngineSettings, load_builder
from echoexport.runtime.bundle.files import check_hash, describe_file
from echoexport.runtime.bundle.judging.network import judge_network
from echoexport.runtime.bundle.network import Network
from echoexport.runtime.bundle.self_test import SelfTestResult, run_self_test
from echoexport.runtime.contract.manifest import Manifest, NetworkEntry
from echoexport.runtime.contract.spec import find_tolerance
from echoexport.runtime.engine.load_limit import find_load_limit, limit_load
from echoexport.runtime.engine.protocol import Backend, EngineOptions
from echoexport.runtime.errors import (
    BackendError,
    DeviceError,
    MissingPackageError,
    OutputError,
)
from echoexport.runtime.progress import Tell


@dataclass(frozen=True)
class Place:
    """The machine's side of it.

    Backend, its fingerprint here, settings, and the cache, None for none.
    """

    backend: Backend
    fingerprint: dict[str, str]
    settings: EngineSettings
    cache: EngineCache | None
    blind: bool
    """Engines are built here that cannot run here, and so kept unproved."""
    warn: Tell


@dataclass(frozen=True)
class ReadyEngine:
    """An engine whose self-test passed, with its record; its files lie in ``folder``."""

    folder: Path
    record: EngineRecord
    cached: bool
    """It was there before."""


def identify(manifest: Manifest, name: str, place: Place, *, compute: str) -> EngineIdentity:
    """What a network's engine depends on here."""
    entry = manifest.networks[name]
    settings = place.settings
    return EngineIdentity(
        network=name,
        graph=manifest.files[entry.graph_for(place.backend.name)].sha256,
        weights=manifest.files[entry.weights].sha256,
        inputs=entry.inputs,
        outputs=entry.outputs,
        precision=entry.precision,
        compute=compute,
        backend=place.backend.name,
        fingerprint=place.fingerprint,
        settings=describe_settings(settings),
        revision=load_builder(place.backend.name).REVISION,
    )


def describe_settings(settings: EngineSettings) -> dict[str, Any]:
    """Those settings that an engine depends on."""
    return {name: getattr(settings, name) for name in ("workspace", "level", "best_of", "threads")}


@dataclass(frozen=True)
class NetworkJob:
    """One network of a portable bundle to be compiled; ``settings`` are its own."""

    bundle: Path
    manifest: Manifest
    identity: EngineIdentity
    place: Place
    settings: EngineSettings

    @property
    def name(self) -> str:
        """The network's."""
        return self.identity.network

    def find_or_build(
        self,
        spare: Path | None,
        tell: Tell,
        *,
        take: Callable[[ReadyEngine], None] = lambda engine: None,
    ) -> ReadyEngine:
        """The engine from the cache, else built and kept there.

        In ``spare`` where there is no cache to write to.

        ``spare`` None wants it in the cache. ``take`` gets it while no other process
        may drop it from there.

        Raises:
            BundleError: the graph, the weights or the self-test are not what the
                manifest says. BackendError: it does not build, does not open, or
                disagrees with its self-test; it is then nowhere. OutputError: no room
                to build it in.
        """
        cache = self.place.cache
        if cache is None:
            if spare is None:
                raise OutputError(f"{self.name}: there is no cache to keep its engine in")
            return self._build_spare(spare, tell, take)
        with cache.locked(self.identity.key, tell=tell) as alone:
            found = cache.find(self.identity.key)
            if found is not None and (ready := self._prove_again(cache, found, tell)) is not None:
                take(ready)
                return ready
            try:
                staging = cache.make_staging(self.identity.key, alone=alone)
            except OSError as error:
                if spare is None:
                    raise self._refuse_disk(cache.folder, error) from error
                self._warn_of_cache(cache.folder, error)
                return self._build_spare(spare, tell, take)
            ready = self._build_and_keep(cache, staging, tell)
            take(ready)
            return ready

    def _warn_of_cache(self, folder: Path, error: OSError) -> None:
        self.place.warn(
            f"the engine cache {folder} cannot be written ({error.strerror or error}): "
            f"{self.name} is compiled and not kept there"
        )

    def _build_and_keep(self, cache: EngineCache, staging: Path, tell: Tell) -> ReadyEngine:
        """Built aside in the cache, and put in its place there."""
        try:
            ready = self._build_in(staging, tell)
            kept = cache.keep(staging, ready.record)
        except OSError as error:
            raise self._refuse_disk(cache.folder, error) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return ReadyEngine(kept.folder, kept.record, cached=False)

    def _build_spare(
        self, spare: Path, tell: Tell, take: Callable[[ReadyEngine], None]
    ) -> ReadyEngine:
        ready = self._build_in(spare / self.name, tell)
        take(ready)
        return ready

    def _prove_again(
        self, cache: EngineCache, found: CachedEngine, tell: Tell
    ) -> ReadyEngine | None:
        """A cached engine, if it still passes its self-test; one that does not is dropped."""
        if self.place.blind:
            return ReadyEngine(found.folder, found.record, cached=True)
        tell("self-test of the cached engine")
        try:
            self._prove(found.folder / next(iter(found.record.files)))
        except BackendError as error:
            self.place.warn(f"{error}; the cached engine is removed, to be built anew")
            cache.remove(found.folder)
            return None
        return ReadyEngine(found.folder, found.record, cached=True)

    def _build_in(self, folder: Path, tell: Tell) -> ReadyEngine:
        """Of the backend's own graph where there is one and it works, else of the portable one."""
        entry = self.manifest.networks[self.name]
        own = entry.graph_for(self.place.backend.name)
        if own != entry.graph:
            try:
                return self._build_from(own, folder, tell)
            except (DeviceError, MissingPackageError):
                raise  # another graph would fare no better
            except BackendError as error:
                told = (
                    "compiled from its portable graph, which is slower: its graph for "
                    f"{self.place.backend.name}: {error}"
                )
                shutil.rmtree(folder, ignore_errors=True)
            ready = self._build_from(entry.graph, folder, tell)
            # It is kept under the own graph's key, where the next one to find it reads why.
            noted = replace(ready.record, notes=(*ready.record.notes, told))
            return replace(ready, record=noted)
        return self._build_from(entry.graph, folder, tell)

    def _build_from(self, graph: str, folder: Path, tell: Tell) -> ReadyEngine:
        entry = self.manifest.networks[self.name]
        for file in (graph, entry.weights):
            check_hash(self.bundle, file, manifest=self.manifest)
        judge_network(self.bundle, self.manifest, name=self.name, file=graph)
        output = folder / f"{self.name}{self.place.backend.engine_suffix}"
        builder = load_builder(self.place.backend.name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._limit_load(entry):
                built = builder.build_engine(
                    self.bundle / graph,
                    entry.describe(self.name),
                    output,
                    settings=self.settings,
                    report=tell,
                )
            if not output.is_file():
                raise BackendError(
                    f"{self.name}: the builder of backend {self.place.backend.name!r} wrote no "
                    "engine"
                )
            result = None
            if not self.place.blind:
                tell("self-test of the engine")
                result = self._prove(output)
            return ReadyEngine(folder, self._describe(folder, output, built, result), cached=False)
        except OSError as error:
            raise self._refuse_disk(folder.parent, error) from error

    def _limit_load(self, entry: NetworkEntry) -> AbstractContextManager[None]:
        """For libraries that build by loading; TensorRT's builders rightly take hours."""
        backend = self.place.backend
        weights = self.manifest.files[entry.weights].bytes
        seconds = find_load_limit(backend.longest_load, weights) if backend.opens_graphs else 0.0
        return limit_load(f"{self.bundle / entry.graph}", seconds)

    def _describe(
        self, folder: Path, output: Path, built: BuiltEngine, result: SelfTestResult | None
    ) -> EngineRecord:
        beside = sorted(path.name for path in folder.glob(f"{output.name}.*"))
        spec = self.manifest.networks[self.name].describe(self.name)
        precision = spec.computed_in(self.identity.compute) if result is None else result.precision
        return EngineRecord(
            schema=ENGINE_SCHEMA,
            key=self.identity.key,
            made_of=self.identity,
            files={name: describe_file(folder / name) for name in (output.name, *beside)},
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            seconds=round(built.seconds, 3),
            peak_bytes=built.peak_bytes,
            notes=built.notes,
            precision=precision,
            error=None if result is None else float(f"{result.error:.4g}"),
            tolerance=find_tolerance(spec.tolerances, precision),
        )

    def _prove(self, engine: Path) -> SelfTestResult:
        """Run the self-test on an engine.

        Raises:
            BackendError: it fails; names output, figure and tolerance.
        """
        entry = self.manifest.networks[self.name]
        spec = entry.describe(self.name)
        options = EngineOptions(compute=self.identity.compute, threads=self.settings.threads)
        network = Network(spec, self.place.backend.open_engine(engine, spec, options))
        try:
            result = run_self_test(network, entry, folder=self.bundle, manifest=self.manifest)
        finally:
            network.close()
        if not result.passed:
            raise BackendError(self._describe_failure(result, stored=entry.precision))
        return result

    def _describe_failure(self, result: SelfTestResult, *, stored: str) -> str:
        remedy = "--compute fp32" if "bf16" in result.precision else "another --backend"
        if stored != "fp32":
            remedy += ", or a bundle built with --precision fp32"
        return (
            f"{self.name}: output {result.output!r} of the {self.place.backend.name} engine "
            f"({result.precision}) is off by {result.error:.2g} of its maximum, "
            f"{result.tolerance:.2g} is allowed: not installed; try {remedy}"
        )

    def _refuse_disk(self, folder: Path, error: OSError) -> OutputError:
        return OutputError(
            f"{folder}: {self.name}'s engine cannot be written: {error.strerror or error}; "
            "make room and run it again, "
            "finished engines are kept"
        )
