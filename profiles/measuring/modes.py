"""The two ways in which a clip is rendered while it is measured."""

from __future__ import annotations

__all__ = ["IN_TURNS", "OVERLAPPED"]

IN_TURNS = "in turns"
"""In one thread, so that stages add up and calls leave each other alone."""

OVERLAPPED = "overlapped"
"""As ``echoexport run`` renders: one thread samples while frames are decoded."""
