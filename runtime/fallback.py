"""What a bundle makes do with on this machine, in a line each, where it was made for better."""

from __future__ import annotations

from echoexport.runtime.backends import Backend, load_backend
from echoexport.runtime.errors import UnknownNameError
from echoexport.runtime.manifest import Manifest

ON_GPU = ("tensorrt", "tensorrt_rtx", "ort_tensorrt", "ort_cuda")
"""Backends that compute on a GPU."""


def describe_backend_fallback(manifest: Manifest, backend: Backend) -> str | None:
    """One line where the CPU, or a slower library, stands in for a GPU backend that the bundle names before.

    Says of each such backend why it does not work here; None where ``backend`` is the
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
