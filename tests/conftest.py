"""Fixtures that more than one room's tests use; the larger ones lie in ``fixtures``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from echoexport.runtime.device import Device, detect_device

TESTS = Path(__file__).parent

# Property tests draw the same examples every time, and none is timed: a run that passed passes
# again, on a busy machine too.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

pytest_plugins = [
    "fixtures.browser",
    "fixtures.checkpoints",
    "fixtures.commands",
    "fixtures.media",
    "fixtures.served",
    "fixtures.voices",
    "fixtures.null_bundles",
    "fixtures.live_stage",
    "fixtures.sketches",
    "fixtures.signing",
]


class Goldens:
    """A golden file: arrays by name, and what its ``meta`` string says."""

    def __init__(self, path: Path) -> None:
        self._arrays = np.load(path)
        self.meta: dict[str, Any] = json.loads(str(self._arrays["meta"]))

    def __getitem__(self, name: str) -> np.ndarray:
        return np.asarray(self._arrays[name])

    def names(self, prefix: str = "") -> list[str]:
        return [name for name in self._arrays.files if name.startswith(prefix)]

    def json(self, name: str) -> dict[str, Any]:
        return dict(json.loads(str(self._arrays[name])))


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Reference weights' generator, manifests and goldens.

    ECHOEXPORT_REFERENCE or the shipped ones.
    """
    return Path(os.environ.get("ECHOEXPORT_REFERENCE", TESTS / "reference"))


@pytest.fixture(scope="session")
def goldens_tiny(reference_dir: Path) -> Goldens:
    return Goldens(reference_dir / "goldens_tiny.npz")


@pytest.fixture(scope="session")
def goldens_full(reference_dir: Path) -> Goldens:
    return Goldens(reference_dir / "goldens_full.npz")


@pytest.fixture(scope="session")
def goldens_pipeline(reference_dir: Path) -> Goldens:
    return Goldens(reference_dir / "goldens_pipeline.npz")


@pytest.fixture(scope="session")
def media_dir() -> Path:
    """Portraits, voices and face models beside the checkout (not part of the project)."""
    folder = TESTS.parent.parent / "shared" / "media"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here: it holds media that the project does not ship")
    return folder


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all the workers of a test run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture
def recorded_device() -> Callable[..., Device]:
    """A function that reads one of the machines in ``fixtures/devices``.

    Environment variables may be given.
    """
    devices = Path(__file__).parent / "fixtures" / "devices"

    def read(name: str, **environment: str) -> Device:
        machine = json.loads((devices / name / "machine.json").read_text("utf-8"))
        return detect_device(
            devices / name / "root",
            lambda command: machine["commands"].get(" ".join(command)),
            package=machine["packages"].get,
            environment={**machine["environment"], **environment},
        )

    return read
