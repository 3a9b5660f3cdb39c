"""How a comparison ends where a limit is broken."""

from __future__ import annotations

from collections.abc import Sequence

from echoexport.runtime.errors import LimitError

__all__ = ["require_held"]


def require_held(failures: Sequence[str]) -> None:
    """Raises LimitError: there is a broken limit; the first is named and the others counted."""
    if failures:
        more = len(failures) - 1
        raise LimitError(failures[0] + (f" (and {more} more)" if more else ""))
