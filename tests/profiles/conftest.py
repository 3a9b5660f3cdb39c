"""Profiles of a bundle that computes nothing, with networks as slow as a test wants them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.profiles.measuring.rounds import ClipWork
from echoexport.profiles.measuring.sensor_log import Series
from echoexport.profiles.modelling.forecast import (
    FORMULA,
    BoardForecast,
    Forecast,
    OptionForecast,
    QualityCost,
)
from echoexport.profiles.modelling.roofline import Roof, Roofline, place_network
from echoexport.profiles.quality.report import Strip, StripRow
from echoexport.profiles.reports.profile import (
    ModeReport,
    ProfileReport,
    QualityExcerpt,
    Timing,
    make_timing,
)
from echoexport.profiles.reports.profile_run import Profiled, ProfileEffort, profile_bundle
from echoexport.runtime.backends.null import NullBackend, NullEngine
from echoexport.runtime.contract.network_work import NetworkWork, Work
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.rendering.clip import ClipRequest
from echoexport.runtime.rendering.settings import RenderSettings

# One pixel of nothing.
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=="

_MADE: dict[str, ProfileReport] = {}


class HandClock:
    """Seconds that somebody adds, and a little at each look, so that all takes some time."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        self.time += 1e-6
        return self.time


class SlowedEngine(NullEngine):
    def __init__(
        self, spec: SubnetSpec, clock: HandClock, seconds: float, *, profile: bool = False
    ) -> None:
        super().__init__(spec, profile=profile)
        self.clock = clock
        self.seconds = seconds

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.clock.time += self.seconds
        return super().__call__(inputs)


class SlowedBackend(NullBackend):
    """The null backend; a call of each network that is named takes so many seconds of the clock."""

    def __init__(self, clock: HandClock, seconds: Mapping[str, float]) -> None:
        self.clock = clock
        self.seconds = seconds

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> SlowedEngine:
        return SlowedEngine(
            spec, self.clock, self.seconds.get(spec.name, 0.0), profile=options.profile
        )


@pytest.fixture
def profile_null(
    make_null_bundle: Callable[..., Path],
    portrait_file: Path,
    make_voice: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Callable[..., Profiled]:
    """A function that profiles the null bundle, slowed by seconds of the test's own clock."""

    def run(
        slowed: Mapping[str, float] | None = None, *, frames: int = 24, **plan: Any
    ) -> Profiled:
        clock = HandClock()
        monkeypatch.setattr(
            "echoexport.runtime.backends.null.BACKEND", SlowedBackend(clock, slowed or {})
        )
        bundle = tmp_path / "null-bundle"
        bundle = bundle if bundle.exists() else make_null_bundle()
        clip = ClipRequest(
            portrait_file,
            make_voice(seconds=2.0),
            "",
            face_box=(20, 20, 70, 70),
            settings=RenderSettings(fps=25, frames=frames),
        )
        work = ClipWork(bundle, None, EngineOptions(), clip, tmp_path, now=clock)
        return profile_bundle(work, ProfileEffort(**{"warmup": 0, "repeats": 3, **plan}))

    return run


@pytest.fixture
def null_report(profile_null: Callable[..., Profiled]) -> ProfileReport:
    """A profile of the null bundle with layers, a denoiser of 2 ms and a decoder of 1 ms.

    Made once in a process.
    """
    if "report" not in _MADE:
        _MADE["report"] = profile_null(
            {"denoising_unet": 0.002, "vae_decoder": 0.001}, layers=True
        ).report
    return _MADE["report"]


@pytest.fixture
def make_frames() -> Callable[..., np.ndarray]:
    """A function that gives frames (n, side, side, 3) of noise, which packs worst."""

    def run(count: int = 8, *, side: int = 128, seed: int = 0) -> np.ndarray:
        random = np.random.default_rng(seed)
        return random.integers(0, 256, (count, side, side, 3), dtype=np.uint8)

    return run


@pytest.fixture
def slow_down() -> Callable[..., ProfileReport]:
    """A function that gives a profile with one network's calls so many times as slow."""

    def stretch(timing: Timing, by: float) -> Timing:
        samples = tuple(tuple(by * value for value in repeat) for repeat in timing.samples)
        found = make_timing(samples)
        assert found is not None
        return found

    def change(mode: ModeReport, network: str, by: float) -> ModeReport:
        networks = tuple(
            replace(one, host=stretch(one.host, by)) if one.name == network else one
            for one in mode.networks
        )
        return replace(mode, networks=networks)

    def run(report: ProfileReport, network: str, *, by: float) -> ProfileReport:
        return replace(report, modes=tuple(change(mode, network, by) for mode in report.modes))

    return run


@pytest.fixture
def full_report(null_report: ProfileReport) -> ProfileReport:
    """The null bundle's profile with every section, and names that want escaping."""
    roof = Roof(2e12, 2e11, None, source="a data sheet")
    works = {"denoising_unet": (8e9, 4e8, 0.01), "vae_decoder": (5e8, 4e8, 0.02)}
    placed = tuple(
        place_network(
            name,
            NetworkWork({"up/convolution": Work(int(flops), weight_bytes=int(moved))}),
            seconds,
            roof=roof,
        )
        for name, (flops, moved, seconds) in works.items()
    )
    cost = QualityCost(49.9, 0.999, -0.002, "")
    forecast = Forecast(
        FORMULA,
        (0.3, 0.6),
        0.4,
        None,
        (
            BoardForecast("cpu", "A <board>", "fp16", 5.0, 10.0, 7.0, "compute", "no"),
            BoardForecast(
                "rtx", "Any", "fp16", None, None, None, "unknown", "unknown", reason="differs"
            ),
        ),
        (
            OptionForecast("2 steps", 15.0, 30.0, 21.0, "yes", cost),
            OptionForecast(
                "less", 6.0, 12.0, 8.0, "no", QualityCost(None, None, None, "not measured")
            ),
        ),
        "cpu",
    )
    mode = null_report.headline
    heat = Series("tj", "temperature", "C", "/sys", (0.0, 1.0, 2.0), (50.0, 61.5, 55.0))
    mode = replace(mode, sensors=replace(mode.sensors, series=(*mode.sensors.series, heat)))
    strip = Strip("one", (1, 2), False, (StripRow("int8", PIXEL, 640, 64),))
    return replace(
        null_report,
        bundle=replace(null_report.bundle, name="a<b>&c"),
        modes=(mode, *null_report.modes[1:]),
        roofline=Roofline(roof, roof, placed, placed),
        forecast=forecast,
        quality=QualityExcerpt("int8 holds", strip),
    )
