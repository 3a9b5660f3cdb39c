"""The profile of a bundle on a device.

What was measured, what a model makes of it, and the versioned JSON of both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from echoexport.profiles.measuring.conditions import Conditions
from echoexport.profiles.measuring.figures import Figures, Samples, summarize
from echoexport.profiles.measuring.latency import format_json
from echoexport.profiles.measuring.probe import Probe
from echoexport.profiles.measuring.sensor_log import SensorReport
from echoexport.profiles.modelling.forecast import Forecast
from echoexport.profiles.modelling.roofline import Roofline
from echoexport.profiles.quality.report import Strip
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.errors import InputError

__all__ = [
    "KIND",
    "NOISE",
    "SCHEMA",
    "BundleFacts",
    "LayerShare",
    "LayerSummary",
    "ModeReport",
    "NetworkTimes",
    "ProfileReport",
    "ProfileSettings",
    "QualityExcerpt",
    "StageShare",
    "TimelineSpan",
    "Timing",
    "Verdict",
    "format_profile_json",
    "make_timing",
    "read_profile",
]

SCHEMA = 1
KIND = "echoexport profile"

NOISE = 0.05
"""Difference of two halves of the repeats, in the denoiser's median, from which on the
machine counts as noisy."""

_LARGEST = 64 * 2**20  # bytes of a file that is read back


@dataclass(frozen=True)
class Timing:
    """Seconds: figures over all repeats, and the samples themselves, one tuple a repeat (at most 1000 of each)."""

    figures: Figures
    samples: Samples


@dataclass(frozen=True)
class BundleFacts:
    """What was profiled."""

    name: str
    identity: str
    """Of the networks' files and backend, in short."""
    variant: str
    target: str
    precision: str
    compute: str
    arithmetic: Mapping[str, str]
    """Network to what it computes in here."""
    backend: str
    width: int
    height: int
    window: int
    bytes: int
    """Of all files."""
    weights: int
    """Of networks."""
    package: int
    """Bytes of echoexport as it is installed here."""


@dataclass(frozen=True)
class ProfileSettings:
    """How it was profiled."""

    fps: float
    """Of the clip, which is what real time is held to."""
    duration: float
    """Seconds of clip."""
    frames: int
    steps: int
    guidance: float
    overlap: int
    warmup: int
    repeats: int
    threads: int
    portrait: str
    voice: str


@dataclass(frozen=True)
class StageShare:
    """One stage of one track."""

    name: str
    track: str
    timing: Timing
    """Seconds in a clip."""
    share: float
    """Of the clip's wall time, of medians, 0 to 1."""


@dataclass(frozen=True)
class NetworkTimes:
    """One network's calls."""

    name: str
    calls: int
    """In a clip."""
    host: Timing
    """By the host's clock."""
    device: Timing | None
    """By its own, None where it has none."""


@dataclass(frozen=True)
class TimelineSpan:
    """One span of the second that is shown."""

    name: str
    category: str
    track: str
    clock: str
    start: float
    seconds: float
    """start and seconds: from the beginning of that second."""


@dataclass(frozen=True)
class ModeReport:
    """One way of rendering, repeated.

    Seconds are wall clock, *measured*, with engines open already.
    """

    name: str
    what: str
    frames: int
    fps: float
    real_time_factor: float
    wall: Timing
    """Of a whole clip."""
    first_frame: Timing
    """From its start until the first frame was in the output."""
    intervals: Timing | None
    """Between frames there."""
    steady: Timing | None
    """Seconds a frame of a clip under way (see ``mode_report.find_steady``); None, with
    a reason, for a clip too short."""
    steady_reason: str
    stages: tuple[StageShare, ...]
    """Of each track; what none accounts for is a stage "unaccounted"."""
    networks: tuple[NetworkTimes, ...]
    load: Mapping[str, float]
    """Network to seconds that opening it took, compiled anew."""
    drift: float | None
    """How far halves of the repeats are apart in the denoiser's median."""
    sensors: SensorReport
    timeline: tuple[TimelineSpan, ...]
    dropped_spans: int = 0

    @property
    def steady_fps(self) -> float | None:
        """Frames a second of a clip under way, by the median; None where the clip was too short."""
        return None if self.steady is None else 1 / self.steady.figures.p50

    def network(self, name: str) -> NetworkTimes | None:
        """One network's calls, None where it never ran."""
        return next((network for network in self.networks if network.name == name), None)


@dataclass(frozen=True)
class LayerShare:
    """A layer, or a group of our modules, of one call."""

    name: str
    kind: str
    """The engine's word, "" for a group."""
    group: str
    seconds: float


@dataclass(frozen=True)
class LayerSummary:
    """One network's layers: all groups, and the layers that take longest."""

    network: str
    calls: int
    wall: float
    """Of a profiled call."""
    seconds: float
    other_share: float
    count: int
    """Of all."""
    groups: tuple[LayerShare, ...]
    layers: tuple[LayerShare, ...]


@dataclass(frozen=True)
class QualityExcerpt:
    """What the bundle's own quality report says, in a line, and its first strip of frames."""

    line: str
    strip: Strip | None


@dataclass(frozen=True)
class Verdict:
    """Whether it is real time."""

    wanted_fps: float
    fps: float
    """Steady where it was measured, else of the whole clip."""
    headroom: float
    """Fps by wanted."""
    real_time: bool
    line: str
    remedies: tuple[str, ...]
    """Options that would do it, "NAME: N fps modelled"."""
    noisy: str
    """Why figures are to be taken with care, else ""."""


@dataclass(frozen=True)
class ProfileReport:
    """All of it. roofline and forecast are *modelled*.

    Everything else is *measured*, under ``conditions``.
    """

    schema: int
    kind: str
    verdict: Verdict
    bundle: BundleFacts
    settings: ProfileSettings
    modes: tuple[ModeReport, ...]
    """The first is the one that the verdict is about."""
    layers: tuple[LayerSummary, ...]
    """() where they were not asked for, and why in ``layers_note``."""
    layers_note: str
    probe: Probe
    roofline: Roofline
    forecast: Forecast
    quality: QualityExcerpt | None
    notes: tuple[str, ...]
    conditions: Conditions

    @property
    def headline(self) -> ModeReport:
        """The mode that the verdict is about."""
        return self.modes[0]

    def mode(self, name: str) -> ModeReport | None:
        """A mode by its name."""
        return next((mode for mode in self.modes if mode.name == name), None)

    @property
    def label(self) -> str:
        """What to call it beside others."""
        return f"{self.bundle.name} ({self.bundle.backend}, {self.bundle.compute})"


def make_timing(samples: Samples) -> Timing | None:
    """Figures with their samples, of which no more than 1000 of a repeat are kept, evenly.

    None without samples.
    """
    kept = tuple(_thin(repeat) for repeat in samples)
    figures = summarize(kept)
    return None if figures is None else Timing(figures, kept)


def format_profile_json(report: ProfileReport) -> str:
    """The JSON that :func:`read_profile` reads."""
    return format_json(dump(report))


def read_profile(path: Path) -> ProfileReport:
    """Read a profile back, strictly.

    Raises:
        InputError: no such file, not a profile, or one of another schema version.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(
                f"{path}: larger than any profile; name a report.json of echoexport profile"
            )
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not readable JSON: {error}") from error
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise InputError(f"{path}: not a profile; name a report.json of echoexport profile")
    if data.get("schema") != SCHEMA:
        raise InputError(
            f"{path}: profile schema {data.get('schema')!r}; this release reads {SCHEMA}: "
            "profile again"
        )
    try:
        report = parse(ProfileReport, data, where="profile")
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    if not report.modes:
        raise InputError(f"{path}: a profile without a mode; profile again")
    return report


def _thin(samples: tuple[float, ...]) -> tuple[float, ...]:
    if len(samples) <= 1000:
        return samples
    return tuple(samples[round(index * (len(samples) - 1) / 999)] for index in range(1000))
