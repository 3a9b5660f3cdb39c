"""A tracer that keeps nothing and tells of each engine call as it ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from echoexport.runtime.trace.tracer import NULL, Tracer

_ENGINE = "engine"


class CallTracer(Tracer):
    """For who counts calls for months: what is told is a network's name and seconds."""

    enabled = False

    def __init__(self, tell: Callable[[str, float], None]) -> None:
        super().__init__()
        self._tell = tell

    def span(self, name: str, category: str, **arguments: Any) -> AbstractContextManager[None]:
        """See :meth:`Tracer.span`; only engine calls are timed."""
        if category == _ENGINE:
            return super().span(name, category, **arguments)
        return NULL.span(name, category)

    def record(
        self,
        name: str,
        category: str,
        *,
        start: float,
        end: float,
        track: str | None = None,
        clock: str = "host",
        **arguments: Any,
    ) -> None:
        """See :meth:`Tracer.record`; a device's own times are left out."""
        if category == _ENGINE and clock == "host":
            self._tell(arguments.get("network", name), end - start)

    def name_track(self, name: str) -> None:
        """Nothing is kept of threads either."""
