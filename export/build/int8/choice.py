"""What each network of an int8 bundle is stored and computed in, and the way back towards fp32."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echoexport.export.build.int8.candidates import (
    Candidate,
    choose_fastest,
    measure_candidates,
)
from echoexport.export.build.settings import BuildSettings
from echoexport.profiles.measuring.latency import read_self_test_inputs
from echoexport.profiles.quality.report import NetworkQuality, QualityReport
from echoexport.runtime.backends import load_backend
from echoexport.runtime.bundle.opened import open_bundle
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.runtime.errors import QualityError
from echoexport.runtime.progress import Progress

MOST_DISAGREEMENT = 0.05
"""Relative L2 distance of two engines' outputs of one int8 network."""


@dataclass(frozen=True)
class Choice:
    """What a network will be."""

    precision: str
    compute: str


FLOAT = Choice("fp32", "fp32")
INT8 = Choice("int8", "fp32")


def find_disagreements(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The int8 networks that must stay float, and why: engines read their graphs differently."""
    return {
        name: f"ONNX Runtime and OpenVINO differ by {distance:.3f} (relative L2) on it"
        for name, distance in measure_disagreement(folder, tuple(names)).items()
        if not distance <= MOST_DISAGREEMENT  # NaN too
    }


def measure_disagreement(folder: Path, names: Sequence[str]) -> dict[str, float]:
    """Relative L2 distance between ONNX Runtime's and OpenVINO's outputs of each network.

    The inputs are those of its self-test. Nothing where one of the engines is missing.
    """
    engines = ("ort", "openvino")
    if any(load_backend(name).unavailable() is not None for name in engines):
        return {}
    found = {}
    exact = EngineOptions(compute="fp32")
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(open_bundle(folder, backend=name, options=exact))
            for name in engines
        )
        for name in names:
            inputs = read_self_test_inputs(one, name)
            outputs = [bundle.network(name)(inputs) for bundle in (one, other)]
            for bundle in (one, other):
                bundle.close_network(name)
            found[name] = max(
                _distance(outputs[1][key], value) for key, value in outputs[0].items()
            )
    return found


def _distance(found: np.ndarray, wanted: np.ndarray) -> float:
    error = float(np.linalg.norm((found.astype(np.float64) - wanted).ravel()))
    return error / (float(np.linalg.norm(wanted.astype(np.float64).ravel())) or 1.0)


def measure_networks(
    folders: Mapping[str, Path], names: Sequence[str], *, report: Progress
) -> list[Candidate]:
    """Every way to run each network on this machine, judged by its time.

    Args:
        folders: a bundle of each precision, "int8" among them.
        names: the networks.
        report: is told which network is measured.
    """
    with open_bundle(folders["int8"]) as opened:
        backend = opened.backend
    computes = [name for name in ("fp32", "bf16") if name in backend.arithmetic()]
    candidates: list[Candidate] = []
    for index, name in enumerate(names):
        report(f"{name}: measuring candidates", index, len(names))
        found = measure_candidates(folders, name, backend=backend.name, computes=computes)
        candidates += choose_fastest(found)
    return candidates


def take_chosen(candidates: Iterable[Candidate]) -> dict[str, Choice]:
    """What each network will be by its candidates' verdicts."""
    return {
        one.network: Choice(one.precision, one.compute)
        for one in candidates
        if one.verdict.startswith("chosen")
    }


def find_worst(
    choices: Mapping[str, Choice], quality: QualityReport, *, settings: BuildSettings
) -> NetworkQuality:
    """The network that is furthest from fp32 of those that can go back towards it.

    Raises:
        QualityError: it is the denoiser's int8 that was asked for, or all is fp32
            already.
    """
    worst = min(
        (one for one in quality.networks if choices.get(one.name, FLOAT) != FLOAT),
        key=lambda one: one.closeness.snr,
        default=None,
    )
    if worst is None or (worst.name == "denoising_unet" and settings.precision == "int8"):
        raise QualityError(
            f"quality {settings.quality:g} dB cannot be kept in int8: {'; '.join(quality.misses)}; "
            f"best found {quality.headline.psnr:.1f} dB; ask for less (--quality) or for fp16"
        )
    return worst


def step_back(choice: Choice, *, settings: BuildSettings) -> Choice | None:
    """One step towards fp32: faster arithmetic goes first, then int8.

    None leaves the network as the build makes it in float.
    """
    if choice.compute != "fp32":
        return Choice(choice.precision, "fp32")
    return None if settings.precision == "int8" else FLOAT
