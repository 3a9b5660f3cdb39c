"""Trials with known figures, and a study whose renderings cost and err as they are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.profiles.quality.clips import ComparisonClip
from echoexport.profiles.tuning import study
from echoexport.profiles.tuning.choices import TuningChoice, TuningSide, lay_grid
from echoexport.profiles.tuning.limits import TuningLimits
from echoexport.profiles.tuning.report import TuningReport
from echoexport.profiles.tuning.study import StudySettings, study_choices
from echoexport.profiles.tuning.trials import ClipTrial, TimedFrames
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.inputs.voice import voice_from_samples
from echoexport.runtime.rendering.settings import RenderInputs

SIDE = 32
FRAMES = 4


@dataclass
class Shelf:
    """Keeps what a study measured, in memory."""

    values: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Mapping[str, np.ndarray]] = field(default_factory=dict)

    def read(self, name: str) -> Any:
        return self.values.get(name)

    def write(self, name: str, value: Any) -> None:
        self.values[name] = value

    def read_arrays(self, name: str) -> Any:
        return self.arrays.get(name)

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        self.arrays[name] = arrays


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def make_trial() -> Callable[..., ClipTrial]:
    """A function that gives a trial of 10 frames which equals the reference's, but for this."""

    def run(**changed: Any) -> ClipTrial:
        usual: dict[str, Any] = {
            "clip": "one",
            "frames": 10,
            "psnr": 60.0,
            "psnr_worst": 60.0,
            "ssim": 1.0,
            "ssim_worst": 1.0,
            "flicker": 2.0,
            "reference_flicker": 2.0,
            "scores": {},
            "reference_scores": {},
            "seconds": (1.0,),
            "first": (0.5,),
            "cpu": (2.0,),
        }
        return ClipTrial(**(usual | changed))

    return run


@pytest.fixture
def make_speaker() -> Callable[..., ComparisonClip]:
    """A function that gives a clip of a noisy portrait and a sixth of a second of noise."""

    def run(name: str = "one", **more: Any) -> ComparisonClip:
        random = np.random.default_rng(0)
        picture = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        mask = np.full((SIDE, SIDE), 255, np.uint8)
        voice = voice_from_samples(random.integers(-3000, 3000, 2700).astype(np.int16))
        return ComparisonClip(name, RenderInputs(picture, voice, mask=mask), frames=FRAMES, **more)

    return run


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, TuningChoice]]:
    """What a study has rendered, in order.

    A rendering takes as many seconds as it has steps, and errs by 12 levels over its steps.
    """
    done: list[tuple[str, TuningChoice]] = []

    def stand_in(session: Any, clip: ComparisonClip, choice: TuningChoice, how: Any) -> TimedFrames:
        done.append((clip.name, choice))
        frames = np.full((clip.frames or 1, SIDE, SIDE, 3), 100, np.uint8)
        frames += np.uint8(12 // choice.steps)
        seconds = float(choice.steps)
        return TimedFrames(frames, seconds, seconds / 2, 2 * seconds)

    monkeypatch.setattr(study, "render_timed", stand_in)
    return done


@pytest.fixture
def tune(
    null_bundle: Path, make_speaker: Callable[..., ComparisonClip], shelf: Shelf, tmp_path: Path
) -> Callable[..., TuningReport]:
    """A function that studies the null bundle with 1, 2 and 3 steps; its own are 2."""

    def run(*clips: ComparisonClip, limits: TuningLimits | None = None, **more: Any) -> Any:
        sides = (TuningSide("fp32", null_bundle, "", own=True),)
        grid = lay_grid(
            read_manifest(null_bundle), sides, present="fp32", steps=(1, 2, 3), overlaps=(1,)
        )
        settings = StudySettings(scratch=tmp_path / "scratch", renderings=1)
        return study_choices(
            grid,
            clips or (make_speaker(),),
            settings=settings,
            limits=limits or TuningLimits(),
            kept=shelf,
            **more,
        )

    return run
