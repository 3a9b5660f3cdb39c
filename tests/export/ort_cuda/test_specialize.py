"""Whole networks rewritten for ONNX Runtime's CUDA provider.

The same values, from the same weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.graphs.qdq_graph import add_qdq
from echoexport.calibration.observing.overflows import keep_float32
from echoexport.calibration.plan import LayerPlan, NetworkPlan
from echoexport.export.architecture import Architecture
from echoexport.export.graphs import patterns
from echoexport.export.graphs.weights import write_weights
from echoexport.export.ort_cuda import norm_fusions, packing, product_fusions, specialize
from echoexport.export.sizes import size_networks
from echoexport.export.subnets.lowering import attention as attention_lowering
from echoexport.export.subnets.networks import build_network
from echoexport.export.subnets.tracing import trace_network
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY, describe_networks
from echoexport.runtime.contract.spec import SubnetSpec

pytest.importorskip("onnxruntime")

FP32 = 1e-5
FP16 = 4e-3
"""Largest errors, over each output's largest value."""

GEGLU = (32, 64)
RESIDUAL = (8, 16)
"""What the micro networks have in place of the published widths: half a token of a
feed-forward, and channels."""


@dataclass(frozen=True)
class Traced:
    """A network's plain graph, in a folder with its weights."""

    spec: SubnetSpec
    model: onnx.ModelProto
    folder: Path


Trace = Callable[..., Traced]


@pytest.fixture(scope="module")
def trace(
    micro: Architecture, fill: Any, stored: Any, tmp_path_factory: pytest.TempPathFactory
) -> Trace:
    """A function that writes a micro network of a name, a size and a precision, each once."""
    kept: dict[Any, Traced] = {}

    def run(
        name: str,
        *,
        size: tuple[int, int] = (8, 8),
        frames: int = 4,
        precision: str = "fp32",
        face: str = "mask",
        most_scores: int = attention_lowering.MOST_SCORES,
    ) -> Traced:
        key = (name, size, frames, precision, face, most_scores)
        if key not in kept:
            sizes = size_networks(micro, size=size, frames=frames, face=face)
            spec = describe_networks(sizes, precision=precision)[name]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(attention_lowering, "MOST_SCORES", most_scores)
                model = trace_network(spec, micro)
            folder = tmp_path_factory.mktemp("traced")
            write_weights(
                model, stored(fill(build_network(name, micro), 3)), path=folder / f"{name}.bin"
            )
            onnx.save_model(model, folder / f"{name}.onnx")
            kept[key] = Traced(spec, model, folder)
        return kept[key]

    return run


@pytest.fixture
def compare(
    random_inputs: Any, run_graph: Any, largest_error: Any
) -> Callable[..., tuple[Counter[str], float]]:
    """A function of a plain network: the operators of its own graph, and how far that is off."""

    def run(traced: Traced, *, gate: float = 1.0) -> tuple[Counter[str], float]:
        inputs = random_inputs(traced.spec, 6)
        if "reference_gate" in inputs:
            inputs["reference_gate"][:] = gate
        own, used = specialize(traced.model)
        wanted = run_graph(traced.model, inputs, folder=traced.folder)
        return used, largest_error(run_graph(own, inputs, folder=traced.folder), wanted)

    return run


@pytest.fixture
def micro_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that are compiled for a few widths take those of the micro networks."""
    monkeypatch.setattr(product_fusions, "GEGLU_WIDTHS", GEGLU)
    monkeypatch.setattr(norm_fusions, "RESIDUAL_WIDTHS", RESIDUAL)


def external(model: onnx.ModelProto) -> dict[str, list[tuple[str, str]]]:
    """Where each weight beside the graph lies."""
    return {
        tensor.name: [(entry.key, entry.value) for entry in tensor.external_data]
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }


@pytest.mark.parametrize("name", FAMILY.required)
def test_every_network_gives_what_its_plain_graph_does(
    trace: Trace, compare: Any, name: str
) -> None:
    used, error = compare(trace(name))
    assert error <= FP32
    assert used


@pytest.mark.parametrize("gate", [0.0, 1.0])
@pytest.mark.parametrize(
    ("size", "frames"), [((8, 8), 4), ((8, 16), 4), ((12, 8), 3), ((8, 8), 2), ((16, 16), 5)]
)
def test_the_denoiser_does_so_with_and_without_a_reference_in_every_shape(
    trace: Trace, compare: Any, size: tuple[int, int], frames: int, gate: float
) -> None:
    assert compare(trace("denoising_unet", size=size, frames=frames), gate=gate)[1] <= FP32


def test_a_pose_for_every_frame_makes_no_difference(trace: Trace, compare: Any) -> None:
    assert compare(trace("denoising_unet", face="pose"))[1] <= FP32


@pytest.mark.parametrize("name", ["denoising_unet", "reference_unet", "vae_decoder"])
def test_it_holds_at_the_widths_that_have_kernels_of_their_own(
    trace: Trace, compare: Any, micro_widths: None, name: str
) -> None:
    used, error = compare(trace(name))
    assert error <= FP32
    assert used["BiasAdd"] > 0
    assert (used["BiasSplitGelu"] > 0) == (name != "vae_decoder")


def test_at_other_widths_those_kernels_are_not_used(trace: Trace, compare: Any) -> None:
    used, _ = compare(trace("denoising_unet"))
    assert used["BiasAdd"] == used["BiasSplitGelu"] == 0


@pytest.mark.parametrize(("size", "packed"), [((8, 8), True), ((12, 12), False)])
def test_temporal_attention_is_packed_where_positions_divide(
    trace: Trace, compare: Any, size: tuple[int, int], packed: bool
) -> None:
    traced = trace("denoising_unet", size=size)
    used, error = compare(traced)
    masks = [
        t
        for t in specialize(traced.model)[0].graph.initializer
        if t.name.startswith("attention_mask")
    ]
    assert error <= FP32
    assert used["MultiHeadAttention"] > 0
    assert bool(masks) == packed


@pytest.mark.parametrize("most_scores", [4 * 2 * 16 * 32 // 2, 4 * 2 * 16 * 32 // 4])
def test_attention_in_parts_is_one_operator_again(
    trace: Trace, compare: Any, most_scores: int
) -> None:
    whole = trace("denoising_unet")
    split = trace("denoising_unet", most_scores=most_scores)
    used, error = compare(split)
    assert (
        sum(node.op_type == "Softmax" for node in split.model.graph.node)
        > used["MultiHeadAttention"]
    )
    assert used == compare(whole)[0]
    assert error <= FP32


@pytest.mark.parametrize("name", FAMILY.required)
def test_fp16_networks_give_the_same_within_its_rounding(
    trace: Trace, compare: Any, name: str
) -> None:
    assert compare(trace(name, precision="fp16"))[1] <= FP16


@pytest.mark.parametrize("name", ["denoising_unet", "reference_unet", "audio_encoder"])
def test_every_attention_and_nearly_every_layer_norm_is_an_operator_of_the_library(
    trace: Trace, name: str
) -> None:
    plain = Counter(node.op_type for node in trace(name).model.graph.node)
    own = Counter(node.op_type for node in specialize(trace(name).model)[0].graph.node)
    assert own["MultiHeadAttention"] == plain["Softmax"]
    assert own["SkipLayerNormalization"] >= 0.8 * plain["LayerNormalization"] > 0


@pytest.mark.parametrize("name", ["denoising_unet", "reference_unet", "vae_encoder", "vae_decoder"])
def test_every_group_norm_and_convolution_is_channels_last(trace: Trace, name: str) -> None:
    plain = Counter(node.op_type for node in trace(name).model.graph.node)
    own = Counter(node.op_type for node in specialize(trace(name).model)[0].graph.node)
    assert own["GroupNorm"] + own["SkipGroupNorm"] == plain["InstanceNormalization"] > 0
    assert own["Conv"] == own["InstanceNormalization"] == 0


@pytest.mark.parametrize("name", FAMILY.required)
def test_the_plain_graph_is_not_changed(trace: Trace, name: str) -> None:
    model = trace(name).model
    before = model.SerializeToString(deterministic=True)
    specialize(model)
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("name", FAMILY.required)
def test_weights_stay_beside_the_graph_under_their_names(trace: Trace, name: str) -> None:
    model = trace(name).model
    own, _ = specialize(model)
    assert external(own) == external(model)
    inside = sum(
        len(t.raw_data) for t in own.graph.initializer if not t.name.startswith("attention_mask")
    )
    assert inside < 16_000


@pytest.mark.parametrize("name", FAMILY.required)
def test_the_same_graph_is_rewritten_alike_each_time(trace: Trace, name: str) -> None:
    first, second = (
        specialize(trace(name).model)[0].SerializeToString(deterministic=True) for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize("name", FAMILY.required)
def test_inputs_and_outputs_are_those_of_the_plain_graph(trace: Trace, name: str) -> None:
    model = trace(name).model
    own, _ = specialize(model)
    assert (list(own.graph.input), list(own.graph.output)) == (
        list(model.graph.input),
        list(model.graph.output),
    )


@pytest.mark.parametrize("name", FAMILY.required)
def test_each_value_is_made_once_and_every_domain_is_named_once(trace: Trace, name: str) -> None:
    own, _ = specialize(trace(name).model)
    made = [name for node in own.graph.node for name in node.output if name]
    domains = [opset.domain for opset in own.opset_import]
    assert len(made) == len(set(made))
    assert len(domains) == len(set(domains)) == 2


def quantize(traced: Traced) -> onnx.ModelProto:
    graph = FloatGraph(traced.folder / f"{traced.spec.name}.onnx")
    return add_qdq(
        graph, NetworkPlan("int8", {name: LayerPlan("int8", 1.0) for name in graph.layers})
    )


def widen(traced: Traced) -> onnx.ModelProto:
    softmax = next(node.name for node in traced.model.graph.node if node.op_type == "Softmax")
    return keep_float32(traced.model, [softmax])


@pytest.mark.parametrize(("change", "precision"), [(quantize, "fp32"), (widen, "fp16")])
def test_a_graph_of_more_than_one_type_comes_back_as_it_is(
    trace: Trace, change: Callable[[Traced], onnx.ModelProto], precision: str
) -> None:
    model = change(trace("reference_unet", precision=precision))
    before = model.SerializeToString()
    own, used = specialize(model)
    assert used == Counter()
    assert own.SerializeToString() == before


def test_a_graph_that_was_rewritten_comes_back_as_it_is(trace: Trace) -> None:
    own, _ = specialize(trace("vae_encoder").model)
    again, used = specialize(own)
    assert used == Counter()
    assert again.SerializeToString() == own.SerializeToString()


def test_a_mask_lets_no_packed_attention_see_its_neighbours(
    trace: Trace, run_graph: Any, random_inputs: Any
) -> None:
    traced = trace("denoising_unet")
    own, _ = specialize(traced.model)
    masks = [
        onnx.numpy_helper.to_array(t)
        for t in own.graph.initializer
        if t.name.startswith("attention_mask")
    ]
    (mask,) = masks
    frames = traced.spec.inputs[0].shape[2]
    blocks = np.kron(np.eye(packing.PACKED), np.ones((frames, frames)))
    np.testing.assert_array_equal(mask[0, 0], np.where(blocks == 1, 0, patterns.MASKED))
