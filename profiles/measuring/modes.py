"""The two ways in which a clip is rendered while it is measured."""

from __future__ import annotations

IN_TURNS = "in turns"


OVERLAPPED = "overlapped"
"""Modes: in one thread, so that stages add up and calls leave each other alone; and as
``echoexport run`` renders."""
