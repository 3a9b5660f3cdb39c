"""Fixtures that more than one room's tests use."""

from __future__ import annotations

import fcntl
import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.bundle.files import hash_file
from echoexport.runtime.contract.families.echomimic_v1 import (
    NetworkSizes,
    ReferenceTap,
    describe_networks,
)
from echoexport.runtime.contract.manifest import (
    FORMAT,
    SCHEMA,
    AudioSettings,
    FileEntry,
    Manifest,
    NetworkEntry,
    PictureSettings,
    Provenance,
    SamplerSettings,
    WindowSettings,
    write_manifest,
)
from echoexport.runtime.contract.noise_schedule import SchedulerConfig
from echoexport.runtime.device import Device, detect_device

TESTS = Path(__file__).parent


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


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one of the test run's workers at a time gets past a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def tiny_checkpoint(shared_folder: Path, reference_dir: Path) -> Path:
    """A tiny checkpoint of reference weights, all four variants; read only."""
    folder = shared_folder / "tiny-checkpoint"
    with locked(folder):
        if not folder.exists():
            aside = folder.with_name("tiny-checkpoint.part")
            load_reference(reference_dir).write_checkpoint(
                aside, size="tiny", variants=("base", "acc", "pose", "pose_acc")
            )
            aside.rename(folder)
    return folder


@pytest.fixture(scope="session")
def full_checkpoint() -> Path:
    """A full-size checkpoint of reference weights, variant acc.

    10.6 GB, so it has to be there already.
    """
    if "ECHOEXPORT_FULL_CHECKPOINT" not in os.environ:
        pytest.skip(
            "ECHOEXPORT_FULL_CHECKPOINT names no folder that echo_reference.py wrote with "
            "--size full"
        )
    return Path(os.environ["ECHOEXPORT_FULL_CHECKPOINT"])


def load_reference(reference_dir: Path) -> Any:
    """The generator of the reference weights, a script beside the goldens."""
    found = importlib.util.spec_from_file_location(
        "echo_reference", reference_dir / "echo_reference.py"
    )
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def echo_reference(reference_dir: Path) -> Any:
    """The module that makes reference weights and inputs from names."""
    return load_reference(reference_dir)


@pytest.fixture(scope="session")
def trace_folder(shared_folder: Path) -> Path:
    """Where tests keep traces: ECHOEXPORT_TEST_TRACES to keep them between runs."""
    return Path(os.environ.get("ECHOEXPORT_TEST_TRACES", shared_folder / "traces"))


@pytest.fixture(scope="session")
def trace_once(trace_folder: Path) -> Callable[[Any, Any], Any]:
    """A function of (spec, architecture) that gives the trace.

    One worker makes it, and it is kept for all.
    """

    def find(spec: Any, architecture: Any) -> Any:
        from echoexport.export.graphs.traces import find_trace, trace_key

        with locked(trace_folder / trace_key(spec, architecture)):
            return find_trace(spec, architecture, folder=trace_folder)

    return find


@pytest.fixture(scope="session")
def build_tiny(
    shared_folder: Path,
    tiny_checkpoint: Path,
    trace_folder: Path,
    trace_once: Callable[[Any, Any], Any],
) -> Callable[..., Path]:
    """A function that builds a bundle of the tiny checkpoint, each combination once in a test run.

    Read only.
    """

    @functools.cache
    def open_variant(variant: str) -> Any:
        from echoexport.export.checkpoint.reader import open_checkpoint

        return open_checkpoint(tiny_checkpoint, variant)

    def build(
        variant: str = "acc",
        *,
        frames: int = 12,
        precision: str = "fp32",
        size: tuple[int, int] = (128, 128),
        target: str = "cpu",
    ) -> Path:
        from echoexport.export.build.bundle import BuildSettings, build_bundle
        from echoexport.export.sizes import size_networks
        from echoexport.runtime.contract.families.echomimic_v1 import describe_networks
        from echoexport.targets.spec import load_target

        name = f"{variant}-{frames}-{precision}-{size[0]}x{size[1]}-{target}"
        folder = shared_folder / "bundles" / name
        with locked(folder):
            if not folder.exists():
                opened = open_variant(variant)
                sizes = size_networks(
                    opened.architecture, size=size, frames=frames, face=opened.variant.face
                )
                for spec in describe_networks(sizes, precision=precision).values():
                    trace_once(spec, opened.architecture)
                settings = BuildSettings(
                    variant, size, frames, precision, traces=trace_folder, check="none"
                )
                build_bundle(tiny_checkpoint, folder, target=load_target(target), settings=settings)
        return folder

    return build


@pytest.fixture
def make_null_bundle(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a small bundle by hand, for the null backend.

    Files of zeros and a valid manifest.
    """

    def make(
        name: str = "null-bundle", *, face: str = "mask", frames: int = 4, side: int = 32
    ) -> Path:
        return write_null_bundle(tmp_path / name, face=face, frames=frames, side=side)

    return make


@pytest.fixture
def null_bundle(make_null_bundle: Callable[..., Path]) -> Path:
    """A bundle for the null backend, to be used and spoilt at will."""
    return make_null_bundle()


def write_null_bundle(folder: Path, *, face: str, frames: int, side: int) -> Path:
    sizes = NetworkSizes(
        height=side,
        width=side,
        picture_channels=3,
        frames=frames,
        latent_channels=4,
        latent_height=side // 8,
        latent_width=side // 8,
        time_width=8,
        mels=80,
        audio_context=1500,
        audio_states=5,
        audio_tokens=50,
        audio_width=4,
        face_channels=1 if face == "mask" else 3,
        face_frames=1 if face == "mask" else frames,
        reference=(ReferenceTap("mid_block.attentions.0", 4, 8),),
    )
    (folder / "self-test").mkdir(parents=True)
    networks = {}
    files = {}
    for name, spec in describe_networks(sizes, precision="fp32").items():
        entry = NetworkEntry(
            f"{name}.onnx",
            f"{name}.bin",
            f"self-test/{name}.npz",
            "fp32",
            20,
            7,
            spec.inputs,
            spec.outputs,
            spec.tolerances,
        )
        (folder / entry.graph).write_text(f"graph of {name}")
        (folder / entry.weights).write_text(f"weights of {name}")
        zeros = {f"input.{t.name}": np.zeros(t.shape, t.dtype) for t in spec.inputs}
        zeros |= {f"output.{t.name}": np.zeros(t.shape, np.float32) for t in spec.outputs}
        np.savez(folder / entry.self_test, **zeros)  # type: ignore[arg-type]
        for file in (entry.graph, entry.weights, entry.self_test):
            files[file] = FileEntry(hash_file(folder / file), (folder / file).stat().st_size)
        networks[name] = entry
    clamp, shift = (1.5, 2) if face == "mask" else (None, 3)
    manifest = Manifest(
        format=FORMAT,
        schema=SCHEMA,
        variant="acc" if face == "mask" else "pose_acc",
        target="cpu",
        backends=("null",),
        precision="fp32",
        fps=24.0,
        face=face,
        picture=PictureSettings(side, side, 3, 4, 8),
        window=WindowSettings(frames, 1, shift),
        sampler=SamplerSettings(2, 1.0, clamp, SchedulerConfig()),
        audio=AudioSettings(16000, 80, 1500, 5, 4, 50, 10),
        networks=networks,
        files=files,
        provenance=Provenance("2026-01-01T00:00:00+00:00", "none", {}, {"echoexport": "0"}, {}, ()),
    )
    write_manifest(manifest, folder)
    return folder


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


@pytest.fixture
def compile_null(null_bundle: Path, tmp_path: Path) -> Callable[..., Any]:
    """A function that compiles the null bundle for the null backend.

    Its cache is the test's own.
    """
    from echoexport.export.compile.bundle import CompileSettings, compile_bundle

    def run(output: Path | None = None, *, bundle: Path = null_bundle, **settings: Any) -> Any:
        told: list[str] = []
        own = CompileSettings(**{"cache": tmp_path / "engines", **settings})
        report = compile_bundle(
            bundle, output, settings=own, report=lambda *_: None, warn=told.append
        )
        return report, told

    return run


@dataclass(frozen=True)
class Outcome:
    """What a command of ours left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> list[str]:
        """Lines on stderr, all but those of the progress."""
        progress = re.compile(r"(?!echoexport: ).* \d+/\d+")
        return [line for line in self.err.splitlines() if line and not progress.fullmatch(line)]


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Outcome]:
    """A function that runs ``echoexport ARGUMENTS`` within this process.

    Its cache folder is the test's own.
    """
    from echoexport.export.cli import main

    monkeypatch.setenv("ECHOEXPORT_CACHE", str(tmp_path / "own-cache"))

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as error:
            code = int(error.code or 0)
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def refusal(command: Callable[..., Outcome]) -> Callable[..., str]:
    """A function that runs a command which must fail as bad input does.

    It gives the command's one line on stderr.
    """

    def run(*arguments: object) -> str:
        outcome = command(*arguments)
        assert (outcome.code, outcome.out, len(outcome.told)) == (1, "", 1), outcome
        assert outcome.told[0].startswith("echoexport: error: "), outcome
        return outcome.told[0].removeprefix("echoexport: error: ")

    return run


@pytest.fixture
def start_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., subprocess.Popen[bytes]]:
    """A function that starts ``echoexport ARGUMENTS`` as a process.

    ``limit`` is the largest file it may write.
    """
    monkeypatch.setenv("ECHOEXPORT_CACHE", str(tmp_path / "own-cache"))
    program = (
        "import resource, sys\n"
        "if limit := int(sys.argv.pop(1)):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
        "from echoexport.export.cli import main\n"
        "main(sys.argv[1:])\n"
    )

    def start(*arguments: object, limit: int = 0, **options: Any) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-c", program, str(limit), *map(str, arguments)]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(line, **pipes)

    return start


@pytest.fixture
def make_voice(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a mono WAV of quiet seeded noise, 16 bits at 16 kHz."""

    def make(name: str = "voice.wav", *, seconds: float = 0.5) -> Path:
        noise = np.random.default_rng(0).integers(-3000, 3000, round(seconds * 16000)).astype("<i2")
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16000)
            file.writeframes(noise.tobytes())
        return tmp_path / name

    return make


@pytest.fixture
def voice_file(make_voice: Callable[..., Path]) -> Path:
    """Half a second of sound: 12 frames at 24 fps."""
    return make_voice()


@pytest.fixture
def portrait_file(tmp_path: Path) -> Path:
    """A picture of 96x96 pixels, another colour in each corner."""
    from PIL import Image

    ramp = np.linspace(0, 255, 96).astype(np.uint8)
    picture = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(128)), axis=-1)
    Image.fromarray(np.ascontiguousarray(picture)).save(tmp_path / "portrait.png")
    return tmp_path / "portrait.png"
