"""Figures of a running server, for Prometheus to fetch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from echoexport.runtime.live.playing import measure_resident

_FIRST_FRAME_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 5.0)
_INTERVAL_BUCKETS = (0.02, 0.03, 0.036, 0.04, 0.044, 0.05, 0.06, 0.08, 0.12, 0.2, 0.5)
_CALL_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_LATE_BUCKETS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)


class ServeFigures:
    """Counts and gauges of one server, in a registry of its own; any thread may count."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram

        self._registry = CollectorRegistry()
        self._gauges: dict[str, Any] = {}
        own: dict[str, Any] = {"registry": self._registry, "namespace": "echoexport"}
        self._opened = Counter("sessions_opened", "Sessions that began.", **own)
        self._refused = Counter("sessions_refused", "Sessions that found no room.", **own)
        self._frames = Counter("frames", "Frames given.", **own)
        self._late = Histogram(
            "late_seconds", "By how much late frames were late.", buckets=_LATE_BUCKETS, **own
        )
        self._first = Histogram(
            "first_frame_seconds",
            "From the first sound of a turn to its first frame.",
            buckets=_FIRST_FRAME_BUCKETS,
            **own,
        )
        self._interval = Histogram(
            "frame_interval_seconds",
            "From one frame of a session to its next.",
            buckets=_INTERVAL_BUCKETS,
            **own,
        )
        self._calls = Histogram(
            "engine_call_seconds",
            "Calls of the engines, and how long each took.",
            ["network"],
            buckets=_CALL_BUCKETS,
            **own,
        )
        self._inference = Histogram(
            "inference_seconds",
            "Requests for single networks, how each ended and how long it took.",
            ["network", "outcome"],
            buckets=_CALL_BUCKETS,
            **own,
        )
        self._rungs = Counter("ladder_steps", "Ladder steps of sessions.", ["direction"], **own)
        for direction in ("down", "up"):
            self._rungs.labels(direction)  # there from the beginning, so that rates are right
        self._cut = Counter("viewers_cut", "Viewers that were too slow.", **own)
        self.watch("resident_bytes", "Memory of this process.", lambda: float(measure_resident()))

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A gauge that is read whenever somebody fetches; one of the same name gives way."""
        from prometheus_client import Gauge

        if name not in self._gauges:
            own: dict[str, Any] = {"registry": self._registry, "namespace": "echoexport"}
            self._gauges[name] = Gauge(name, text, **own)
        self._gauges[name].set_function(read)

    def count_session(self) -> None:
        """One began."""
        self._opened.inc()

    def count_refused(self) -> None:
        """One found no room."""
        self._refused.inc()

    def count_frame(self, *, late: float) -> None:
        """One was given, so many seconds late."""
        self._frames.inc()
        if late > 0:
            self._late.observe(late)

    def count_interval(self, seconds: float) -> None:
        """A session's next frame came so long after the one before."""
        self._interval.observe(seconds)

    def count_call(self, network: str, seconds: float) -> None:
        """An engine was called, and took so long."""
        self._calls.labels(network).observe(seconds)

    def count_inference(self, network: str, outcome: str, seconds: float) -> None:
        """A request for a network is over; both names are out of a few."""
        self._inference.labels(network, outcome).observe(seconds)

    def count_rung(self, *, down: bool) -> None:
        """A session does with less from now on, or takes it up again."""
        self._rungs.labels("down" if down else "up").inc()

    def count_first_frame(self, seconds: float) -> None:
        """A turn began to be shown so long after its first sound."""
        self._first.observe(seconds)

    def count_cut(self, viewers: int) -> None:
        """So many were too slow."""
        self._cut.inc(viewers)

    def write(self) -> bytes:
        """All of it as Prometheus reads it."""
        from prometheus_client import generate_latest

        written: bytes = generate_latest(self._registry)
        return written
