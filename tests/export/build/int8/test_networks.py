"""int8 networks with fp16 around, written as their plan says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from echoexport.calibration.plan import QuantizationPlan, read_plan, write_plan
from echoexport.export.build.int8.networks import write_networks
from echoexport.export.build.int8.planning import plan_networks
from echoexport.export.build.job import open_job
from echoexport.export.build.settings import BuildSettings
from echoexport.export.build.sources import float_bundles, found_set
from echoexport.runtime.contract.manifest import Manifest
from echoexport.runtime.errors import CalibrationError
from echoexport.targets.spec import load_target

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow

GPU = load_target("a10")
Build = Callable[..., Manifest]


@pytest.fixture(scope="module")
def quantize(planted: Path, planted_settings: BuildSettings) -> Callable[..., QuantizationPlan]:
    """A function that writes int8 networks with fp16 around into a folder, and their plan."""

    def run(folder: Path, **changes: Any) -> QuantizationPlan:
        settings = replace(planted_settings, precision="int8", quality=0.5, **changes)
        job = open_job(planted, target=GPU, settings=settings, report=silent)
        with float_bundles(job, near=folder / "bundle") as floats, found_set(floats, job) as found:
            plan = plan_networks(floats, found, job=job).plan
            write_networks(floats, folder / "networks", plan=plan, recorded=found, report=silent)
        write_plan(plan, folder / "plan.json")
        return plan

    return run


def silent(what: str, done: int, total: int) -> None:
    """A report that nobody reads."""


@pytest.fixture(scope="module")
def small(
    quantize: Callable[..., QuantizationPlan],
    planted_set: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The denoiser in int8 for a GPU: its graph, and the plan beside it."""
    folder = tmp_path_factory.mktemp("small")
    quantize(folder, calibration=planted_set)
    return folder


def test_layers_of_an_int8_network_that_overflow_fp16_stay_float(small: Path) -> None:
    plan = read_plan(small / "plan.json").networks["denoising_unet"]
    layer = plan.layers["mid_block.resnets.0.conv1"]
    assert layer.mode == "float"
    assert layer.reason.startswith("overflow: range of ")
    assert plan.precision == "int8"
    assert sum(one.mode == "int8" for one in plan.layers.values()) > 10


def test_an_int8_network_with_islands_parses_and_builds(small: Path) -> None:
    from echoexport.export.engines.tensorrt_rtx import check_network, is_installed

    graph = small / "networks" / "denoising_unet.onnx"
    model = onnx.load(graph, load_external_data=False)
    kinds = {node.op_type for node in model.graph.node}
    assert {"Cast", "QuantizeLinear", "DequantizeLinear"} <= kinds
    if not is_installed():
        pytest.skip("TensorRT-RTX is not installed")
    assert check_network(graph).engine_bytes > 0


def test_a_plan_that_makes_a_node_in_fp32_int8_is_refused(
    quantize: Callable[..., QuantizationPlan], planted_set: Path, small: Path, tmp_path: Path
) -> None:
    plan = read_plan(small / "plan.json")
    denoiser = plan.networks["denoising_unet"]
    name = "mid_block.resnets.0.conv1"
    layers = {**denoiser.layers, name: replace(denoiser.layers[name], mode="int8", amax=1.0)}
    edited = replace(
        plan, networks={**plan.networks, "denoising_unet": replace(denoiser, layers=layers)}
    )
    write_plan(edited, tmp_path / "edited.json")
    with pytest.raises(
        CalibrationError, match=rf"layer {name}: mode 'int8', but its node .* among float32_nodes"
    ):
        quantize(tmp_path, calibration=planted_set, plan=tmp_path / "edited.json")
