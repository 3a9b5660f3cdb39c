"""What a compiled bundle says of its engines, and whether they fit the machine at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echoexport.runtime.backends import CompilingBackend, EngineOptions, as_compiling, load_backend
from echoexport.runtime.errors import BackendError, SettingError

NO_VALUE = "nothing"


@dataclass(frozen=True)
class CompiledEngine:
    """One network's engine, *measured* on the machine that compiled it."""

    files: tuple[str, ...]
    """The engine, then what it reads beside itself."""
    key: str
    """Its name in the engine cache."""
    compute: str
    """As in ``EngineOptions``."""
    precision: str
    """What it computes in."""
    seconds: float
    peak_bytes: int | None
    """seconds and peak_bytes: of its build."""
    error: float | None
    """Of its self-test, relative to each output's largest value, and at most
    ``tolerance``; None where it could not run there."""
    tolerance: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class CompiledEngines:
    """The engines of a bundle: of which backend, for which machine, from which portable bundle."""

    backend: str
    portable: str
    """That bundle's folder name."""
    source: str
    """Sha256 of its manifest file."""
    fingerprint: Mapping[str, str]
    """The backend's, all of which must be the same where the engines are opened."""
    engines: Mapping[str, CompiledEngine]
    created: str
    tools: Mapping[str, str]
    settings: Mapping[str, Any]
    """How they were built."""

    @property
    def remedy(self) -> str:
        """What to do where the engines cannot be used."""
        return f"compile it again here: echoexport compile {self.portable}"


def read_fingerprint(backend: CompilingBackend) -> dict[str, str]:
    """A backend's fingerprint of this machine.

    What depends on a network's own options is in its engine's key.
    """
    return dict(backend.fingerprint(EngineOptions()))


def compare_fingerprints(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """The differences, one phrase for each key.

    Empty where engines for the one open on the other.
    """
    keys = [*wanted, *(key for key in found if key not in wanted)]
    return [
        f"{key} {wanted.get(key, NO_VALUE)!r} there, {found.get(key, NO_VALUE)!r} here"
        for key in keys
        if wanted.get(key) != found.get(key)
    ]


def require_fitting(
    folder: Path, compiled: CompiledEngines, *, backend: str | None, compute: str
) -> CompilingBackend:
    """The backend that opens these engines, if this machine is the one they were compiled for.

    ``backend`` and ``compute`` are what a user asked for, None and "" for nothing.

    Raises:
        BackendError: another backend was asked for, it does not work here, or its
            fingerprint is another. SettingError: the engines compute in something else.
    """
    if backend not in (None, compiled.backend):
        raise BackendError(
            f"{folder}: compiled for backend {compiled.backend!r}; for {backend!r} open the "
            "portable bundle "
            f"{compiled.portable!r}"
        )
    others = {
        name: engine.compute
        for name, engine in compiled.engines.items()
        if engine.compute != compute
    }
    if compute and others:
        name, own = next(iter(others.items()))
        raise SettingError(
            f"compute {compute!r}: {folder} is compiled with {name} in {own}: "
            f"echoexport compile {compiled.portable} --compute {compute}"
        )
    found = as_compiling(load_backend(compiled.backend))
    if found is None:
        raise BackendError(
            f"{folder}: backend {compiled.backend!r} of this release opens no compiled engines"
        )
    reason = found.unavailable()
    if reason is not None:
        raise BackendError(
            f"{folder}: its backend {compiled.backend!r} does not work here: {reason}"
        )
    differences = compare_fingerprints(compiled.fingerprint, read_fingerprint(found))
    if differences:
        raise BackendError(
            f"{folder}: engines of another machine or library: {'; '.join(differences)}; "
            f"{compiled.remedy}"
        )
    return found
