"""How long each stage of a rendering took, from its spans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from echoexport.runtime.trace.tracer import CLIP, INHERITING, MAIN, Span, nest_spans


@dataclass(frozen=True)
class StageTimes:
    """Where one track's time went, in seconds.

    Stages, and what none of them accounts for, add up to ``wall``.
    """

    stages: Mapping[str, float]
    """In the order of their beginnings."""
    unaccounted: float
    """Between the spans, and within a clip's own."""
    wall: float


def summarize_stages(spans: Iterable[Span], *, track: str = MAIN) -> StageTimes:
    """What each stage took on one track, by the host's clock, each moment counted once.

    A moment belongs to the innermost span around it. The stage of a span is its
    category, or its name where that is "stage"; an engine call or a copy belongs to the
    stage that asked for it ("engine" and "copy" where none did). ``wall`` is from the
    first start to the last end on the track.
    """
    own = [span for span in spans if span.track == track and span.clock == "host"]
    if not own:
        return StageTimes({}, 0.0, 0.0)
    stages: dict[str, float] = {}
    stage_of: dict[int, str] = {}
    for index, parent in nest_spans(own):
        span = own[index]
        inherits = span.category in INHERITING and parent is not None
        name = stage_of[parent] if inherits and parent is not None else _name_stage(span)
        stage_of[index] = name
        stages[name] = stages.get(name, 0.0) + span.seconds
        if parent is not None:
            stages[stage_of[parent]] -= span.seconds
    stages.pop(CLIP, None)
    wall = max(span.end for span in own) - min(span.start for span in own)
    return StageTimes(stages, unaccounted=wall - sum(stages.values()), wall=wall)


def _name_stage(span: Span) -> str:
    return span.name if span.category == "stage" else span.category
