"""Attention in parts of its batch.

The same network as in one, for every engine and whatever reads the graph.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.graphs.qdq_graph import add_qdq
from echoexport.calibration.lint.graph_lint import lint_graph
from echoexport.calibration.observing.overflows import find_overflows, keep_float32, list_float32
from echoexport.calibration.plan import LayerPlan, NetworkPlan
from echoexport.calibration.sample import Sample
from echoexport.export.architecture import Architecture
from echoexport.export.checkpoint.tensor_files import StoredTensor
from echoexport.export.graphs.count_work import count_work
from echoexport.export.graphs.edited_graph import EditedGraph
from echoexport.export.graphs.weights import write_weights
from echoexport.export.ort_cuda.attention import fuse_attention
from echoexport.export.sizes import size_networks
from echoexport.export.subnets.lowering import attention as attention_lowering
from echoexport.export.subnets.networks import build_network
from echoexport.export.subnets.tracing import trace_network
from echoexport.profiles.measuring.layers import group_nodes
from echoexport.profiles.measuring.onnx_nodes import read_graph
from echoexport.runtime.contract.families.echomimic_v1 import describe_networks
from echoexport.runtime.contract.spec import SubnetSpec

pytest.importorskip("onnxruntime")

NETWORK = "denoising_unet"
FRAMES = 4
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SPATIAL = FRAMES * 2 * 16 * 32
"""Scores of the micro denoiser's spatial self-attention: frames, heads, own tokens, own
and the reference's."""
LARGEST = FRAMES * 2 * 16 * 50
"""Those of its cross-attention to the audio's tokens."""


@dataclass(frozen=True)
class Denoiser:
    """The micro denoiser as one graph in files and its weights."""

    spec: SubnetSpec
    graph: FloatGraph
    weights: dict[str, StoredTensor]

    @property
    def model(self) -> onnx.ModelProto:
        return self.graph.model


def describe(micro: Architecture, precision: str) -> SubnetSpec:
    sizes = size_networks(micro, size=(8, 8), frames=FRAMES, face="mask")
    return describe_networks(sizes, precision=precision)[NETWORK]


def trace(spec: SubnetSpec, micro: Architecture, *, limit: int) -> onnx.ModelProto:
    """Without the cache, which knows of no other limit than the real one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention_lowering, "MOST_SCORES", limit)
        return trace_network(spec, micro)


@pytest.fixture(scope="module")
def make(
    micro: Architecture, fill: Any, stored: Any, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A function of the limit that writes the denoiser's graph and weights."""
    weights = stored(fill(build_network(NETWORK, micro), 3))

    def run(limit: int) -> Denoiser:
        spec = describe(micro, "fp32")
        folder = tmp_path_factory.mktemp("denoiser")
        model = trace(spec, micro, limit=limit)
        write_weights(model, weights, path=folder / f"{NETWORK}.bin")
        onnx.save_model(model, folder / f"{NETWORK}.onnx")
        return Denoiser(spec, FloatGraph(folder / f"{NETWORK}.onnx"), weights)

    return run


@pytest.fixture(scope="module")
def whole(make: Callable[[int], Denoiser]) -> Denoiser:
    return make(LARGEST)


@pytest.fixture(scope="module")
def split(make: Callable[[int], Denoiser]) -> Denoiser:
    """Self-attention in two parts, attention to the audio in four."""
    return make(SPATIAL // 2)


def count(model: onnx.ModelProto, operator: str) -> int:
    return sum(node.op_type == operator for node in model.graph.node)


def find_nodes(model: onnx.ModelProto, endings: Iterable[str]) -> list[str]:
    """Names of the nodes in the parts of the first attention that is split."""
    first = next(node.name for node in model.graph.node if node.op_type == "Split").removesuffix(
        ".queries"
    )
    return [
        node.name for node in model.graph.node for end in endings if node.name == f"{first}.{end}"
    ]


def list_wiring(model: onnx.ModelProto) -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    """Operator, name, values read and given of each node.

    Constants are numbered, so they are left out.
    """
    constants = {
        tensor.name for tensor in model.graph.initializer if tensor.name.startswith("constant.")
    }
    return [
        (
            node.op_type,
            node.name,
            tuple(name for name in node.input if name not in constants),
            tuple(node.output),
        )
        for node in model.graph.node
    ]


def test_a_split_network_gives_what_the_whole_one_does(
    whole: Denoiser, split: Denoiser, random_inputs: Any, run_onnx: Any
) -> None:
    inputs = random_inputs(whole.spec, 6)
    wanted, found = (run_onnx(each.model, each.weights, inputs) for each in (whole, split))
    assert count(split.model, "Softmax") > count(whole.model, "Softmax")
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5)


def test_a_split_network_is_named_alike_each_time(micro: Architecture, split: Denoiser) -> None:
    again = trace(split.spec, micro, limit=SPATIAL // 2)
    assert list_wiring(again) == list_wiring(split.model)
    assert len(find_nodes(again, ["queries", "keys", "values", "scores.2", "part.2"])) == 5


def test_a_split_network_is_clean(split: Denoiser) -> None:
    assert count(split.model, "Split") > 0
    assert lint_graph(split.model, split.spec) == []


def test_parts_are_the_same_operations_in_the_same_groups(whole: Denoiser, split: Denoiser) -> None:
    one, other = (count_work(each.model).by_group for each in (whole, split))
    assert one.keys() == other.keys()
    for group, work in one.items():
        assert (other[group].mac_flops, other[group].other_flops) == (
            work.mac_flops,
            work.other_flops,
        ), group


def test_the_layers_of_parts_are_of_their_attention_s_group(
    whole: Denoiser, split: Denoiser
) -> None:
    wanted, found = (group_nodes(read_graph(each.graph.path)) for each in (whole, split))
    for node in split.model.graph.node:
        base = node.name.partition(".")[0]
        assert found[node.name] == wanted[node.name if node.name in wanted else base], node.name


def test_what_can_be_quantized_is_no_more_and_no_less(whole: Denoiser, split: Denoiser) -> None:
    layers = split.graph.layers
    assert layers.keys() == whole.graph.layers.keys()
    plan = NetworkPlan("int8", {name: LayerPlan("int8", 1.0) for name in layers})
    quantized = add_qdq(split.graph, plan)
    makers = {name: node.op_type for node in quantized.graph.node for name in node.output}
    parts = [
        node for node in quantized.graph.node if ".scores" in node.name or ".part" in node.name
    ]
    read = {makers[name] for node in parts if node.op_type == "MatMul" for name in node.input}
    assert read == {"Mul", "Transpose", "Softmax", "Split"}


def test_parts_are_computed_in_fp32_where_fp16_is_too_small(micro: Architecture) -> None:
    spec = describe(micro, "fp16")
    model = trace(spec, micro, limit=SPATIAL // 2)
    assert lint_graph(model, spec) == []
    chosen = find_nodes(model, ["queries", "query", "query.2", "scores", "weights", "part.2"])
    assert len(chosen) == 6
    wide = keep_float32(model, chosen)
    assert lint_graph(wide, spec, float32=list_float32(wide)) == []


def test_scores_that_fp16_spoils_are_found_in_every_part(
    split: Denoiser, random_inputs: Any
) -> None:
    inputs = random_inputs(split.spec, 8)
    inputs |= {
        name: value * 1e3 for name, value in inputs.items() if name.startswith("reference_key")
    }
    sample = Sample(NETWORK, inputs, portrait="face.png", voice="voice.wav")
    found = {one.node for one in find_overflows(split.graph, [sample])}
    assert set(find_nodes(split.model, ["scores", "weights", "scores.2", "weights.2"])) <= found


def fuse(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    """A copy with its attentions fused, and how many there were."""
    graph = EditedGraph(model)
    found = fuse_attention(graph)
    return graph.finish(), found


def test_fused_a_split_network_is_the_whole_one(whole: Denoiser, split: Denoiser) -> None:
    (one, wanted), (other, found) = (fuse(each.model) for each in (whole, split))
    assert found == wanted == count(whole.model, "Softmax") == count(other, "MultiHeadAttention")
    assert list_wiring(other) == list_wiring(one)


def turn_parts(model: onnx.ModelProto) -> None:
    """The parts come back in another order."""
    concat = next(
        node for node in model.graph.node if node.op_type == "Concat" and ".part" in node.input[0]
    )
    concat.input[:] = list(concat.input)[::-1]


def mix_parts(model: onnx.ModelProto) -> None:
    """The first part's query is the second's."""
    split = next(node for node in model.graph.node if node.op_type == "Split")
    reader = next(node for node in model.graph.node if split.output[0] in node.input)
    reader.input[0] = split.output[1]


def leave_part(model: onnx.ModelProto) -> None:
    """The last part of the values is left out."""
    concat = next(
        node for node in model.graph.node if node.op_type == "Concat" and ".part" in node.input[0]
    )
    del concat.input[-1]


def join_elsewhere(model: onnx.ModelProto) -> None:
    """The parts come back side by side, as more heads."""
    concat = next(
        node for node in model.graph.node if node.op_type == "Concat" and ".part" in node.input[0]
    )
    concat.attribute[0].i = 1


@pytest.mark.parametrize("spoil", [turn_parts, mix_parts, leave_part, join_elsewhere])
def test_parts_that_are_no_whole_stay_plain(
    split: Denoiser, spoil: Callable[[onnx.ModelProto], None]
) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(split.model)
    spoil(model)
    _, whole = fuse(split.model)
    fused, found = fuse(model)
    assert found == whole - 1
    assert count(fused, "Split") == 3


@pytest.mark.slow
@pytest.mark.parametrize("network", ["denoising_unet", "reference_unet"])
def test_at_512_pixels_and_12_frames_every_tensorrt_takes_the_full_size(
    network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    full = importlib.import_module("bench_work").FULL
    spec = describe_networks(
        size_networks(full, size=(512, 512), frames=12, face="mask"), precision="fp16"
    )[network]
    model = trace_network(spec, full)
    assert lint_graph(model, spec, tensorrt=["10.3", "10.16", "11.4"]) == []
    assert count(model, "Split") == (15 if network == "denoising_unet" else 0), (
        "five attentions, three values each"
    )
