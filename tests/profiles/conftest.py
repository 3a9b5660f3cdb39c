"""Profiles of a bundle that computes nothing, with networks as slow as a test wants them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.profiles.measuring.rounds import ClipWork
from echoexport.profiles.reports.profile import ProfileReport
from echoexport.profiles.reports.profile_run import Profiled, ProfilePlan, profile_bundle
from echoexport.runtime.backends.null import NullBackend, NullEngine
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.rendering.clip import ClipRequest
from echoexport.runtime.rendering.settings import RenderSettings

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
        return profile_bundle(work, ProfilePlan(**{"warmup": 0, "repeats": 3, **plan}))

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
