"""Whether a compiled bundle's engines are this machine's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from echoexport.runtime.backends import load_backend
from echoexport.runtime.contract.compiled import NO_VALUE, CompiledEngines
from echoexport.runtime.engine.protocol import Backend, EngineOptions
from echoexport.runtime.errors import BackendError, SettingError


def read_fingerprint(backend: Backend) -> dict[str, str]:
    """A backend's fingerprint of this machine.

    What depends on a network's own options is in its engine's key.
    """
    return dict(backend.fingerprint(EngineOptions()))


def compare_fingerprints(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """The differences, one phrase for each key; none where engines for one open on the other."""
    keys = [*wanted, *(key for key in found if key not in wanted)]
    return [
        f"{key} {wanted.get(key, NO_VALUE)!r} there, {found.get(key, NO_VALUE)!r} here"
        for key in keys
        if wanted.get(key) != found.get(key)
    ]


def require_fitting(
    folder: Path, compiled: CompiledEngines, *, backend: str | None, compute: str
) -> Backend:
    """The backend that opens these engines, if this machine is the one they were compiled for.

    ``backend`` and ``compute`` are what a user asked for, None and "" for nothing.

    Raises:
        BackendError: another backend was asked for, it does not work here, or its
            fingerprint is another. SettingError: the engines compute in something else.
    """
    _require_what_is_asked(folder, compiled, backend=backend, compute=compute)
    found = load_backend(compiled.backend)
    if not found.keeps_engines:
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


def _require_what_is_asked(
    folder: Path, compiled: CompiledEngines, *, backend: str | None, compute: str
) -> None:
    """Refuse a backend or an arithmetic that the engines do not have."""
    if backend not in (None, compiled.backend):
        raise BackendError(
            f"{folder}: compiled for backend {compiled.backend!r}; for {backend!r} open the "
            f"portable bundle {compiled.portable!r}"
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
