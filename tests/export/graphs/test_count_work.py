"""The work of a network: counted from the graph alone, and the same as others count."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch.utils.flop_counter import FlopCounterMode

from echoexport.export.architecture import Architecture
from echoexport.export.graphs.count_work import count_work
from echoexport.export.sizes import size_networks
from echoexport.export.subnets.networks import build_network
from echoexport.profiles.modelling.module_groups import find_group, split_group
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY, describe_networks
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.network_work import Work
from echoexport.runtime.errors import GraphError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

# 2 x MAC in GFLOP at 256 and 512 px, counted by hand from the original's shapes: the
# denoiser's per frame and step, the audio encoder's for 30 s. The reference UNet's is
# of the whole network.
TABLE = {
    "denoising_unet": (262, 1228),
    "reference_unet": (170, 771),
    "vae_decoder": (622, 2515),
    "vae_encoder": (273, 1117),
    "landmark_encoder": (3.6, 14.6),
    "audio_encoder": (37, 37),
}


def make_model(
    nodes: list[onnx.NodeProto],
    *,
    shape: tuple[int, ...],
    out: tuple[int, ...] | None = None,
    weights: dict[str, np.ndarray] | None = None,
) -> onnx.ModelProto:
    """A graph that reads "x" and gives "y"; shapes in between are left for the counter to find."""
    constants = [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def zeros(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.zeros(shape, dtype)


def count_taps(size: int, *, kernel: int, stride: int, padding: int) -> int:
    """Outputs of a convolution along one side, by walking it."""
    return len(range(0, size + 2 * padding - kernel + 1, stride))


@given(
    groups=st.integers(1, 3),
    inward=st.integers(1, 3),
    outward=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 1),
    height=st.integers(3, 7),
    width=st.integers(3, 7),
)
@settings(max_examples=40, deadline=None)
def test_a_convolution_counts_every_tap(
    groups: int,
    inward: int,
    outward: int,
    kernel: int,
    stride: int,
    padding: int,
    height: int,
    width: int,
) -> None:
    weight = zeros(groups * outward, inward, kernel, kernel)
    node = helper.make_node(
        "Conv",
        ["x", "w"],
        ["y"],
        group=groups,
        strides=[stride] * 2,
        pads=[padding] * 4,
        kernel_shape=[kernel] * 2,
    )
    sides = [
        count_taps(side, kernel=kernel, stride=stride, padding=padding) for side in (height, width)
    ]
    model = make_model(
        [node],
        shape=(2, groups * inward, height, width),
        out=(2, groups * outward, *sides),
        weights={"w": weight},
    )
    expected = 2 * 2 * groups * outward * math.prod(sides) * inward * kernel**2
    work = count_work(model).total
    assert (work.mac_flops, work.weighted_flops, work.weight_bytes) == (
        expected,
        expected,
        weight.nbytes,
    )


def test_a_transposed_convolution_spreads_every_input() -> None:
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], kernel_shape=[2, 2])
    model = make_model(
        [node], shape=(1, 3, 4, 5), out=(1, 6, 8, 10), weights={"w": zeros(3, 6, 2, 2)}
    )
    assert count_work(model).total.mac_flops == 2 * (3 * 4 * 5) * (6 * 2 * 2)


@given(
    batch=st.integers(1, 3),
    rows=st.integers(1, 5),
    inner=st.integers(1, 5),
    columns=st.integers(1, 5),
)
@settings(max_examples=25, deadline=None)
def test_matrix_products_count_alike_however_they_are_written(
    batch: int, rows: int, inner: int, columns: int
) -> None:
    product = make_model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        shape=(batch, rows, inner),
        out=(batch, rows, columns),
        weights={"w": zeros(inner, columns)},
    )
    gemm = make_model(
        [helper.make_node("Gemm", ["x", "w"], ["y"], transA=1)],
        shape=(inner, batch * rows),
        out=(batch * rows, columns),
        weights={"w": zeros(inner, columns)},
    )
    expected = 2 * batch * rows * inner * columns
    assert count_work(product).total.mac_flops == count_work(gemm).total.mac_flops == expected


def test_a_bias_and_an_activation_count_apart_from_the_products() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], kernel_shape=[1, 1]),
        helper.make_node("Sigmoid", ["c"], ["s"]),
        helper.make_node("Mul", ["c", "s"], ["y"]),
    ]
    model = make_model(
        nodes, shape=(1, 4, 3, 3), out=(1, 2, 3, 3), weights={"w": zeros(2, 4, 1, 1), "b": zeros(2)}
    )
    work = count_work(model).total
    assert (work.mac_flops, work.other_flops) == (2 * 4 * 18, (1 + 4 + 1) * 18)


def test_what_is_fused_leaves_only_what_goes_in_and_out() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[1, 1]),
        helper.make_node("Sigmoid", ["c"], ["s"]),
        helper.make_node("Mul", ["c", "s"], ["m"]),
        helper.make_node("Add", ["m", "x"], ["y"]),
    ]
    model = make_model(
        nodes, shape=(1, 4, 3, 3), out=(1, 4, 3, 3), weights={"w": zeros(4, 4, 1, 1)}
    )
    work = count_work(model).total
    map_bytes = 4 * 36
    assert work.fused_bytes == 2 * map_bytes, "one read of x, one write of y"
    assert work.activation_bytes == (2 + 2 + 3 + 3) * map_bytes
    assert work.kernels == 1


def test_attention_keeps_its_scores_to_itself() -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["k"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x", "k"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["weights"]),
        helper.make_node("MatMul", ["weights", "x"], ["y"]),
    ]
    work = count_work(make_model(nodes, shape=(1, 64, 2), out=(1, 64, 2))).total
    assert work.activation_bytes > 3 * 4 * 64 * 64
    assert work.fused_bytes < 4 * 64 * 64, "less than the scores once"
    assert work.kernels == 2, "the transposition and the attention"
    assert (work.mac_flops, work.weighted_flops) == (2 * 2 * 64 * 64 * 2, 0)


def test_int8_layers_are_told_from_the_graph() -> None:
    scale = np.float32(1)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s"], ["dw"]),
        helper.make_node("MatMul", ["d", "dw"], ["m"]),
        helper.make_node("MatMul", ["m", "f"], ["y"]),
    ]
    weights = {
        "s": np.asarray(scale),
        "z": zeros(dtype="int8"),
        "w": zeros(8, 4, dtype="int8"),
        "f": zeros(4, 2),
    }
    work = count_work(make_model(nodes, shape=(3, 8), out=(3, 2), weights=weights)).total
    assert (work.int8_flops, work.mac_flops) == (2 * 3 * 8 * 4, 2 * 3 * (8 * 4 + 4 * 2))
    assert work.weighted_flops == work.mac_flops
    assert work.weight_bytes == 8 * 4 + 4 * 4 * 2 + 4 + 1


def test_a_weight_joined_to_an_activation_is_no_weight() -> None:
    nodes = [
        helper.make_node("Concat", ["w", "x"], ["j"], axis=0),
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["j", "t"], ["y"]),
    ]
    work = count_work(make_model(nodes, shape=(2, 4), out=(4, 2), weights={"w": zeros(2, 4)})).total
    assert (work.mac_flops, work.weighted_flops) == (2 * 4 * 2 * 4, 0)


def test_a_value_without_a_shape_is_refused_by_name() -> None:
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], shape=(1, 2))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    model.graph.output[0].type.tensor_type.shape.Clear()
    with pytest.raises(GraphError, match=r"small: value '[xy]' has no static shape"):
        count_work(model)


@pytest.mark.parametrize("name", FAMILY.required)
def test_the_graph_counts_as_torch_does(
    name: str, micro: Architecture, trace_once: Callable[..., Any]
) -> None:
    spec = describe_networks(
        size_networks(micro, size=(8, 8), frames=3, face="mask"), precision="fp32"
    )[name]
    inputs = [torch.empty(tensor.shape, device="meta") for tensor in spec.inputs]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        build_network(name, micro)(*inputs)
    counted = count_work(trace_once(spec, micro).model).total.mac_flops
    whole = counter.get_total_flops()
    if name == "reference_unet":  # what follows the last keys is not in the graph
        assert 0.9 * whole < counted < whole
    else:
        assert counted == whole


def test_groups_follow_our_modules(micro: Architecture, trace_once: Callable[..., Any]) -> None:
    spec = describe_networks(
        size_networks(micro, size=(8, 8), frames=3, face="mask"), precision="fp32"
    )
    groups = count_work(trace_once(spec["denoising_unet"], micro).model).by_group
    kinds = {split_group(group) for group, work in groups.items() if work.mac_flops}
    wanted = {
        "convolution",
        "self-attention",
        "cross-attention",
        "temporal",
        "feed-forward",
        "projection",
    }
    assert wanted <= {kind for place, kind in kinds if place == "mid"}
    assert {place for place, _ in kinds} == {"", "down", "mid", "up"}
    strays = sum(
        work.mac_flops
        for group, work in groups.items()
        if split_group(group)[1] in ("other", "norm")
    )
    assert strays < 0.02 * sum(work.mac_flops for work in groups.values())


@pytest.mark.parametrize(
    ("parameter", "group"),
    [
        ("down_blocks.0.resnets.1.conv1.weight", "down/convolution"),
        ("mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight", "mid/self-attention"),
        ("up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight", "up/cross-attention"),
        ("up_blocks.1.motion_modules.0.temporal_transformer.norm.weight", "up/temporal"),
        ("encoder.blocks.3.mlp.0.weight", "feed-forward"),
        ("encoder.blocks.3.attn_ln.weight", "norm"),
        ("blocks.3.weight", "convolution"),
        ("decoder.mid_block.attentions.0.to_q.weight", "mid/self-attention"),
        ("time_embedding.linear_1.weight", "other"),
        ("something.else", "other"),
    ],
)
def test_a_parameter_belongs_to_its_module(parameter: str, group: str) -> None:
    assert find_group(parameter) == group


def test_a_built_bundle_carries_the_work_of_its_graphs(build_tiny: Callable[..., Path]) -> None:
    folder = build_tiny()
    for name, entry in read_manifest(folder).networks.items():
        model = onnx.load(folder / entry.graph, load_external_data=False)
        assert entry.work == count_work(model), name
        assert entry.work.total.weight_bytes >= 4 * entry.parameters, name


def test_work_cannot_be_negative() -> None:
    with pytest.raises(ValueError, match="mac_flops is -1"):
        Work(mac_flops=-1)


@pytest.fixture(scope="module")
def bench_work() -> Any:
    """The benchmark that counts the full-size networks, and knows their sizes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module("bench_work")


def reference_as_the_table_has_it(side: int, counted: float) -> float:
    """GFLOP of the whole reference UNet, from those of our graph.

    Ours ends at the last keys and values: the rest of the last transformer is left out.
    In turn it projects keys and values for the denoiser at each of 16 transformers,
    five on each of three levels and one in the middle.
    """
    tokens = (side // 8) ** 2
    width = 320
    projections = 5 * 3 * 4 * tokens * width**2 + 4 * tokens / 64 * 1280**2
    rest = 4 * tokens**2 * width + (8 + 2 + 2 * (8 + 4)) * tokens * width**2
    return counted + (rest - projections) / 1e9


@pytest.mark.parametrize("side", [256, pytest.param(512, marks=pytest.mark.full)])
@pytest.mark.slow
def test_the_full_size_networks_count_as_measured(
    side: int, bench_work: Any, trace_folder: Path
) -> None:
    works = bench_work.count_networks(side, traces=trace_folder)
    recorded = json.loads((BENCHMARKS / "results" / "work_full_size.json").read_text())["pixels"][
        str(side)
    ]
    for name, work in works.items():
        found = work.total.mac_flops / bench_work.frames_of(name) / 1e9
        assert found == pytest.approx(recorded[name]["gflop"], abs=1e-3), name
        if name == "reference_unet":
            found = reference_as_the_table_has_it(side, found)
        wanted = TABLE[name][0 if side == 256 else 1]
        assert found == pytest.approx(wanted, rel=0.01, abs=0.05), name


def test_the_recorded_counts_agree_with_the_table() -> None:
    recorded = json.loads((BENCHMARKS / "results" / "work_full_size.json").read_text())["pixels"]
    for name, figures in TABLE.items():
        for side, wanted in zip((256, 512), figures, strict=True):
            found = recorded[str(side)][name]["gflop"]
            if name == "reference_unet":
                found = reference_as_the_table_has_it(side, found)
            assert found == pytest.approx(wanted, rel=0.01, abs=0.05), f"{name} at {side} px"


def test_the_denoiser_s_shares_are_those_that_were_counted_by_hand() -> None:
    recorded = json.loads((BENCHMARKS / "results" / "work_full_size.json").read_text())["pixels"][
        "512"
    ]
    shares = {"convolution": 0.34, "temporal": 0.25, "self-attention": 0.24, "feed-forward": 0.125}
    for kind, share in {**shares, "cross-attention": 0.023}.items():
        assert recorded["denoising_unet"]["shares"][kind] == pytest.approx(share, abs=0.005), kind
