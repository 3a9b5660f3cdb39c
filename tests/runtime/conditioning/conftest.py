"""Fixtures of the conditioning's tests: a bundle whose engines keep what they are given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from echoexport.runtime.bundle.opened import Bundle, Lease
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import Arrays, Backend, Engine, EngineOptions


class MeanEngine(Engine):
    """Every output is filled with the mean of the first input, which is kept."""

    precision = "fp32"

    def __init__(self, spec: SubnetSpec) -> None:
        self.spec = spec
        self.given: list[np.ndarray] = []

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        first = inputs[self.spec.inputs[0].name]
        self.given.append(first.copy())
        return {t.name: np.full(t.shape, first.mean(), t.dtype) for t in self.spec.outputs}

    def close(self) -> None:
        """Nothing to close."""


class MeanBackend(Backend):
    """Opens mean engines, and keeps them by network."""

    name = "mean"

    def __init__(self) -> None:
        self.engines: dict[str, MeanEngine] = {}

    def unavailable(self) -> str | None:
        return None

    def describe(self) -> str:
        return "means"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> MeanEngine:
        return self.engines.setdefault(spec.name, MeanEngine(spec))


@pytest.fixture
def means(null_bundle: Path) -> tuple[Lease, MeanBackend]:
    """The null bundle on a backend that gives means, and that backend."""
    backend = MeanBackend()
    return open_on(backend, null_bundle), backend


@pytest.fixture
def pose_networks(make_null_bundle: Callable[..., Path]) -> Lease:
    """The same of a bundle whose face is driven by poses, without the backend."""
    return open_on(MeanBackend(), make_null_bundle("pose-bundle", face="pose"))


def open_on(backend: MeanBackend, folder: Path) -> Lease:
    manifest = read_manifest(folder)
    return Bundle(folder, manifest, backend=backend, options=EngineOptions()).lease()


@pytest.fixture(scope="session")
def entry_of() -> Callable[..., Path]:
    """A function that names the file of a cache's entry."""

    def name(folder: Path, key: str = "ab" * 32) -> Path:
        return folder / f"{key}.reference"

    return name
