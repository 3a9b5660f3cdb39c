"""Engines: a backend is one file here with one class, and turns named arrays into named arrays."""

from __future__ import annotations

import importlib
from pathlib import Path

from echoexport.runtime.engine.protocol import Backend
from echoexport.runtime.errors import UnknownNameError


def list_backends() -> tuple[str, ...]:
    """The support list, which is this folder's listing."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")))


def load_backend(name: str) -> Backend:
    """The backend called ``name``; its library is not imported yet.

    Raises:
        UnknownNameError: no such backend.
    """
    if name not in list_backends():
        raise UnknownNameError("backend", name, known=list_backends())
    backend: Backend = importlib.import_module(f"{__name__}.{name}").BACKEND
    return backend
