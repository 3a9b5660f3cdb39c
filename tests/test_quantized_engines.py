"""The demo character's networks in int8, as every engine sees them.

One file that three of them take alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoexport.calibration.choosing.policy import NetworkPolicy, Policy, load_policy, plan_layers
from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.graphs.qdq_graph import find_skips
from echoexport.calibration.graphs.quantize import quantize_network
from echoexport.calibration.lint.graph_lint import require_clean
from echoexport.calibration.observing.ranges import ActivationRanges, RangeSettings, collect_ranges
from echoexport.calibration.plan import LayerPlan, NetworkPlan
from echoexport.calibration.sample import Sample
from echoexport.export.build.bundle import build_bundle
from echoexport.export.build.settings import BuildSettings
from echoexport.export.demo.assets import CHARACTER_SIZE, builtin_checkpoint
from echoexport.export.engines import EngineSettings, load_builder
from echoexport.export.engines.tensorrt_rtx import check_network, is_installed
from echoexport.runtime.backends import load_backend
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.protocol import EngineOptions
from echoexport.targets.spec import TARGET_KINDS, load_target

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")
pytestmark = pytest.mark.slow

AGREEMENT = 0.05
"""Relative L2 distance of two engines' outputs of one int8 file; with every layer in
int8, which no policy asks for, the denoiser and the VAE decoder are at 0.054 on these
random inputs."""

Write = Callable[[str, str], tuple[Path, SubnetSpec]]


@pytest.fixture(scope="module")
def character(tmp_path_factory: pytest.TempPathFactory, trace_folder: Path) -> Path:
    """The built-in character in fp32."""
    folder = tmp_path_factory.mktemp("character") / "bundle"
    settings = BuildSettings(size=CHARACTER_SIZE, traces=trace_folder, check="none")
    build_bundle(builtin_checkpoint(), folder, target=load_target("cpu"), settings=settings)
    return folder


@pytest.fixture(scope="module")
def write(character: Path, tmp_path_factory: pytest.TempPathFactory) -> Write:
    """A function that writes a network in int8.

    It takes a network and "all", "skips" or a kind of target.
    """
    manifest = read_manifest(character)
    done: dict[tuple[str, str], Path] = {}
    ranges: dict[str, ActivationRanges] = {}

    def make(name: str, way: str) -> tuple[Path, SubnetSpec]:
        spec = manifest.networks[name].describe(name)
        if (name, way) not in done:
            graph = FloatGraph(character / manifest.networks[name].graph)
            if name not in ranges:
                ranges[name] = measure_ranges(graph, read_inputs(character, name))
            path = tmp_path_factory.mktemp(way) / f"{name}.onnx"
            quantize_network(graph, make_plan(graph, way, ranges[name]), path)
            done[name, way] = path
        return done[name, way], replace(spec, precision="int8")

    return make


def read_inputs(folder: Path, name: str) -> dict[str, np.ndarray]:
    """Of the network's self-test."""
    with np.load(folder / "self-test" / f"{name}.npz") as arrays:
        return {
            key.removeprefix("input."): arrays[key]
            for key in arrays.files
            if key.startswith("input.")
        }


def measure_ranges(graph: FloatGraph, inputs: dict[str, np.ndarray]) -> ActivationRanges:
    """Of what layers read, and of what residual Adds take past them."""
    values = {layer.value for layer in graph.layers.values()}
    values |= {skip.value for skip in find_skips(graph, frozenset(graph.layers))}
    sample = Sample(graph.name, inputs, "self-test", "self-test")
    return collect_ranges(
        graph, lambda: [sample], settings=RangeSettings(values=tuple(sorted(values)))
    )


def make_plan(graph: FloatGraph, way: str, ranges: ActivationRanges) -> NetworkPlan:
    if way == "all":
        layers = {
            name: LayerPlan("int8", ranges.amax(layer.value))
            for name, layer in graph.layers.items()
        }
        return NetworkPlan("int8", layers)
    if way == "skips":
        network = NetworkPolicy({"Conv": "int8", "MatMul": "int8"}, skips=True)
        return plan_layers(graph, Policy("gpu", {graph.name: network}), ranges.amax)
    return plan_layers(graph, load_policy(way, family=FAMILY), ranges.amax)


def run(backend: str, path: Path, spec: SubnetSpec, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """All outputs as one row."""
    engine: Any = load_backend(backend).open(path, spec, EngineOptions())
    try:
        outputs = engine(inputs)
        return np.concatenate([np.asarray(outputs[name]).ravel() for name in sorted(outputs)])
    finally:
        engine.close()


def distance(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("network", FAMILY.required)
@pytest.mark.parametrize("way", TARGET_KINDS)
def test_onnx_runtime_and_openvino_agree_on_one_int8_file(
    write: Write, character: Path, network: str, way: str
) -> None:
    path, spec = write(network, way)
    require_clean(FloatGraph(path).model, spec)
    inputs = read_inputs(character, network)
    found = {backend: run(backend, path, spec, inputs) for backend in ("ort", "openvino")}
    assert distance(found["openvino"], found["ort"]) <= AGREEMENT
    wanted = run("ort", character / f"{network}.onnx", spec, inputs)
    assert distance(found["ort"], wanted) <= 0.25


@pytest.mark.parametrize("backend", ["ort", "openvino"])
@pytest.mark.parametrize("network", ["audio_encoder", "vae_encoder"])
def test_an_int8_engine_that_is_kept_computes_as_its_graph_does(
    write: Write, character: Path, network: str, backend: str, tmp_path: Path
) -> None:
    path, spec = write(network, "cpu")
    compiling = load_backend(backend)
    assert compiling is not None
    output = tmp_path / f"{network}{compiling.engine_suffix}"
    load_builder(backend).build_engine(
        path, spec, output, settings=EngineSettings(), report=lambda _: None
    )
    inputs = read_inputs(character, network)
    engine = compiling.open_engine(output, spec, EngineOptions())
    found = engine(inputs)
    engine.close()
    assert engine.precision == "int8"
    kept = np.concatenate([np.asarray(found[name]).ravel() for name in sorted(found)])
    assert distance(kept, run(backend, path, spec, inputs)) <= 1e-5


@pytest.mark.skipif(not is_installed(), reason="TensorRT-RTX is not installed")
@pytest.mark.parametrize("network", FAMILY.required)
@pytest.mark.parametrize("way", ["all", "gpu", "jetson"])
def test_tensorrt_rtx_parses_and_builds_every_int8_network(
    write: Write, network: str, way: str
) -> None:
    path, _ = write(network, way)
    assert check_network(path).engine_bytes > 0


@pytest.mark.skipif(not is_installed(), reason="TensorRT-RTX is not installed")
def test_tensorrt_rtx_builds_the_denoiser_with_quantized_skips(
    write: Write, character: Path
) -> None:
    path, spec = write("denoising_unet", "skips")
    require_clean(FloatGraph(path).model, spec)
    assert check_network(path).engine_bytes > 0
    inputs = read_inputs(character, "denoising_unet")
    wanted = run("ort", character / "denoising_unet.onnx", spec, inputs)
    assert distance(run("ort", path, spec, inputs), wanted) <= 0.25


def test_the_denoiser_is_mostly_int8_and_the_character_a_third_of_its_size(
    write: Write, character: Path, tmp_path: Path
) -> None:
    small = float32 = 0
    for network in FAMILY.required:
        path, _ = write(network, "cpu")
        small += sum(file.stat().st_size for file in (path, path.with_suffix(".bin")))
        float32 += sum(
            (character / f"{network}{suffix}").stat().st_size for suffix in (".onnx", ".bin")
        )
    assert small <= 0.35 * float32
    graph = FloatGraph(character / "denoising_unet.onnx")
    files = quantize_network(
        graph,
        plan_layers(graph, load_policy("cpu", family=FAMILY), lambda value: 1.0),
        tmp_path / "denoising_unet.onnx",
    )
    assert files.int8_share >= 0.85
