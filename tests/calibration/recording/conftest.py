"""Calibration sets of made-up samples: two renderings of two steps each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from echoexport.calibration.recording.set_manifest import (
    SET_FORMAT,
    SET_SCHEMA,
    SampleEntry,
    SetManifest,
    SetSampling,
    SetSource,
    encode_manifest,
)
from echoexport.calibration.recording.set_writer import (
    SetWriter,
    count_samples,
)
from echoexport.calibration.recording.sets import CalibrationSet, open_set

WEIGHTS = {"denoising_unet": "22", "vae_encoder": "23"}
SOURCE = SetSource("acc", "weights", {"a.pth": "11"}, WEIGHTS, 32, 32, 4, "mask")
SHARED = np.arange(6, dtype=np.float32).reshape(1, 2, 3)


@pytest.fixture(scope="session")
def shared() -> np.ndarray:
    """An array that all samples have."""
    return SHARED


@pytest.fixture(scope="session")
def latents() -> Callable[[int], np.ndarray]:
    """A function that gives latents known by a number."""

    def run(number: int) -> np.ndarray:
        return np.full((1, 4, 2), number, np.float32)

    return run


@pytest.fixture(scope="session")
def write_samples(latents: Callable[[int], np.ndarray]) -> Callable[..., None]:
    """A function that writes a rendering's samples, one a step."""

    def run(writer: SetWriter, number: int, *, count: int = 2) -> None:
        samples = {}
        for step in range(count):
            inputs = {
                "latents": writer.write_array(latents(10 * number + step)),
                "shared": writer.write_array(SHARED),
            }
            entry = SampleEntry(
                "denoising_unet", f"{number}.png", "v.wav", step, 999 - step, 0, inputs
            )
            samples[2 * step + number] = entry
        writer.finish_rendering(number, samples)

    return run


@pytest.fixture(scope="session")
def describe() -> Callable[..., SetManifest]:
    """A function that describes what a writer holds."""

    def run(writer: SetWriter, *, seed: int = 0, made: str = "an engine") -> SetManifest:
        samples, arrays = writer.list_samples()
        sampling = SetSampling(seed, 2, 1.0, 1, 24.0, 2.0)
        return SetManifest(
            SET_FORMAT,
            SET_SCHEMA,
            made,
            SOURCE,
            sampling,
            {"0.png": "33"},
            {"v.wav": "44"},
            {},
            count_samples(samples),
            0.1,
            arrays,
            samples,
        )

    return run


@pytest.fixture(scope="session")
def write_set(
    write_samples: Callable[..., None], describe: Callable[..., SetManifest]
) -> Callable[..., CalibrationSet]:
    """A function that writes a whole set of two renderings."""

    def run(folder: Path, **changes: object) -> CalibrationSet:
        writer = SetWriter(folder, fingerprint="one")
        for number in range(2):
            write_samples(writer, number)
        writer.publish(describe(writer, **changes))  # type: ignore[arg-type]
        return open_set(folder)

    return run


@pytest.fixture(scope="session")
def rewrite() -> Callable[..., None]:
    """A function that changes a set's description, with a digest that holds."""

    def run(folder: Path, **changes: object) -> None:
        manifest = replace(open_set(folder).manifest, **changes)  # type: ignore[arg-type]
        (folder / "set.json").write_bytes(encode_manifest(manifest))

    return run


@pytest.fixture
def written(tmp_path: Path, write_set: Callable[..., CalibrationSet]) -> Path:
    """The folder of a whole set."""
    write_set(tmp_path / "set")
    return tmp_path / "set"
