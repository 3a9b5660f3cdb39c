"""Checkpoints of the smallest networks, their bundles and sets: what the tests of builds share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from echoexport.calibration.recording.recording import RecordingSettings, record_set
from echoexport.export.architecture import Architecture
from echoexport.export.build.bundle import build_bundle
from echoexport.export.build.settings import BuildSettings
from echoexport.export.build.sources import FloatBundles
from echoexport.export.demo import calibration_inputs
from echoexport.export.demo.calibration_inputs import builtin_recording_inputs
from echoexport.export.subnets.random_checkpoint import write_random_checkpoint
from echoexport.runtime.contract.manifest import Manifest
from echoexport.targets.spec import load_target

MICRO = {"size": (16, 16), "frames": 4}
CPU = load_target("cpu")
GPU = load_target("a10")

Build = Callable[..., Manifest]


@pytest.fixture
def checkpoint(draft: Any) -> Path:
    """A checkpoint of very small networks: the whole build takes seconds, traces included."""
    return Path(draft.write())


@pytest.fixture
def build() -> Callable[..., Manifest]:
    """A function that builds a checkpoint for a CPU, in small if nothing else is asked for."""

    def run(
        checkpoint: Path,
        output: Path,
        *,
        report: Callable[[str, int, int], None] | None = None,
        **settings: Any,
    ) -> Manifest:
        chosen = BuildSettings(**{**MICRO, **settings})
        return build_bundle(
            checkpoint, output, target=load_target("cpu"), settings=chosen, report=report
        )

    return run


def grow(path: Path, *keys: str) -> None:
    """Make these tensors as large as fp16 lets them be, all by the same factor.

    A norm behind them takes it back.
    """
    tables = torch.load(path, weights_only=True)
    factor = 60_000 / max(float(tables[key].abs().max()) for key in keys)
    for key in keys:
        tables[key] = tables[key] * factor
    torch.save(tables, path)


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory, micro: Architecture) -> Path:
    """A micro checkpoint: a convolution of decoder and denoiser each leaves fp16's range."""
    folder = write_random_checkpoint(
        tmp_path_factory.mktemp("planted") / "weights", architecture=micro
    )
    stem = "mid_block.resnets.0"
    grow(
        folder / "sd-vae-ft-mse" / "diffusion_pytorch_model.bin",
        *(f"decoder.{stem}.conv1.{kind}" for kind in ("weight", "bias")),
    )
    parts = [
        f"{stem}.{part}.{kind}"
        for part in ("conv1", "time_emb_proj")
        for kind in ("weight", "bias")
    ]
    grow(folder / "denoising_unet_acc.pth", *parts)
    return folder


@pytest.fixture(scope="session")
def planted_settings(trace_folder: Path) -> BuildSettings:
    """How the planted checkpoint is built where a test does not say."""
    return BuildSettings(
        size=(16, 16), frames=4, steps=2, precision="fp16", traces=trace_folder, check="none"
    )


@pytest.fixture(scope="session")
def build_planted(planted: Path, planted_settings: BuildSettings) -> Build:
    """A function that builds the planted checkpoint for a GPU."""

    def run(output: Path, **changes: Any) -> Manifest:
        return build_bundle(
            planted, output, target=GPU, settings=replace(planted_settings, **changes)
        )

    return run


@pytest.fixture(scope="session")
def planted_set(build_planted: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small set of it."""
    folder = tmp_path_factory.mktemp("recorded")
    build_planted(folder / "fp32", precision="fp32")
    sampling = RecordingSettings(samples=4, steps=2, seconds=0.5)
    record_set(folder / "fp32", builtin_recording_inputs(2), folder / "set", settings=sampling)
    return folder / "set"


@pytest.fixture(scope="session")
def micro_settings(trace_folder: Path) -> BuildSettings:
    """What the smallest networks are quantized with."""
    return BuildSettings(
        size=(16, 16),
        frames=4,
        steps=2,
        precision="int8",
        quality=0.5,
        traces=trace_folder,
        check="none",
        sensitivity=True,
    )


@pytest.fixture(scope="session")
def micro_floats(
    tmp_path_factory: pytest.TempPathFactory, micro: Architecture, micro_settings: BuildSettings
) -> FloatBundles:
    """The smallest networks in fp32, and a set of them beside these."""
    folder = tmp_path_factory.mktemp("micro")
    checkpoint = write_random_checkpoint(folder / "weights", architecture=micro)
    plain = replace(micro_settings, precision="fp32", sensitivity=False)
    manifest = build_bundle(checkpoint, folder / "fp32", target=CPU, settings=plain)
    inputs = calibration_inputs.builtin_recording_inputs(2)
    record_set(
        folder / "fp32",
        inputs,
        folder / "set",
        settings=RecordingSettings(samples=4, steps=2, seconds=0.5),
    )
    return FloatBundles(folder / "fp32", folder / "fp32", manifest)
