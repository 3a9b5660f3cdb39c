"""Imports the ``openvino`` package, with its bridge to numpy.

Without what it sends home, and without its converter until somebody asks for it.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

__all__ = ["load_openvino"]

_TELEMETRY = "openvino_telemetry"
_CONVERTER = "openvino.tools.ovc"
_CONVERT = "convert_model"

_FIRST_USE = threading.Lock()


def load_openvino() -> Any:
    """The ``openvino`` package, its bridge to numpy set up.

    Its first use sets the bridge up, and whoever comes second waits with Python's lock
    in hand, which the first needs to be done: two threads that come to it at once hang
    for ever (2026.4). So it is used here, by one alone.

    From its import on the package sends usage data to Google Analytics, keeps a client
    number in ``~/intel``, and forks to do so. Imported here, it finds its telemetry
    not installed; where somebody else imported it before, that was theirs to decide.
    It also brings in its converter of models, a third of the import, which nothing here
    uses: ``openvino.convert_model`` is there as ever, and imports it when it is read.

    Raises:
        ImportError: the package is not installed.
    """
    with _FIRST_USE:
        if "openvino" in sys.modules:
            import openvino
        else:
            with _absent(_TELEMETRY), _absent(_CONVERTER):
                import openvino
            _offer_converter(openvino)
        from openvino import opset8

        opset8.constant(np.zeros(1, np.float32)).data  # noqa: B018 - read, and so set up
        return openvino


@contextmanager
def _absent(name: str) -> Iterator[None]:
    """Let an import find no such module.

    Meanwhile only: afterwards it may be imported by whoever wants it.
    """
    found = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]  # how Python marks a module absent
    try:
        yield
    finally:
        if found is None:
            del sys.modules[name]
        else:
            sys.modules[name] = found


def _offer_converter(openvino: Any) -> None:
    """Give the package the function that it is without, imported when it is first read."""

    def find(name: str) -> Any:
        if name != _CONVERT:
            raise AttributeError(f"module {openvino.__name__!r} has no attribute {name!r}")
        with _absent(_TELEMETRY):
            converter = importlib.import_module(_CONVERTER)
        openvino.convert_model = converter.convert_model
        return openvino.convert_model

    if not hasattr(openvino, _CONVERT):
        openvino.__getattr__ = find
