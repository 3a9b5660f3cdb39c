"""Policies: read strictly, one for each kind of target, and what they make of a graph's layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from echoexport.calibration.choosing.policy import (
    LayerRule,
    NetworkPolicy,
    Policy,
    load_policy,
    plan_layers,
    read_policy,
)
from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.plan import LAYER_MODES
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.errors import TargetError, UnknownNameError
from echoexport.targets.spec import TARGET_KINDS

OWN = Path(__file__).parents[3] / "calibration" / "data" / "cpu.yaml"
NAMES = (
    "conv_in",
    "down_blocks.0.resnets.0.conv2",
    "down_blocks.0.resnets.0.conv_shortcut",
    "conv_out",
)


def make_graph(
    folder: Path, network: str = "denoising_unet", element: int = TensorProto.FLOAT
) -> FloatGraph:
    """A chain of convolutions, the third past the second, and a linear at its end."""
    dtype = helper.tensor_dtype_to_np_dtype(element)
    sides = [1, 4, 4, 4]
    pads = [1, 1, 1, 1]
    weights = [
        numpy_helper.from_array(np.ones((4, 4, 3, 3), dtype), f"{name}.weight") for name in NAMES
    ]
    weights.append(
        numpy_helper.from_array(np.ones((4, 4), dtype), "time_embedding.linear_1.weight")
    )
    a, b, c, d, last = [tensor.name for tensor in weights]
    nodes = [
        helper.make_node("Conv", ["x", a], ["first"], name="1", pads=pads),
        helper.make_node("Conv", ["first", b], ["second"], name="2", pads=pads),
        helper.make_node("Conv", ["first", c], ["past"], name="3", pads=pads),
        helper.make_node("Add", ["past", "second"], ["sum"], name="residual"),
        helper.make_node("Conv", ["sum", d], ["third"], name="4", pads=pads),
        helper.make_node("MatMul", ["third", last], ["y"], name="5"),
    ]
    ends = [helper.make_tensor_value_info(name, element, sides) for name in ("x", "y")]
    graph = helper.make_graph(nodes, network, ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save_model(model, folder / f"{network}.onnx")
    return FloatGraph(folder / f"{network}.onnx")


@pytest.mark.parametrize("kind", TARGET_KINDS)
def test_every_kind_of_target_has_a_policy_for_every_network(kind: str) -> None:
    policy = load_policy(kind, family=FAMILY)
    assert (policy.kind, tuple(policy.networks)) == (kind, FAMILY.required)
    for network in policy.networks.values():
        assert set(network.operators.values()) | {rule.mode for rule in network.layers} <= set(
            LAYER_MODES
        )


@pytest.mark.parametrize("kind", TARGET_KINDS)
def test_the_ends_the_timestep_and_the_shortcuts_of_the_denoiser_compute_in_float(
    tmp_path: Path, kind: str
) -> None:
    plan = plan_layers(make_graph(tmp_path), load_policy(kind, family=FAMILY), lambda value: 2.5)
    modes = {name: layer.mode for name, layer in plan.layers.items()}
    inner = "down_blocks.0.resnets.0.conv2"
    assert {name for name, mode in modes.items() if mode == "int8"} == {inner}
    assert (plan.precision, plan.layers[inner].amax, plan.layers[inner].reason) == ("int8", 2.5, "")
    assert plan.layers["conv_in"].amax is None
    assert plan.layers["time_embedding.linear_1"].reason.startswith("policy: time_embedding*: ")


@pytest.mark.parametrize("kind", ["jetson", "gpu"])
def test_the_vae_stays_float_on_a_gpu(tmp_path: Path, kind: str) -> None:
    for element, precision in ((TensorProto.FLOAT, "fp32"), (TensorProto.FLOAT16, "fp16")):
        plan = plan_layers(
            make_graph(tmp_path, "vae_decoder", element),
            load_policy(kind, family=FAMILY),
            lambda value: 1.0,
        )
        assert {layer.mode for layer in plan.layers.values()} == {"float"}
        assert plan.precision == precision


def test_ranges_are_asked_for_int8_layers_only(tmp_path: Path) -> None:
    asked: list[str] = []
    plan_layers(
        make_graph(tmp_path),
        load_policy("cpu", family=FAMILY),
        lambda value: asked.append(value) or 1.0,
    )  # type: ignore[func-returns-value]
    assert asked == ["first"]


def test_with_skips_the_range_of_what_passes_a_layer_is_planned(tmp_path: Path) -> None:
    rules = (LayerRule("conv_in", "float", "because"),)
    policy = Policy(
        "gpu",
        {"denoising_unet": NetworkPolicy({"Conv": "int8", "MatMul": "weights"}, rules, skips=True)},
    )
    plan = plan_layers(
        make_graph(tmp_path),
        policy,
        {"first": 1.0, "sum": 2.0, "past": 3.0, "second": 4.0}.__getitem__,
    )
    assert plan.skips == {"second": 4.0}
    assert plan.layers["conv_in"].reason == "policy: conv_in: because"
    assert plan.layers["time_embedding.linear_1"].mode == "weights"


def test_the_first_rule_that_matches_decides(tmp_path: Path) -> None:
    rules = (LayerRule("*.conv2", "float", "one"), LayerRule("down_blocks.*", "int8", "two"))
    policy = NetworkPolicy({"Conv": "weights", "MatMul": "float"}, rules)
    layers = make_graph(tmp_path).layers
    assert [policy.choose(layers[name]).mode for name in NAMES] == [
        "weights",
        "float",
        "int8",
        "weights",
    ]


def test_an_unknown_kind_or_network_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        UnknownNameError, match="unknown kind of target 'npu'; known: cpu, gpu, jetson"
    ):
        load_policy("npu", family=FAMILY)
    with pytest.raises(UnknownNameError, match="unknown network 'denoiser_unet'"):
        plan_layers(
            make_graph(tmp_path, "denoiser_unet"),
            load_policy("cpu", family=FAMILY),
            lambda value: 1.0,
        )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("networks:", "nets:", "networks is missing"),
        ("  reference_unet:", "  reference_net:", "networks.reference_unet is missing"),
        ("networks:", "more: 1\nnetworks:", "more is an unknown key"),
        ("skips: false", "skips: maybe", "skips must be true or false, not 'maybe'"),
        ("skips: false", "skips: false\n    bits: 4", "bits is an unknown key"),
        (
            "{Conv: int8",
            "{Conv: int4",
            "operators.Conv must be one of int8, weights, float, not 'int4'",
        ),
        ("{Conv: int8, ", "{", "operators.Conv is missing"),
        ("{Conv: int8, ", "{Gemm: int8, Conv: int8, ", "operators.Gemm is an unknown key"),
        ("mode: weights", "mode: fp8", "mode must be one of int8, weights, float, not 'fp8'"),
        ('"conv_in", ', '"conv_in", axis: 0, ', "axis is an unknown key"),
        ("networks:", "networks: {", "cpu.yaml"),
    ],
)
def test_a_policy_file_is_read_strictly(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "cpu.yaml"
    text = OWN.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(TargetError) as caught:
        read_policy(path, kind="cpu", family=FAMILY)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_policy_file_of_ones_own_is_read_as_ours(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(OWN.read_bytes())
    assert read_policy(tmp_path / "mine.yaml", kind="cpu", family=FAMILY) == load_policy(
        "cpu", family=FAMILY
    )
    with pytest.raises(TargetError, match=r"other\.yaml: cannot be read: No such file"):
        read_policy(tmp_path / "other.yaml", kind="cpu", family=FAMILY)
