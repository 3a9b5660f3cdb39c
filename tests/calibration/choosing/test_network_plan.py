"""A network's whole plan.

Ranges of all that the policy quantizes, residual paths among it where it says so.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from echoexport.calibration.choosing.network_plan import QuantizerSettings, plan_network
from echoexport.calibration.choosing.policy import NetworkPolicy, Policy
from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.observing.ranges import RangeSettings
from echoexport.calibration.sample import Sample

pytest.importorskip("onnxruntime")

SHAPE = (1, 6, 4)


@pytest.fixture
def graph(tmp_path: Path) -> FloatGraph:
    """A linear layer, and an Add that takes its input past it."""
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Tanh", ["x"], ["kept"], name="tanh"),
        helper.make_node("Mul", ["kept", "three"], ["read"], name="scale"),
        helper.make_node("MatMul", ["read", "linear.weight"], ["out"], name="linear"),
        helper.make_node("Add", ["out", "kept"], ["y"], name="residual"),
    ]
    infos = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE)
        for name in ("x", "kept", "read", "out", "y")
    }
    body = helper.make_graph(
        nodes,
        "denoising_unet",
        [infos["x"]],
        [infos["y"]],
        [
            numpy_helper.from_array(weight, "linear.weight"),
            numpy_helper.from_array(np.array(3, np.float32), "three"),
        ],
        value_info=[infos["kept"], infos["read"], infos["out"]],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (tmp_path / "denoising_unet.onnx").write_bytes(model.SerializeToString())
    return FloatGraph(tmp_path / "denoising_unet.onnx")


def make_samples() -> list[Sample]:
    values = np.random.default_rng(1).uniform(-0.5, 0.5, SHAPE).astype(np.float32)
    return [Sample("denoising_unet", {"x": values}, "a.png", "b.wav", step=0, steps=1)]


def make_policy(*, skips: bool) -> Policy:
    return Policy(
        "gpu", {"denoising_unet": NetworkPolicy({"Conv": "int8", "MatMul": "int8"}, (), skips)}
    )


SETTINGS = QuantizerSettings(ranges=RangeSettings(method="minmax", combine="max"), smooth=False)


def test_ranges_are_those_of_what_int8_layers_read(graph: FloatGraph) -> None:
    plan = plan_network(graph, make_samples, policy=make_policy(skips=False), settings=SETTINGS)
    reached = float(np.abs(np.tanh(make_samples()[0].inputs["x"])).max())
    assert plan.layers["linear"].amax == pytest.approx(3 * reached, rel=1e-5)
    assert plan.skips == {}


def test_a_policy_with_skips_gets_the_range_of_what_passes_a_layer(graph: FloatGraph) -> None:
    plan = plan_network(graph, make_samples, policy=make_policy(skips=True), settings=SETTINGS)
    reached = float(np.abs(np.tanh(make_samples()[0].inputs["x"])).max())
    assert plan.skips == {"kept": pytest.approx(reached, rel=1e-5)}
    without = plan_network(graph, make_samples, policy=make_policy(skips=False), settings=SETTINGS)
    assert replace(plan, skips={}) == without
