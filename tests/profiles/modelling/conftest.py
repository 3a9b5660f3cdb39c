"""Full-size networks as a benchmark recorded them, and ways to run them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from echoexport.profiles.modelling.demand import (
    DENOISER,
)
from echoexport.profiles.modelling.pace import (
    Case,
)
from echoexport.profiles.modelling.roofline import (
    Roof,
    Roofline,
    find_roof,
)
from echoexport.runtime.contract.manifest import Manifest, WindowSettings, read_manifest
from echoexport.runtime.contract.network_work import NetworkWork, Work
from echoexport.runtime.sampling.sampler import SamplingSettings
from echoexport.targets.spec import load_target

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def read_work(figures: dict[str, Any], *, frames: int) -> NetworkWork:
    """A full-size network as the benchmark recorded it; fp16."""
    attention = round(figures["attention_gflop"] * frames * 1e9)
    total, weighted = (round(figures[key] * frames * 1e9) for key in ("gflop", "weighted_gflop"))
    fused = round(figures["fused_gb"] * 1e9)
    return NetworkWork(
        {
            "mid/self-attention": Work(mac_flops=attention),
            "other": Work(
                mac_flops=total - attention,
                weighted_flops=weighted,
                weight_bytes=round(figures["weights_gb"] * 1e9),
                kernels=figures["kernels"],
                fused_bytes=fused,
            ),
        }
    )


@pytest.fixture
def full_size(null_bundle: Path) -> Callable[[int], Manifest]:
    """A function that gives the manifest of a full-size fp16 bundle, with recorded works."""
    recorded = json.loads((RESULTS / "work_full_size.json").read_text())["pixels"]

    def make(side: int) -> Manifest:
        plain = read_manifest(null_bundle)
        entries = {}
        for name, entry in plain.networks.items():
            work = read_work(recorded[str(side)][name], frames=12 if name == DENOISER else 1)
            half = tuple(replace(tensor, dtype="float16") for tensor in entry.inputs)
            parameters = work.total.weight_bytes // 2
            entries[name] = replace(
                entry, work=work, precision="fp16", inputs=half, parameters=parameters
            )
        picture = replace(plain.picture, width=side, height=side)
        return replace(
            plain,
            picture=picture,
            window=WindowSettings(12, 3, 0),
            networks=entries,
            precision="fp16",
        )

    return make


@pytest.fixture
def make_case() -> Callable[..., Case]:
    """A function that gives a way to run a bundle, at 25 frames a second."""

    def run(manifest: Manifest, *, steps: int = 6, overlap: int = 3, mode: str = "fp16") -> Case:
        works = {
            name: entry.work for name, entry in manifest.networks.items() if entry.work is not None
        }
        return Case(manifest, works, SamplingSettings(steps, 1.0, overlap), 25.0, mode)

    return run


@pytest.fixture
def case(full_size: Callable[[int], Manifest], make_case: Callable[..., Case]) -> Case:
    """512 px, 6 steps, windows of 12 that share 3, 25 frames a second, fp16."""
    return make_case(full_size(512))


@pytest.fixture
def roof_of() -> Callable[[str], Roof]:
    """A function that gives the roof of a target's data sheet."""
    return lambda name: find_roof(load_target(name))


@pytest.fixture
def unknown_roof() -> Roof:
    """The roof of a device that nobody tested."""
    return Roof(None, None, reason="not tested")


@pytest.fixture
def empty_roofline(unknown_roof: Roof) -> Roofline:
    """A roofline without a network."""
    return Roofline(unknown_roof, unknown_roof, (), ())
