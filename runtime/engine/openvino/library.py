"""Imports the ``openvino`` package, without what it sends home and with its bridge to numpy."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

__all__ = ["load_openvino"]

_TELEMETRY = "openvino_telemetry"

_FIRST_USE = threading.Lock()


def load_openvino() -> Any:
    """The ``openvino`` package, its bridge to numpy set up.

    Its first use sets the bridge up, and whoever comes second waits with Python's lock
    in hand, which the first needs to be done: two threads that come to it at once hang
    for ever (2026.4). So it is used here, by one alone.

    From its import on the package sends usage data to Google Analytics, keeps a client
    number in ``~/intel``, and forks to do so. Imported here, it finds its telemetry
    not installed; where somebody else imported it before, that was theirs to decide.

    Raises:
        ImportError: the package is not installed.
    """
    with _FIRST_USE, _without_telemetry():
        import openvino
        from openvino import opset8

        opset8.constant(np.zeros(1, np.float32)).data  # noqa: B018 - read, and so set up
        return openvino


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Let an import find no telemetry: openvino then takes a stub of its own.

    Meanwhile only: afterwards the package may be imported by whoever wants it.
    """
    found = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # how Python marks a package absent
    try:
        yield
    finally:
        if found is None:
            del sys.modules[_TELEMETRY]
        else:
            sys.modules[_TELEMETRY] = found
