"""Two bundles whose networks are too large to be open at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.profiles.quality import networks
from echoexport.profiles.quality.clips import ComparisonClip
from echoexport.profiles.quality.comparison import ComparisonSettings, compare_bundles
from echoexport.runtime.bundle import early
from echoexport.runtime.bundle.opened import Bundle
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import Backend, Engine, EngineOptions

SIDE = 32


class CountedBackend(Backend):
    """Engines that give zeros, and the most denoisers that were ever open at a time."""

    name = "counted"

    def __init__(self) -> None:
        self.opened = 0
        self.open_now = 0
        self.most = 0

    def unavailable(self) -> str | None:
        return None

    def describe(self) -> str:
        return "zeros, counted"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> CountedEngine:
        return CountedEngine(self, spec)


class CountedEngine(Engine):
    """Zeros."""

    precision = "fp32"

    def __init__(self, backend: CountedBackend, spec: SubnetSpec) -> None:
        self._backend = backend
        self._spec = spec
        self._counts = spec.name == "denoising_unet"
        if self._counts:
            backend.opened += 1
            backend.open_now += 1
            backend.most = max(backend.most, backend.open_now)

    def __call__(self, inputs: Any) -> dict[str, np.ndarray]:
        return {tensor.name: np.zeros(tensor.shape, tensor.dtype) for tensor in self._spec.outputs}

    def close(self) -> None:
        if self._counts:
            self._backend.open_now -= 1


@pytest.fixture
def compare_counted(make_clip: Callable[..., ComparisonClip]) -> Callable[[Path], CountedBackend]:
    """A function that compares a bundle with itself and gives its backend."""

    def run(folder: Path) -> CountedBackend:
        backend = CountedBackend()
        manifest = read_manifest(folder)
        options = EngineOptions("fp32")
        settings = ComparisonSettings(calls=2, warmup=0, repeats=1)
        with (
            Bundle(folder, manifest, backend=backend, options=options) as one,
            Bundle(folder, manifest, backend=backend, options=options) as other,
        ):
            compare_bundles(one, other, (make_clip(),), settings=settings)
        return backend

    return run


def test_large_denoisers_of_two_bundles_are_never_open_at_once(
    null_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    compare_counted: Callable[[Path], CountedBackend],
) -> None:
    monkeypatch.setattr(networks, "_LARGE", 0)
    monkeypatch.setattr(early, "_CLOSED_FROM", 0)
    found = compare_counted(null_bundle)
    assert found.most == 1
    assert found.open_now == 0


def test_small_denoisers_of_two_bundles_are_opened_once_each(
    null_bundle: Path, compare_counted: Callable[[Path], CountedBackend]
) -> None:
    found = compare_counted(null_bundle)
    assert (found.opened, found.most) == (2, 2)
