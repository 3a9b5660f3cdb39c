"""Which backend runs a bundle here and what its networks compute in, with the reasons."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from echoexport.runtime.backends import load_backend
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.engine.protocol import Backend
from echoexport.runtime.errors import BackendError, UnknownNameError


def choose_backend(manifest: Manifest, wanted: str | None) -> Backend:
    """The backend that was asked for, else the first of the manifest's that works here.

    Raises:
        UnknownNameError: no such backend.
        BackendError: it, or each one that the manifest names, does not work here; says
            why.
    """
    if wanted is not None:
        backend = load_backend(wanted)
        reason = backend.unavailable()
        if reason is not None:
            raise BackendError(f"backend {wanted!r} does not work here: {reason}")
        return backend
    reasons = []
    for name in manifest.backends:
        reason = find_reason(name)
        if reason is None:
            return load_backend(name)
        reasons.append(reason)
    raise BackendError(
        f"no backend of this bundle works here: {'; '.join(reasons) or 'its manifest names none'}"
    )


def choose_arithmetic(own: str, *, asked: str, available: Collection[str]) -> str:
    """What a network computes in: what is asked for, else its own where it is to be had.

    ``own`` is what the bundle chose for it, ``asked`` is "" where nobody asks,
    ``available`` what the backend has on this machine. Else it is fp32, which every
    backend has.
    """
    if asked:
        return asked
    return own if own in available else "fp32"


def describe_missing_arithmetic(
    manifest: Manifest, backend: Backend, *, available: Collection[str]
) -> str | None:
    """One line where the bundle's own arithmetic is not to be had and fp32 takes its place."""
    wants = {
        name: entry.compute
        for name, entry in manifest.networks.items()
        if choose_arithmetic(entry.compute, asked="", available=available) != entry.compute
    }
    if not wants:
        return None
    return (
        f"the bundle chose {'/'.join(sorted(set(wants.values())))} for {', '.join(wants)}, which "
        f"backend {backend.name!r} does not have on this machine: computing in fp32, more slowly"
    )


def describe_backend_fallback(manifest: Manifest, backend: Backend) -> str | None:
    """One line where the CPU, or a slower library, stands in for a GPU backend named before.

    Says of each such backend why it does not work here; None where ``backend`` is the
    bundle's first, or none of those before it computes on a GPU.
    """
    if manifest.compiled is not None or backend.name not in manifest.backends:
        return None
    before = manifest.backends[: manifest.backends.index(backend.name)]
    reasons = list(_list_gpu_reasons(before))
    if not reasons:
        return None
    named = f"backend {backend.name!r}"
    place = named if backend.on_gpu else f"the CPU with {named}"
    return f"computing on {place}, more slowly than the bundle is made for ({'; '.join(reasons)})"


def find_portable(manifest: Manifest) -> str | None:
    """The bundle's first backend that works here and opens ONNX files, None for none."""
    for name in manifest.backends:
        if find_reason(name) is None and load_backend(name).opens_graphs:
            return name
    return None


def needs_compiling(name: str) -> bool:
    """Whether a backend runs compiled engines only; one of a later release does not say so."""
    try:
        return not load_backend(name).opens_graphs
    except UnknownNameError:
        return False


def find_reason(name: str) -> str | None:
    """Why a backend does not work here, led by its name; None where it does."""
    try:
        reason = load_backend(name).unavailable()
    except UnknownNameError as error:  # a later release's; the next one may do
        return str(error)
    return None if reason is None else f"{name}: {reason}"


def _list_gpu_reasons(names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        try:
            backend = load_backend(name)
        except UnknownNameError:
            continue
        if backend.on_gpu and (reason := backend.unavailable()):
            yield f"{name}: {reason}"
