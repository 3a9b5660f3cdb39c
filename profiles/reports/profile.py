"""The profile of a bundle on a device.

It holds what was measured, what a model makes of it, and the versioned JSON of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from echoexport.profiles.measuring.circumstances import Circumstances
from echoexport.profiles.measuring.figures import Figures, Samples, summarize
from echoexport.profiles.measuring.latency import format_json
from echoexport.profiles.measuring.live_run import LiveRun
from echoexport.profiles.measuring.probe import Probe
from echoexport.profiles.measuring.sensor_log import SensorReport
from echoexport.profiles.modelling.forecast import Forecast
from echoexport.profiles.modelling.roofline import Roofline
from echoexport.profiles.quality.report import Strip
from echoexport.runtime.contract.schema import dump, parse
from echoexport.runtime.errors import InputError
from echoexport.runtime.files.json_file import read_json

__all__ = [
    "NOISE",
    "PROFILE_KIND",
    "PROFILE_SCHEMA",
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

PROFILE_SCHEMA = 1
PROFILE_KIND = "echoexport profile"

NOISE = 0.05
"""Difference of two halves of the repeats, in the denoiser's median, from which on the
machine counts as noisy."""

_LARGEST = 64 * 2**20  # bytes of a file that is read back


@dataclass(frozen=True)
class Timing:
    """Seconds: figures over all repeats, and the samples themselves."""

    figures: Figures
    samples: Samples
    """One tuple a repeat, at most 1000 of each."""


@dataclass(frozen=True)
class BundleFacts:
    """What was profiled."""

    name: str
    """Of its folder."""
    identity: str
    """A hash of the networks' files and backend, in short."""
    variant: str
    """Of its checkpoint."""
    target: str
    """That it was built for."""
    precision: str
    """What it stores."""
    compute: str
    """What its networks compute in, in a word."""
    arithmetic: Mapping[str, str]
    """Network to what it computes in here."""
    backend: str
    """Name of the backend."""
    width: int
    """Of the pictures in pixels."""
    height: int
    """Of the pictures in pixels."""
    window: int
    """Frames that are sampled together."""
    bytes: int
    """Bytes of all files."""
    weights: int
    """Bytes of all networks."""
    package: int
    """Bytes of echoexport as it is installed here."""


@dataclass(frozen=True)
class ProfileSettings:
    """How it was profiled."""

    fps: float
    """Frames a second of the clip, which real time is held to."""
    duration: float
    """Seconds of clip."""
    frames: int
    """Of the clip."""
    steps: int
    """Of the sampling loop."""
    guidance: float
    """Above 1 each step takes two calls of the denoiser."""
    overlap: int
    """Frames that neighbouring windows share."""
    warmup: int
    """Repeats of each mode that do not count."""
    repeats: int
    """Repeats of each mode."""
    threads: int
    """Asked for, 0 where the backend chose."""
    portrait: str
    """Its file name."""
    voice: str
    """Its file name."""


@dataclass(frozen=True)
class StageShare:
    """One stage of one track."""

    name: str
    track: str
    timing: Timing
    """Seconds in a clip."""
    share: float
    """Of the clip's wall time, by medians, 0 to 1."""


@dataclass(frozen=True)
class NetworkTimes:
    """One network's calls."""

    name: str
    calls: int
    """How many a clip makes."""
    host: Timing
    """By the host's clock."""
    device: Timing | None
    """By the device's own clock, None where it has none."""


@dataclass(frozen=True)
class TimelineSpan:
    """One span of the second that is shown."""

    name: str
    category: str
    track: str
    clock: str
    start: float
    """Seconds from the beginning of that second."""
    seconds: float
    """How long it took within it."""


@dataclass(frozen=True)
class ModeReport:
    """One way of rendering, repeated.

    Seconds are wall clock, *measured*, with engines open already.
    """

    name: str
    """Of the mode."""
    what: str
    """The mode in words."""
    frames: int
    """Of the clip."""
    fps: float
    """Frames by the seconds of the whole clip."""
    real_time_factor: float
    """Seconds of work for one second of clip; below 1 is faster than real time."""
    wall: Timing
    """Seconds of a whole clip."""
    first_frame: Timing
    """From its start until the first frame was in the output."""
    intervals: Timing | None
    """Seconds between frames there."""
    steady: Timing | None
    """Seconds a frame of a clip under way (see ``mode_report.find_steady``); None for a
    clip that is too short."""
    steady_reason: str
    """Why there is none."""
    stages: tuple[StageShare, ...]
    """Stages of each track; what none accounts for is a stage "unaccounted"."""
    networks: tuple[NetworkTimes, ...]
    """Every network that was called."""
    load: Mapping[str, float]
    """Network to seconds that opening it took, compiled anew."""
    drift: float | None
    """How far halves of the repeats are apart in the denoiser's median."""
    sensors: SensorReport
    """What sensors gave meanwhile."""
    timeline: tuple[TimelineSpan, ...]
    """The busiest second of the last repeat."""
    dropped_spans: int = 0
    """Spans that were too many to keep."""

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
    """Seconds of a profiled call."""
    seconds: float
    other_share: float
    count: int
    """How many layers there are."""
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
    """``fps`` by ``wanted_fps``."""
    real_time: bool
    line: str
    remedies: tuple[str, ...]
    """Options that would do it, "NAME: N fps modelled"."""
    noisy: str
    """Why figures are to be taken with care, else ""."""


@dataclass(frozen=True)
class ProfileReport:
    """All of a profile."""

    schema: int
    """``PROFILE_SCHEMA`` of the release that wrote it."""
    kind: str
    """``PROFILE_KIND``, so that nobody takes another file for it."""
    verdict: Verdict
    """Whether it is real time."""
    bundle: BundleFacts
    """What was profiled."""
    settings: ProfileSettings
    """How it was profiled."""
    modes: tuple[ModeReport, ...]
    """The first is the one that the verdict is about."""
    layers: tuple[LayerSummary, ...]
    """Empty where they were not asked for."""
    layers_note: str
    """Why there are none."""
    probe: Probe
    """What a quick test found of this device."""
    roofline: Roofline
    """*Modelled*."""
    forecast: Forecast
    """*Modelled*."""
    quality: QualityExcerpt | None
    """From the bundle's own quality report, where it has one."""
    notes: tuple[str, ...]
    """What to know beside the figures."""
    conditions: Circumstances
    """What was *measured* was measured under these."""
    live: LiveRun | None = None
    """A conversation, where one was asked for."""

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
    """Figures with their samples; None without samples.

    No more than 1000 of a repeat are kept, evenly.
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
        data = read_json(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path}: not readable JSON: {error}") from error
    if not isinstance(data, dict) or data.get("kind") != PROFILE_KIND:
        raise InputError(f"{path}: not a profile; name a report.json of echoexport profile")
    if data.get("schema") != PROFILE_SCHEMA:
        raise InputError(
            f"{path}: profile schema {data.get('schema')!r}; this release reads {PROFILE_SCHEMA}: "
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
