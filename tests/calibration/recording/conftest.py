"""Calibration sets of made-up samples: two renderings of two steps each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from echoexport.calibration.recording.recording import RecordingInput, RecordingSettings, record_set
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
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import Arrays, Backend, Engine, EngineOptions
from echoexport.runtime.inputs.portrait import FaceCrop
from echoexport.runtime.inputs.resize import Size
from echoexport.runtime.inputs.voice import Voice, voice_from_samples

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


class MixingEngine(Engine):
    """Outputs that depend on every input, and not on when or how often it is called."""

    precision = "fp32"

    def __init__(self, spec: SubnetSpec, backend: MixingBackend) -> None:
        self.spec = spec
        self.backend = backend

    def __call__(self, inputs: Arrays) -> dict[str, np.ndarray]:
        self.backend.calls[self.spec.name] += 1
        total = sum(float(np.abs(array).mean()) for array in inputs.values())
        outputs = {}
        for number, tensor in enumerate(self.spec.outputs):
            values = np.arange(int(np.prod(tensor.shape)), dtype=np.float64) * 0.37 + total + number
            outputs[tensor.name] = np.cos(values).astype(np.float32).reshape(tensor.shape)
        self.backend.spoil(self.spec.name, self.backend.calls[self.spec.name], outputs)
        return outputs

    def close(self) -> None:
        """Nothing to close."""


class MixingBackend(Backend):
    """Opens mixing engines; ``spoil`` is told of each call and may change its outputs, or raise."""

    name = "null"

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.graphs: set[str] = set()
        self.spoil: Callable[[str, int, dict[str, np.ndarray]], None] = (
            lambda network, call, outputs: None
        )

    def unavailable(self) -> str | None:
        return None

    def describe(self) -> str:
        return "mixes"

    def open(self, graph: Path, spec: SubnetSpec, options: EngineOptions) -> MixingEngine:
        self.graphs.add(graph.name)
        return MixingEngine(spec, self)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> MixingBackend:
    """In place of the null backend."""
    mixing = MixingBackend()
    monkeypatch.setattr("echoexport.runtime.backends.null.BACKEND", mixing)
    return mixing


@pytest.fixture(scope="session")
def voice_of() -> Callable[..., Voice]:
    """A function that gives half a second of noise."""

    def run(seed: int, *, seconds: float = 0.5) -> Voice:
        samples = (
            np.random.default_rng(seed)
            .uniform(-0.3, 0.3, round(16000 * seconds))
            .astype(np.float32)
        )
        return voice_from_samples(samples)

    return run


@pytest.fixture(scope="session")
def crop_of() -> Callable[[int], Callable[[Size], FaceCrop]]:
    """A function that gives a portrait of noise."""

    def run(seed: int) -> Callable[[Size], FaceCrop]:
        def crop(size: Size) -> FaceCrop:
            width, height = size
            picture = (
                np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
            )
            return FaceCrop(picture, np.full((height, width), 255, np.uint8), (0, 0, width, height))

        return crop

    return run


@pytest.fixture(scope="session")
def inputs_of(
    voice_of: Callable[..., Voice], crop_of: Callable[[int], Callable[[Size], FaceCrop]]
) -> Callable[..., list[RecordingInput]]:
    """A function that gives every portrait with every voice."""

    def run(
        portraits: int = 2, voices: int = 2, *, poses: Path | None = None
    ) -> list[RecordingInput]:
        return [
            RecordingInput(f"p{portrait}", f"v{voice}", crop_of(portrait), voice_of(voice), poses)
            for portrait in range(portraits)
            for voice in range(voices)
        ]

    return run


@pytest.fixture
def record(
    null_bundle: Path,
    tmp_path: Path,
    backend: MixingBackend,
    inputs_of: Callable[..., list[RecordingInput]],
) -> Callable[..., CalibrationSet]:
    """A function that records with mixing engines into a folder of the test."""

    def run(
        inputs: list[RecordingInput] | None = None,
        *,
        name: str = "set",
        bundle: Path = null_bundle,
        **changes: object,
    ) -> CalibrationSet:
        settings = replace(RecordingSettings(samples=8, backend="null"), **changes)  # type: ignore[arg-type]
        return record_set(bundle, inputs or inputs_of(), tmp_path / name, settings=settings)

    return run
