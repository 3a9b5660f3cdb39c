"""Gives memory that a library freed back to the system, where it would else lie idle."""

from __future__ import annotations

import ctypes

__all__ = ["give_memory_back"]


def give_memory_back() -> None:
    """Ask the C library for it; nothing happens where that is not glibc.

    It keeps what thousands of small weights were copied through, and so raises the peak
    of whatever comes next.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
