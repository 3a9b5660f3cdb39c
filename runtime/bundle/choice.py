"""What a bundle makes do with on this machine, in a line each, where it was made for better."""

from __future__ import annotations

from typing import TYPE_CHECKING

from echoexport.runtime.backends import load_backend
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.engine.protocol import (
    Backend,
)
from echoexport.runtime.errors import (
    BackendError,
    UnknownNameError,
)

if TYPE_CHECKING:
    from echoexport.runtime.contract.manifest import Manifest

ON_GPU = ("tensorrt", "tensorrt_rtx", "ort_tensorrt", "ort_cuda")
"""Backends that compute on a GPU."""


def describe_backend_fallback(manifest: Manifest, backend: Backend) -> str | None:
    """One line where the CPU, or a slower library, stands in for an earlier GPU backend.

    Earlier are those that the bundle names before ``backend``. The line says of each
    why it does not work here. It is None where ``backend`` is the
    bundle's first, or none of those before it computes on a GPU.
    """
    if manifest.compiled is not None or backend.name not in manifest.backends:
        return None
    before = manifest.backends[: manifest.backends.index(backend.name)]
    reasons = [
        f"{name}: {reason}" for name in before if name in ON_GPU and (reason := _find_reason(name))
    ]
    if not reasons:
        return None
    place = (
        f"backend {backend.name!r}"
        if backend.name in ON_GPU
        else f"the CPU with backend {backend.name!r}"
    )
    return f"computing on {place}, more slowly than the bundle is made for ({'; '.join(reasons)})"


def _find_reason(name: str) -> str | None:
    try:
        return load_backend(name).unavailable()
    except UnknownNameError as error:  # a later release's
        return str(error)


def _require_backend(name: str) -> Backend:
    backend = load_backend(name)
    reason = backend.unavailable()
    if reason is not None:
        raise BackendError(f"backend {name!r} does not work here: {reason}")
    return backend


def _choose_backend(manifest: Manifest) -> Backend:
    reasons = []
    for name in manifest.backends:
        try:
            backend = load_backend(name)
        except UnknownNameError as error:  # a later release's; the next one may do
            reasons.append(str(error))
            continue
        reason = backend.unavailable()
        if reason is None:
            return backend
        reasons.append(f"{name}: {reason}")
    raise BackendError(
        f"no backend of this bundle works here: {'; '.join(reasons) or 'its manifest names none'}"
    )


NEEDS_COMPILING = ("tensorrt", "tensorrt_rtx")
"""Backends that open no ONNX files."""


def find_portable(manifest: Manifest) -> str | None:
    """The bundle's first backend that works here and opens ONNX files; None where there is none."""
    from echoexport.runtime.backends import list_backends, load_backend

    names = (
        name
        for name in manifest.backends
        if name not in NEEDS_COMPILING and name in list_backends()
    )
    return next((name for name in names if load_backend(name).unavailable() is None), None)
