"""Bundles whose networks err by a known amount, and clips to compare them on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.profiles.quality.clips import ComparisonClip
from echoexport.profiles.quality.comparison import ComparisonSettings, compare_bundles
from echoexport.profiles.quality.report import QualityReport
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import Backend, Engine, EngineOptions
from echoexport.runtime.inputs.voice import voice_from_samples
from echoexport.runtime.rendering.settings import RenderInputs

SIDE = 32


class WaveEngine(Engine):
    """Gives each output the sine of its inputs' mean and its own places, plus so much."""

    precision = "fp32"

    def __init__(self, spec: SubnetSpec, *, error: float) -> None:
        self._spec = spec
        self._error = error

    def __call__(self, inputs: Any) -> dict[str, np.ndarray]:
        base = float(np.mean([np.mean(value, dtype=np.float64) for value in inputs.values()]))
        found = {}
        for tensor in self._spec.outputs:
            places = np.arange(np.prod(tensor.shape)).reshape(tensor.shape)
            found[tensor.name] = (np.sin(places * 0.37 + base) + self._error).astype(tensor.dtype)
        return found

    def close(self) -> None:
        """Nothing to give back."""


class WaveBackend(Backend):
    """Networks that err by a constant; ``errors`` by name."""

    name = "wave"

    def __init__(self, **errors: float) -> None:
        self._errors = errors

    def unavailable(self) -> str | None:
        return None

    def describe(self) -> str:
        return "sines, for testing comparisons"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> WaveEngine:
        return WaveEngine(spec, error=self._errors.get(spec.name, 0.0))


@pytest.fixture
def open_waves() -> Callable[..., Bundle]:
    """A function that opens a bundle whose networks, by name, err by a constant."""

    def run(folder: Path, **errors: float) -> Bundle:
        options = EngineOptions("fp32")
        return Bundle(folder, read_manifest(folder), backend=WaveBackend(**errors), options=options)

    return run


@pytest.fixture
def make_clip() -> Callable[..., ComparisonClip]:
    """A function that gives a clip of a noisy portrait and half a second of noise."""

    def run(name: str = "one", *, frames: int = 5, **more: Any) -> ComparisonClip:
        random = np.random.default_rng(0)
        picture = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        mask = np.full((SIDE, SIDE), 255, np.uint8)
        voice = voice_from_samples(random.integers(-3000, 3000, 8000).astype(np.int16))
        return ComparisonClip(name, RenderInputs(picture, voice, mask=mask), frames=frames, **more)

    return run


@pytest.fixture
def quick() -> ComparisonSettings:
    """Settings that measure little."""
    return ComparisonSettings(calls=4, warmup=0, repeats=1)


@pytest.fixture
def compare(
    make_clip: Callable[..., ComparisonClip], quick: ComparisonSettings
) -> Callable[..., QualityReport]:
    """A function that compares two bundles quickly, on one clip where none is given."""

    def run(
        reference: Bundle, candidate: Bundle, *clips: ComparisonClip, **settings: Any
    ) -> QualityReport:
        return compare_bundles(
            reference,
            candidate,
            clips or (make_clip(),),
            settings=dataclasses.replace(quick, **settings),
        )

    return run
