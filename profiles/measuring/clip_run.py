"""One clip as it was rendered: how long each part took, and what the process needed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from echoexport.profiles.measuring.circumstances import Circumstances, describe_bundle_circumstances
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.schema import dump
from echoexport.runtime.files.aside import write_whole
from echoexport.runtime.rendering.clip import ClipReport
from echoexport.runtime.rendering.settings import RenderSettings, settle_sampling

CLIP_RUN_SCHEMA = 1


@dataclass(frozen=True)
class ClipRun:
    """A rendering with its process.

    Seconds are wall clock, memory is bytes; None is "not available on this system".
    """

    schema: int
    """``CLIP_RUN_SCHEMA`` of the release that wrote it."""
    report: ClipReport
    """What was made, and how long it took."""
    frames_per_second: float
    """Frames of the clip by the seconds that all of it took."""
    real_time_factor: float
    """Seconds of work for one second of clip; below 1 is faster than real time."""
    steps: int
    """Of the sampling loop."""
    overlap: int
    """Frames that neighbouring windows share."""
    cold_start_seconds: float | None
    """From the start of the process to the first frame handed to the output."""
    peak_memory: int | None
    """The largest resident set of the process so far."""
    conditions: Circumstances
    """What the figures depend on."""
    arithmetic: Mapping[str, str]
    """What each network computed in, e.g. "bf16" or "int8+bf16"."""


def describe_clip_run(bundle: Bundle, report: ClipReport, settings: RenderSettings) -> ClipRun:
    """What was just rendered with ``bundle`` in this process; to be called right after it."""
    sampling = settle_sampling(bundle, settings)
    age = find_process_age()
    return ClipRun(
        schema=CLIP_RUN_SCHEMA,
        report=report,
        frames_per_second=report.frames_per_second,
        real_time_factor=report.real_time_factor,
        steps=sampling.steps,
        overlap=sampling.overlap,
        cold_start_seconds=None
        if age is None
        else age - report.seconds + report.first_frame_seconds,
        peak_memory=find_peak_memory(),
        conditions=describe_bundle_circumstances(bundle),
        arithmetic=bundle.arithmetic(),
    )


def write_clip_run(path: Path, run: ClipRun) -> None:
    """As JSON, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    write_whole(path, json.dumps(dump(asdict(run)), indent=1) + "\n")


def find_process_age() -> float | None:
    """Seconds since this process was started, to a hundredth.

    None where the system does not tell (Linux does).
    """
    try:
        # field 22 of proc(5)'s stat, counted after the name in brackets, which may hold
        # blanks
        started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return uptime - started / os.sysconf("SC_CLK_TCK")


def find_peak_memory() -> int | None:
    """The largest resident set of this process in bytes; None where the system does not tell."""
    # getrusage's would do, had Linux not let a child begin with its parent's
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024  # in kB, which here are 1024 bytes
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
