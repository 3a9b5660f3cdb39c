"""How work that takes long tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "Tell"]

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many of its steps are behind, and how many there are in all.

The last is 0 where nobody can know it before the end.
"""

Tell = Callable[[str], None]
"""Told one line at a time: a warning, or what is being done just now."""
