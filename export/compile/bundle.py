"""Compiling: a portable bundle in, a bundle of engines for this machine out, network by network."""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib.metadata
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from echoexport.export.compile.engine_cache import EngineCache
from echoexport.export.compile.folder import is_worth_keeping, previous_of, require_replaceable
from echoexport.export.compile.network import (
    NetworkJob,
    Place,
    ReadyEngine,
    describe_settings,
    identify,
)
from echoexport.export.engines import EngineSettings, list_builders, load_builder
from echoexport.export.output_folder import written_aside
from echoexport.runtime.backends import load_backend
from echoexport.runtime.bundle.choice import choose_arithmetic
from echoexport.runtime.bundle.files import bring_file, check_file, check_hash, describe_file
from echoexport.runtime.bundle.fitting import read_fingerprint
from echoexport.runtime.bundle.signing import sign_bundle
from echoexport.runtime.contract.compiled import (
    SOURCE_MANIFEST,
    SOURCE_SIGNATURES,
    CompiledEngine,
    CompiledEngines,
)
from echoexport.runtime.contract.manifest import (
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    read_manifest,
    write_manifest,
)
from echoexport.runtime.contract.signing.keys import SigningKey
from echoexport.runtime.contract.signing.signatures import SIGNATURES_NAME
from echoexport.runtime.contract.signing.trust import find_trust
from echoexport.runtime.engine.protocol import Backend
from echoexport.runtime.errors import (
    BackendError,
    GraphError,
    MissingPackageError,
    SettingError,
    UnknownNameError,
)
from echoexport.runtime.files.aside import mend_place
from echoexport.runtime.progress import Progress, Tell


@dataclass(frozen=True)
class CompileSettings:
    """backend: "" is the bundle's first whose engines can be kept.

    Compute: "" is the bundle's own for each network.

    networks: compile these alone, into the cache. cache: the folder of finished
    engines, None for none. untested: keep engines that this machine can build and not
    run; they are proved where they are first opened. key: signs the compiled bundle
    before it is put in place.
    """

    backend: str = ""
    compute: str = ""
    engine: EngineSettings = field(default_factory=EngineSettings)
    networks: tuple[str, ...] = ()
    cache: Path | None = None
    untested: bool = False
    key: SigningKey | None = None


@dataclass(frozen=True)
class CompileReport:
    """What came of it."""

    output: Path | None
    """The compiled bundle, None where networks are still missing."""
    manifest: Manifest
    engines: dict[str, ReadyEngine]
    missing: tuple[str, ...]


def default_output(bundle: Path, backend: str) -> Path:
    """``BUNDLE.compiled-BACKEND`` beside the bundle."""
    real = Path(os.path.realpath(bundle))
    return real.with_name(f"{real.name}.compiled-{backend}")


def choose_compiling_backend(manifest: Manifest, wanted: str, *, untested: bool) -> Backend:
    """The backend to compile for.

    The one asked for, else the bundle's first whose engines can be kept.

    Raises:
        UnknownNameError: its engines cannot be kept.
        BackendError: it does not work here.
    """
    known = list_builders()
    name = wanted or next((each for each in manifest.backends if each in known), "")
    if not name:
        raise BackendError(
            f"none of the bundle's backends ({', '.join(manifest.backends)}) has engines to keep; "
            f"--backend names one of {', '.join(known)}"
        )
    if name not in known:
        raise UnknownNameError("backend with engines to keep", name, known=known)
    backend = load_backend(name)
    if not backend.keeps_engines:
        raise BackendError(f"backend {name!r} of this release opens no compiled engines")
    reason = backend.unavailable()
    if reason is not None and not untested:
        others = [each for each in manifest.backends if each in known and each != name]
        hint = f"; --backend {others[0]} may do" if others else ""
        raise BackendError(f"backend {name!r} does not work here: {reason}{hint}")
    return backend


def compile_bundle(
    bundle: Path, output: Path | None, *, settings: CompileSettings, report: Progress, warn: Tell
) -> CompileReport:
    """Compile every network of a portable bundle, prove each engine, and write the compiled bundle.

    ``output`` None is :func:`default_output`. A compiled bundle there is replaced at
    the end and kept beside it as the last good one. Interrupted, finished engines are
    in the cache, and the next run goes on from there.

    Raises:
        BundleError: the bundle is not what its manifest says. SettingError: it is
            compiled already, or a setting cannot work. BackendError: networks do not
            build or fail their self-tests; says which. The others' engines are kept.
            OutputError: the output cannot be written or must not be replaced.
    """
    manifest = _read_portable(bundle)
    if settings.key is not None or find_trust() is not None:
        # whoever can write into the cache could put an engine there, to be signed here
        settings = replace(settings, cache=None)
    _check_names(settings, manifest)
    backend = choose_compiling_backend(manifest, settings.backend, untested=settings.untested)
    load_builder(backend.name)
    target = (
        default_output(bundle, backend.name) if output is None else Path(os.path.realpath(output))
    )
    mend_place(target, keep=previous_of(target))
    require_replaceable(target, bundle)
    place = _settle_place(backend, settings, warn)
    jobs = {
        name: _plan(bundle, manifest, name, place=place, compute=settings.compute)
        for name in manifest.networks
    }
    if settings.networks:
        engines, missing = _compile_some(jobs, settings.networks, place, report)
        if missing:
            return CompileReport(None, manifest, engines, missing)
    with (
        _alone(place, target, report),
        written_aside(target, keep=_find_keep(target, jobs)) as folder,
    ):
        spare = folder / ".spare"
        take = functools.partial(_install, folder=folder)
        engines = _compile_each(jobs, spare, report=report, cache=place.cache, take=take)
        shutil.rmtree(spare, ignore_errors=True)
        compiled = _describe(bundle, manifest, engines, place=place, jobs=jobs)
        _write_bundle(bundle, compiled, folder, engines=engines)
        if settings.key is not None:
            sign_bundle(folder, settings.key)
        report("compiled bundle: written", len(jobs), len(jobs))
    return CompileReport(target, compiled, engines, ())


def _read_portable(bundle: Path) -> Manifest:
    """The manifest of a portable bundle whose files are all there."""
    manifest = read_manifest(bundle)
    if manifest.compiled is not None:
        raise SettingError(
            f"{bundle}: compiled already; name the portable bundle {manifest.compiled.portable!r}"
        )
    for name in manifest.files:
        check_file(bundle, name, manifest=manifest)
    return manifest


def _check_names(settings: CompileSettings, manifest: Manifest) -> None:
    for name in settings.networks:
        if name not in manifest.networks:
            raise UnknownNameError("network", name, known=manifest.networks)
    if settings.networks and settings.cache is None:
        raise SettingError(
            "--network keeps single engines in the cache, and there is none; leave --no-cache out, "
            "or --network where signatures are required"
        )


def _settle_place(backend: Backend, settings: CompileSettings, warn: Tell) -> Place:
    if settings.compute and settings.compute not in backend.arithmetic():
        raise SettingError(
            f"compute {settings.compute!r}: backend {backend.name!r} has "
            f"{', '.join(backend.arithmetic())} here"
        )
    fingerprint = read_fingerprint(backend)
    cache = None if settings.cache is None else EngineCache(settings.cache, warn=warn)
    engine = settings.engine
    if cache is not None and engine.timing_cache is None:
        engine = replace(engine, timing_cache=cache.timing_file(backend.name, fingerprint))
    blind = settings.untested and backend.unavailable() is not None
    return Place(backend, fingerprint, engine, cache, blind, warn)


def _plan(bundle: Path, manifest: Manifest, name: str, *, place: Place, compute: str) -> NetworkJob:
    """As an opened bundle chooses its arithmetic.

    What is asked for, else the bundle's own where it is to be had.
    """
    own = manifest.networks[name].compute
    chosen = choose_arithmetic(own, asked=compute, available=place.backend.arithmetic())
    identity = identify(manifest, name, place, compute=chosen)
    return NetworkJob(bundle, manifest, identity, place, replace(place.settings, compute=chosen))


@contextmanager
def _alone(place: Place, target: Path, report: Progress) -> Iterator[None]:
    """Only one process at a time writes an output; the next one then finds every engine
    in the cache."""
    if place.cache is None:
        yield
        return
    digest = hashlib.sha256(os.fsencode(target)).hexdigest()[:24]
    tell = _teller(report, target.name, 0, 1)
    with place.cache.locked(f"output-{digest}", tell=tell):
        yield


def _find_keep(target: Path, jobs: dict[str, NetworkJob]) -> Path | None:
    """Where the compiled bundle goes that is replaced, None for nowhere."""
    keys = {name: job.identity.key for name, job in jobs.items()}
    return previous_of(target) if is_worth_keeping(target, keys) else None


def _compile_some(
    jobs: dict[str, NetworkJob], names: tuple[str, ...], place: Place, report: Progress
) -> tuple[dict[str, ReadyEngine], tuple[str, ...]]:
    """Compile these into the cache; which others are not there yet."""
    cache = place.cache
    if cache is None:
        raise SettingError("single networks are compiled into a cache, and there is none")
    engines = _compile_each({name: jobs[name] for name in names}, None, report=report, cache=cache)
    return engines, tuple(
        name for name in jobs if name not in names and cache.find(jobs[name].identity.key) is None
    )


def _compile_each(
    jobs: dict[str, NetworkJob],
    spare: Path | None,
    *,
    report: Progress,
    cache: EngineCache | None,
    take: Callable[[ReadyEngine], None] = lambda engine: None,
) -> dict[str, ReadyEngine]:
    """Every network's engine.

    One that fails costs itself alone where there is a cache: the others come first.
    """
    engines: dict[str, ReadyEngine] = {}
    failures: list[str] = []
    unwritten: OSError | None = None
    for done, (name, job) in enumerate(jobs.items()):
        tell = _teller(report, name, done, len(jobs))
        try:
            engines[name] = job.find_or_build(spare, tell, take=take)
        except MissingPackageError:
            raise
        except (BackendError, GraphError) as error:
            if cache is None:
                raise
            tell("failed, going on with the others")
            failures.append(str(error))
        except (
            OSError
        ) as error:  # where the bundle is written; the cache may have room for the others
            if cache is None:
                raise
            unwritten = unwritten or error
    if failures:
        kept = f" ({len(engines)} engines are done and kept: run it again)" if engines else ""
        raise BackendError("; ".join(failures) + kept)
    if unwritten is not None:
        raise unwritten
    return engines


def _teller(report: Progress, name: str, done: int, total: int) -> Tell:
    return lambda what: report(f"{name}: {what}", done, total)


def _install(engine: ReadyEngine, folder: Path) -> None:
    """The engine's files into the new bundle's folder.

    Second names where the file system has such, else copies.
    """
    for name in engine.record.files:
        bring_file(engine.folder / name, folder / "engines" / name)


def _describe(
    bundle: Path,
    manifest: Manifest,
    engines: dict[str, ReadyEngine],
    *,
    place: Place,
    jobs: dict[str, NetworkJob],
) -> Manifest:
    """The portable bundle's manifest with the engines in place of graphs and weights."""
    networks = manifest.networks.values()
    left_out = {file for entry in networks for file in entry.files if file != entry.self_test}
    files: dict[str, FileEntry] = {
        name: file for name, file in manifest.files.items() if name not in left_out
    }
    described = {}
    for name, engine in engines.items():
        files |= {f"engines/{file}": entry for file, entry in engine.record.files.items()}
        described[name] = _describe_engine(engine, compute=jobs[name].identity.compute)
    files |= {name: describe_file(bundle / own) for own, name in _list_carried(bundle)}
    compiled = CompiledEngines(
        backend=place.backend.name,
        portable=Path(os.path.realpath(bundle)).name,
        source=hashlib.sha256((bundle / MANIFEST_NAME).read_bytes()).hexdigest(),
        fingerprint=place.fingerprint,
        engines=described,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        tools={name: importlib.metadata.version(name) for name in ("echoexport", "numpy")},
        settings=describe_settings(place.settings),
    )
    return replace(manifest, files=files, compiled=compiled)


def _describe_engine(engine: ReadyEngine, *, compute: str) -> CompiledEngine:
    record = engine.record
    return CompiledEngine(
        files=tuple(f"engines/{file}" for file in record.files),
        key=record.key,
        compute=compute,
        precision=record.precision,
        seconds=record.seconds,
        peak_bytes=record.peak_bytes,
        error=record.error,
        tolerance=record.tolerance,
        notes=record.notes,
    )


def _write_bundle(
    bundle: Path, manifest: Manifest, folder: Path, *, engines: dict[str, ReadyEngine]
) -> None:
    built = {f"engines/{file}" for engine in engines.values() for file in engine.record.files}
    carried = _list_carried(bundle)
    built |= {name for _, name in carried}
    for name in manifest.files:
        if name not in built:
            check_hash(bundle, name, manifest=manifest)
            bring_file(bundle / name, folder / name)
    for own, name in carried:  # copies: the bundle may be signed anew
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(bundle / own, folder / name)
    write_manifest(manifest, folder)
    read_manifest(folder, to_run=False)  # it is not signed yet


def _list_carried(bundle: Path) -> list[tuple[str, str]]:
    """Of a signed bundle, the manifest and its signatures, and where they go; else nothing."""
    if not (bundle / SIGNATURES_NAME).is_file():
        return []
    return [(MANIFEST_NAME, SOURCE_MANIFEST), (SIGNATURES_NAME, SOURCE_SIGNATURES)]
