"""What a crowd saw of a server: its figures, written, read back, side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echoexport.profiles.reports.limits import Metric
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.errors import InputError
from echoexport.runtime.files.aside import write_whole
from echoexport.runtime.files.json_file import read_json
from echoexport.runtime.serve.load.crowd import CrowdLog

LOAD_KIND = "load"
LOAD_SCHEMA = 1
_LARGEST = 1 << 24  # bytes
_ENDS = 0.25  # of the time, whose medians are compared for drift


@dataclass(frozen=True)
class LoadReport:
    """*Measured* at the clients; times are wall clock on their machine."""

    kind: str
    """``LOAD_KIND``."""
    schema: int
    """``LOAD_SCHEMA`` of the release that wrote it."""
    url: str
    """Of the server."""
    seconds: float
    """For which all spoke at once."""
    streams: int
    """That were let in."""
    refused_at: int | None
    """The first session that the server refused; None where it refused none."""
    refused_because: str
    """Its words."""
    utterances: int
    """Whose first frame was seen."""
    first_frame_p50: float | None
    """Seconds from an utterance's first chunk to the fragment that shows its first frame."""
    first_frame_p95: float | None
    """Likewise."""
    first_frame_p99: float | None
    """Likewise."""
    frames: int
    """Of all streams."""
    late_frames: int
    """That the server gave too late, by its own account."""
    worst_late: float
    """Seconds of the latest of them."""
    av_offset: float | None
    """Seconds by which the sound's time stamps reach further than the picture's, the median."""
    av_offset_worst: float | None
    """The one that is furthest from zero."""
    av_drift: float | None
    """The median of the last quarter less that of the first, of the stream with the most."""
    fps: tuple[float, ...]
    """Of each stream."""
    errors: tuple[str, ...]
    """Why streams ended early, a line each."""


def describe_load(log: CrowdLog, *, url: str, seconds: float) -> LoadReport:
    """The figures of what a crowd saw."""
    firsts = [first for stream in log.streams for first in stream.first_frames]
    offsets = [offset for stream in log.streams for _, offset in stream.offsets]
    drifts = [_find_drift(stream.offsets) for stream in log.streams]
    return LoadReport(
        kind=LOAD_KIND,
        schema=LOAD_SCHEMA,
        url=url,
        seconds=seconds,
        streams=len(log.streams),
        refused_at=log.refused_at,
        refused_because=log.reason,
        utterances=len(firsts),
        first_frame_p50=_rank(firsts, 50),
        first_frame_p95=_rank(firsts, 95),
        first_frame_p99=_rank(firsts, 99),
        frames=sum(stream.frames for stream in log.streams),
        late_frames=sum(stream.late_frames for stream in log.streams),
        worst_late=max((stream.worst_late for stream in log.streams), default=0.0),
        av_offset=_rank(offsets, 50),
        av_offset_worst=max(offsets, key=abs, default=None),
        av_drift=max((drift for drift in drifts if drift is not None), key=abs, default=None),
        fps=tuple(
            round((stream.frames - 1) / stream.seconds, 3) if stream.seconds else 0.0
            for stream in log.streams
        ),
        errors=tuple(stream.error for stream in log.streams if stream.error),
    )


def write_load(path: Path, report: LoadReport) -> None:
    """As JSON, whole or not at all. Raises ``OutputError`` where it cannot be written."""
    write_whole(path, json.dumps(dump(report), indent=1) + "\n")


def is_load(path: Path) -> bool:
    """Whether a file says that it is such a report; anything else is none."""
    try:
        if path.stat().st_size > _LARGEST:
            return False
        data = read_json(path)
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(data, dict) and data.get("kind") == LOAD_KIND


def read_load(path: Path) -> LoadReport:
    """Read a report back, strictly.

    Raises:
        InputError: it is none, or of another release's schema.
    """
    if not is_load(path):
        raise InputError(f"{path}: no report of echoexport load; compare such with such")
    data = read_json(path)
    if data.get("schema") != LOAD_SCHEMA:
        raise InputError(
            f"{path}: load schema {data.get('schema')!r}; this release reads {LOAD_SCHEMA}: "
            "measure again"
        )
    try:
        return parse(LoadReport, data, where="load")
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def list_load_metrics(report: LoadReport) -> Mapping[str, Metric]:
    """What limits may be set on, by name."""
    return {metric.name: metric for metric in _list(report)}


def _list(report: LoadReport) -> Iterator[Metric]:
    yield Metric("streams", float(report.streams), "")
    if report.refused_at is not None:
        yield Metric("refused_at", float(report.refused_at), "")
    for name in ("p50", "p95", "p99"):
        seconds = getattr(report, f"first_frame_{name}")
        if seconds is not None:
            yield Metric(f"first_frame.{name}", seconds, "seconds")
    yield Metric("frames", float(report.frames), "")
    yield Metric("late_frames", float(report.late_frames), "")
    yield Metric("worst_late", report.worst_late, "seconds")
    for name in ("av_offset", "av_offset_worst", "av_drift"):
        seconds = getattr(report, name)
        if seconds is not None:
            yield Metric(name, seconds, "seconds")
    if report.fps:
        yield Metric("fps.least", min(report.fps), "fps")
        yield Metric("fps", float(np.mean(report.fps)), "fps")
    yield Metric("errors", float(len(report.errors)), "")


def _rank(values: Sequence[float], share: int) -> float | None:
    return float(np.percentile(values, share)) if values else None


def _find_drift(offsets: Sequence[tuple[float, float]]) -> float | None:
    if not offsets or not offsets[-1][0]:
        return None
    end = offsets[-1][0]
    first = [offset for when, offset in offsets if when <= end * _ENDS]
    last = [offset for when, offset in offsets if when >= end * (1 - _ENDS)]
    return float(np.median(last) - np.median(first))
