"""Where a profile's repeats come from.

A source opens a bundle its own way and renders one round after another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol

from echoexport.profiles.measuring.modes import IN_TURNS, OVERLAPPED
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.rendering.clip import ClipRequest, make_clip
from echoexport.runtime.rendering.session import Session
from echoexport.runtime.trace.tracer import MAIN, NULL, Span, Tracer

__all__ = ["ClipSource", "ClipWork", "Round", "RoundSource", "find_frame_times"]

_WHAT = {
    IN_TURNS: "one thread does everything in turns",
    OVERLAPPED: "as echoexport run renders: a thread samples while frames are decoded and encoded",
}
_AHEAD = {IN_TURNS: 0, OVERLAPPED: 24}
_LANES = {IN_TURNS: 1, OVERLAPPED: 0}


@dataclass(frozen=True)
class Round:
    """One repeat."""

    frames: int
    fps: float
    begun: float
    """Its start, by the clock of its spans."""
    ended: float
    """Its end, by the same clock."""
    spans: tuple[Span, ...]
    warnings: tuple[str, ...] = ()
    dropped: int = 0
    """Spans that were too many."""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.begun


class RoundSource(Protocol):
    """A way to use a bundle again and again; its engines are open.

    Rendering files is one, a stream would be another.
    """

    name: str
    """Of the mode."""
    what: str
    """The mode in words."""
    bundle: Bundle
    load: Mapping[str, float]
    """Network to seconds that opening it took."""

    def warm_up(self) -> None:
        """A round that does not count."""

    def run(self) -> Round:
        """A round that does."""


@dataclass(frozen=True)
class ClipWork:
    """What is rendered: a clip, by a bundle on a backend."""

    bundle: Path
    backend: str | None
    options: EngineOptions
    clip: ClipRequest
    """Its ``output`` is replaced by files in ``scratch``."""
    scratch: Path
    now: Callable[[], float] = time.perf_counter
    """The clock, in seconds."""


class ClipSource:
    """Renders the same clip from files to a file.

    Nothing is cached from one round to the next but open engines.
    """

    bundle: Bundle

    def __init__(self, work: ClipWork, *, mode: str) -> None:
        self.name = mode
        self.what = _WHAT[mode]
        self.load: Mapping[str, float] = {}
        self._work = work
        self._count = 0

    def __enter__(self) -> ClipSource:
        """Open the bundle and every network. Raises what :func:`open_bundle` raises."""
        options = replace(self._work.options, lanes=_LANES[self.name], cache=None)
        self.bundle = open_bundle(self._work.bundle, backend=self._work.backend, options=options)
        try:
            self.load = {name: self._open(name) for name in self.bundle.manifest.networks}
        except BaseException:
            self.bundle.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bundle.close()

    def warm_up(self) -> None:
        """Render without a trace. Raises what :func:`make_clip` raises, as does :meth:`run`."""
        self._render(NULL)

    def run(self) -> Round:
        """Render once, traced."""
        return self._render(Tracer(now=self._work.now))

    def _open(self, name: str) -> float:
        begun = self._work.now()
        self.bundle.network(name)
        return self._work.now() - begun

    def _render(self, tracer: Tracer) -> Round:
        self._count += 1
        output = self._work.scratch / f"clip-{self._count}.mp4"
        request = replace(self._work.clip, output=str(output))
        with Session(self.bundle, ahead=_AHEAD[self.name], tracer=tracer) as session:
            begun = self._work.now()
            report = make_clip(session, request)
            ended = self._work.now()
        output.unlink(missing_ok=True)
        return Round(
            report.frames,
            report.fps,
            begun,
            ended,
            tracer.spans(),
            warnings=report.warnings,
            dropped=tracer.dropped,
        )


def find_frame_times(spans: tuple[Span, ...]) -> list[float]:
    """When each frame was in the output, by the spans' clock, in the order of frames."""
    ends = {
        int(span.arguments["frame"]): span.end
        for span in spans
        if span.category == "encode" and span.track == MAIN and "frame" in span.arguments
    }
    return [ends[frame] for frame in sorted(ends)]
