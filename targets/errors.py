"""The root of the error tree; the whole tree is drawn in ``echoexport.runtime.errors``.

It lives here because ``targets`` is the room that every other room may import.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EchoExportError(Exception):
    """Any failure that a user can act on: what failed, with which value, what would work."""


class UnknownNameError(EchoExportError):
    """A name that nothing answers to; the message lists the known names and the nearest one."""

    def __init__(self, kind: str, name: str, *, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"unknown {kind} {name!r}; known: {', '.join(names) or 'none'}.{hint}")
        self.name = name


class TargetError(EchoExportError):
    """A target file that cannot be used: an unknown key, a missing number, a wrong type."""
