"""Rounds as one mode of a profile: their spans become stages, networks and frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from echoexport.profiles.measuring.rounds import Round, RoundSource, find_frame_times
from echoexport.profiles.measuring.sensor_log import SensorReport
from echoexport.profiles.modelling.demand import DENOISER
from echoexport.profiles.reports.profile import (
    ModeReport,
    NetworkTimes,
    StageShare,
    TimelineSpan,
    Timing,
    make_timing,
)
from echoexport.runtime.errors import BackendError
from echoexport.runtime.trace.stages import summarize_stages
from echoexport.runtime.trace.tracer import CLIP, MAIN, Span

__all__ = ["UNACCOUNTED", "describe_mode", "find_steady"]

UNACCOUNTED = "unaccounted"
"""The stage of what no span accounts for."""

_SHOWN = 1.0  # seconds of time line
_MOST_SPANS = 600
_STEADY = 0.05
_LEAST = 1e-9  # seconds a frame, for clocks that are too coarse to divide by


def describe_mode(
    source: RoundSource,
    rounds: Sequence[Round],
    *,
    window: int,
    calls: float,
    sensors: SensorReport,
) -> ModeReport:
    """What the rounds of one source add up to.

    ``window`` is how many frames the bundle samples together; ``calls`` is how often
    the denoiser runs for one frame of a long clip.

    Raises:
        BackendError: a round without a frame.
    """
    times = [find_frame_times(one.spans) for one in rounds]
    wall = make_timing(tuple((one.seconds,) for one in rounds))
    first = make_timing(
        tuple(
            (moments[0] - one.begun,) for one, moments in zip(rounds, times, strict=True) if moments
        )
    )
    if wall is None or first is None:
        raise BackendError(f"{source.name}: no frame was written; nothing to profile")
    frames = rounds[0].frames
    fps = rounds[0].fps
    seconds = max(wall.figures.p50, _LEAST)
    steady, reason = find_steady(rounds, window=window, calls=calls)
    return ModeReport(
        name=source.name,
        what=source.what,
        frames=frames,
        fps=frames / seconds,
        real_time_factor=seconds * fps / frames,
        wall=wall,
        first_frame=first,
        intervals=make_timing(tuple(_list_gaps(moments) for moments in times)),
        steady=steady,
        steady_reason=reason,
        stages=_list_stages(rounds, wall=seconds),
        networks=_list_networks(rounds),
        load=dict(source.load),
        drift=None,
        sensors=sensors,
        timeline=_show_second(rounds[-1], times[-1]),
        dropped_spans=sum(one.dropped for one in rounds),
    )


def find_steady(rounds: Sequence[Round], *, window: int, calls: float) -> tuple[Timing | None, str]:
    """Seconds a frame of a clip under way, one sample a round.

    There is none, but a reason, for a clip that is too short. Frames come in bursts:
    the first of them need windows far ahead, the last none. What counts is the longest
    stretch of frames, of two windows and a third of the clip at least, during which the
    denoiser was called as often as so many frames need in the long run (``calls`` for
    one, within 5 %), so that its work is neither borrowed nor left over.
    """
    samples = []
    for one in rounds:
        moments = np.asarray(find_frame_times(one.spans))
        ended = np.sort(
            [span.end for span in one.spans if span.category == "engine" and span.name == DENOISER]
        )
        stretch = _find_stretch(
            np.searchsorted(ended, moments), calls=calls, least=max(2 * window, len(moments) // 3)
        )
        if stretch is None:
            return None, "the clip is too short to tell: give a longer --duration"
        first, last = stretch
        samples.append((max(float(moments[last] - moments[first]) / (last - first), _LEAST),))
    return make_timing(tuple(samples)), ""


def _find_stretch(done: NDArray[np.intp], *, calls: float, least: int) -> tuple[int, int] | None:
    """The longest stretch between two frames of which each brought its share of ``done`` calls."""
    count = len(done)
    for length in range(count - 1, least - 1, -1):
        made = (done[length:] - done[:-length]) / (length * calls)
        fitting = np.flatnonzero(np.abs(made - 1) <= _STEADY)
        if len(fitting):
            first = int(fitting[np.argmin(np.abs(made[fitting] - 1))])
            return first, first + length
    return None


def _list_gaps(moments: Sequence[float]) -> tuple[float, ...]:
    return tuple(after - before for before, after in pairwise(moments))


def _list_stages(rounds: Sequence[Round], *, wall: float) -> tuple[StageShare, ...]:
    """Stages of each track, in the order of their beginnings.

    A track's last stage is what none of its others holds.
    """
    found: dict[tuple[str, str], list[float]] = {}
    for index, one in enumerate(rounds):
        for track in _list_tracks(one.spans):
            times = summarize_stages(one.spans, track=track)
            # the thread's own time between its spans, and on the main track what comes
            # before and after them
            missing = (
                one.seconds - sum(times.stages.values()) if track == MAIN else times.unaccounted
            )
            for name, seconds in {**times.stages, UNACCOUNTED: missing}.items():
                values = found.setdefault((track, name), [0.0] * len(rounds))
                values[index] = max(seconds, 0.0)
    stages = []
    for (track, name), values in found.items():
        timing = make_timing(tuple((value,) for value in values))
        if timing is not None and (name == UNACCOUNTED or timing.figures.max > 0):
            stages.append(StageShare(name, track, timing, timing.figures.p50 / wall))
    return tuple(
        sorted(
            stages, key=lambda stage: (stage.track != MAIN, stage.track, stage.name == UNACCOUNTED)
        )
    )


def _list_tracks(spans: Iterable[Span]) -> list[str]:
    """Tracks that do work on the host's clock, as against engines on a device."""
    return list(dict.fromkeys(span.track for span in spans if span.clock == "host"))


def _list_networks(rounds: Sequence[Round]) -> tuple[NetworkTimes, ...]:
    """In the order of their first calls."""
    names = dict.fromkeys(
        str(span.arguments.get("network", span.name))
        for one in rounds
        for span in one.spans
        if span.category == "engine"
    )
    found = []
    for name in names:
        host = tuple(_list_calls(one.spans, name, clock="host") for one in rounds)
        timing = make_timing(host)
        if timing is not None:
            device = make_timing(
                tuple(_list_calls(one.spans, name, clock="device") for one in rounds)
            )
            found.append(NetworkTimes(name, len(host[0]), timing, device))
    return tuple(found)


def _list_calls(spans: Iterable[Span], name: str, *, clock: str) -> tuple[float, ...]:
    return tuple(
        span.seconds
        for span in spans
        if span.category == "engine"
        and span.clock == clock
        and span.arguments.get("network", span.name) == name
    )


def _show_second(one: Round, moments: Sequence[float]) -> tuple[TimelineSpan, ...]:
    """What ran in the second that begins with a frame and in which most began.

    The longest spans are shown where there are too many.
    """
    starts = np.sort([span.start for span in one.spans])
    begins = np.asarray(moments or [one.begun])
    counts = np.searchsorted(starts, begins + _SHOWN) - np.searchsorted(starts, begins)
    begun = float(begins[int(np.argmax(counts))])
    found = []
    for span in one.spans:
        start = max(span.start, begun)
        end = min(span.end, begun + _SHOWN)
        if start < end and span.name != CLIP:
            found.append(
                TimelineSpan(
                    span.name, span.category, span.track, span.clock, start - begun, end - start
                )
            )
    longest = sorted(found, key=lambda span: -span.seconds)[:_MOST_SPANS]
    return tuple(sorted(longest, key=lambda span: (span.start, -span.seconds)))
