"""Traced graphs: what they look like at tiny size, and what they compute at other sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from torch import Tensor, nn

from echoexport.calibration.lint.graph_lint import lint_graph
from echoexport.export.architecture import (
    Architecture,
    AudioArchitecture,
    LandmarkArchitecture,
    MotionArchitecture,
    UNetArchitecture,
    VAEArchitecture,
)
from echoexport.export.checkpoint.reader import Checkpoint
from echoexport.export.graphs.weights import require_shared
from echoexport.export.sizes import size_networks
from echoexport.export.subnets import tracing
from echoexport.export.subnets.graph_builder import TRANSPOSED
from echoexport.export.subnets.networks import build_network, wanted_shapes
from echoexport.export.subnets.tracing import trace_network
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY, describe_networks
from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec
from echoexport.runtime.errors import GraphError

TOLERANCE = 2e-4  # of each array's largest value; ONNX Runtime against torch, both in fp32
ALIGNMENT = 64

TinyTrace = Callable[[str, str], onnx.ModelProto]


@pytest.fixture(scope="module")
def tiny_trace(tiny_acc: Checkpoint, tiny_specs: Any, trace_once: Any) -> TinyTrace:
    """A function of network and precision."""
    return lambda name, precision: (
        trace_once(tiny_specs(precision)[name], tiny_acc.architecture).model
    )


def external(model: onnx.ModelProto) -> dict[str, tuple[int, int, str]]:
    """Offset, length and file of every parameter."""
    tables = {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }
    return {name: (int(t["offset"]), int(t["length"]), t["location"]) for name, t in tables.items()}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", FAMILY.required)
def test_tiny_traces_are_clean_small_and_have_no_weights_inside(
    tiny_trace: TinyTrace, tiny_specs: Any, name: str, precision: str
) -> None:
    model = tiny_trace(name, precision)
    assert lint_graph(model, tiny_specs(precision)[name]) == []
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    assert len(model.functions) == 0
    assert model.ByteSize() < 1_000_000
    assert all(t.ByteSize() < 2000 for t in model.graph.initializer)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILY.required)
def test_parameters_keep_the_checkpoints_names_and_shapes(
    tiny_trace: TinyTrace, tiny_acc: Checkpoint, name: str
) -> None:
    model = tiny_trace(name, "fp32")
    wanted = wanted_shapes(build_network(name, tiny_acc.architecture))
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    turned = set(
        next(entry.value for entry in model.metadata_props if entry.key == TRANSPOSED).split("\n")
    ) - {""}
    parameters = external(model)
    assert parameters.keys() <= wanted.keys()
    assert turned <= parameters.keys()
    for key in parameters:
        assert shapes[key] == (wanted[key][::-1] if key in turned else wanted[key])


@pytest.mark.slow
def test_every_parameter_of_the_denoiser_is_in_its_graph(
    tiny_trace: TinyTrace, tiny_acc: Checkpoint
) -> None:
    wanted = wanted_shapes(build_network("denoising_unet", tiny_acc.architecture))
    assert external(tiny_trace("denoising_unet", "fp32")).keys() == wanted.keys()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", FAMILY.required)
def test_weights_lie_aligned_and_apart(tiny_trace: TinyTrace, name: str, precision: str) -> None:
    end = 0
    for offset, length, location in external(tiny_trace(name, precision)).values():
        assert location == f"{name}.bin"
        assert offset % ALIGNMENT == 0
        assert end <= offset < end + ALIGNMENT
        end = offset + length


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILY.required)
def test_an_fp16_graph_holds_no_other_float(tiny_trace: TinyTrace, name: str) -> None:
    model = onnx.shape_inference.infer_shapes(
        tiny_trace(name, "fp16"), check_type=True, strict_mode=True
    )
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16}
    assert not [value.name for value in values if value.type.tensor_type.elem_type in floats]
    assert {value.name for value in values} >= {
        output for node in model.graph.node for output in node.output
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILY.required)
def test_tiny_graphs_give_what_the_modules_give(  # noqa: PLR0917
    tiny_trace: TinyTrace,
    tiny_acc: Checkpoint,
    tiny_specs: Any,
    load_network: Any,
    random_inputs: Any,
    run_onnx: Any,
    run_torch: Any,
    relative_error: Any,
    name: str,
) -> None:
    spec = tiny_specs("fp32")[name]
    inputs = random_inputs(tiny_specs("fp32")[name], 5)
    wanted_keys = wanted_shapes(build_network(name, tiny_acc.architecture))
    found = run_onnx(tiny_trace(name, "fp32"), tiny_acc.weights(name, wanted_keys), inputs)
    for output, wanted in run_torch(load_network(tiny_acc, name), spec, inputs).items():
        assert relative_error(found[output], wanted) < TOLERANCE


THREE_LEVELS = UNetArchitecture(
    widths=(8, 16, 24),
    heads=(1, 2, 3),
    layers_per_block=1,
    down_attention=(False, True, True),
    up_attention=(True, True, False),
    in_channels=4,
    out_channels=4,
    norm_groups=8,
    norm_eps=1e-3,
    audio_width=10,
    audio_ratio=1.5,
    linear_projection=True,
    motion=MotionArchitecture(
        heads=4,
        norm_groups=2,
        max_frames=4,
        attention_blocks=1,
        transformer_blocks=2,
        down=(False, True, False),
        mid=False,
        up=(True, False, True),
    ),
)
UNETS: dict[str, dict[str, Any]] = {
    "micro": {},
    "three layers": {"layers_per_block": 3, "heads": (4, 8), "norm_groups": 8, "motion": None},
    "other widths": {
        "widths": (16, 32),
        "heads": (8, 2),
        "down_attention": (False, True),
        "up_attention": (True, False),
    },
}


def change_unet(micro: Architecture, case: str) -> Architecture:
    unet = THREE_LEVELS if case == "three levels" else replace(micro.unet, **UNETS[case])
    landmark = replace(micro.landmark, out_channels=unet.widths[0])
    return replace(
        micro, unet=unet, landmark=landmark, audio=replace(micro.audio, width=unet.audio_width)
    )


@pytest.fixture
def compare(
    fill: Any, stored: Any, random_inputs: Any, run_onnx: Any, run_torch: Any, relative_error: Any
) -> Callable[..., float]:
    """A function that traces a network with random weights.

    It gives the graph's largest error against the module.
    """

    def run(spec: SubnetSpec, architecture: Architecture, **given: np.ndarray) -> float:
        network = fill(build_network(spec.name, architecture), 6)
        inputs = {**random_inputs(spec, 7), **given}
        model = trace_network(spec, architecture)
        assert lint_graph(model, spec) == []
        found = run_onnx(model, stored(network), inputs)
        wanted = run_torch(network, spec, inputs)
        return float(np.max([relative_error(found[output], wanted[output]) for output in wanted]))

    return run


def specs_of(
    architecture: Architecture, *, size: tuple[int, int], frames: int, face: str
) -> dict[str, SubnetSpec]:
    sizes = size_networks(architecture, size=size, frames=frames, face=face, live=True)
    return describe_networks(sizes, precision="fp32")


@pytest.mark.slow
@pytest.mark.parametrize("case", ["micro", "three layers", "three levels"])
def test_denoisers_of_other_sizes(compare: Any, micro: Architecture, case: str) -> None:
    a = change_unet(micro, case)
    spec = specs_of(a, size=(14, 10), frames=3, face="pose")["denoising_unet"]
    assert dict(spec.inputs[0].axes)["latent_height"] == 5, (
        "odd sides, so that upsampling goes to the skips' size"
    )
    assert compare(spec, a) < TOLERANCE


@pytest.mark.parametrize("case", ["three layers", "other widths", "three levels"])
def test_reference_unets_of_other_sizes(compare: Any, micro: Architecture, case: str) -> None:
    a = change_unet(micro, case)
    assert (
        compare(specs_of(a, size=(14, 10), frames=2, face="mask")["reference_unet"], a) < TOLERANCE
    )


def test_a_window_as_long_as_the_position_table(compare: Any, micro: Architecture) -> None:
    assert micro.unet.motion is not None
    bare = replace(micro.unet, down_attention=(False, False), up_attention=(False, False))
    a = replace(micro, unet=bare)
    spec = specs_of(a, size=(4, 4), frames=micro.unet.motion.max_frames, face="mask")[
        "denoising_unet"
    ]
    assert compare(spec, a, reference_gate=np.zeros(1, np.float32)) < TOLERANCE


@pytest.mark.parametrize("layers", [1, 3])
def test_vaes_of_other_sizes(compare: Any, micro: Architecture, layers: int) -> None:
    vae = VAEArchitecture(
        (8, 8, 24), layers, picture_channels=1, latent_channels=3, norm_groups=8, scaling=0.5
    )
    a = replace(micro, vae=vae)
    specs = specs_of(a, size=(20, 28), frames=2, face="mask")
    assert compare(specs["vae_encoder"], a) < TOLERANCE
    assert compare(specs["vae_decoder"], a) < TOLERANCE


@pytest.mark.parametrize(
    "audio", [AudioArchitecture(5, 9, 12, 3, 2), AudioArchitecture(7, 4, 8, 1, 5)], ids=str
)
def test_audio_encoders_of_other_sizes(
    compare: Any, micro: Architecture, audio: AudioArchitecture
) -> None:
    a = replace(micro, audio=audio)
    spec = specs_of(a, size=(8, 8), frames=2, face="mask")["audio_encoder"]
    assert spec.outputs[0].shape == (1, audio.layers + 1, audio.context, audio.width)
    assert compare(spec, a) < TOLERANCE


@pytest.mark.parametrize("context", [9, 240])
def test_audio_encoders_for_live_with_padding_and_without(
    compare: Any, micro: Architecture, context: int
) -> None:
    a = replace(micro, audio=replace(micro.audio, context=context))
    spec = specs_of(a, size=(8, 8), frames=2, face="mask")["audio_encoder_live"]
    assert spec.inputs[0].shape == (1, micro.audio.mels, 2 * min(context, 225) + 1)
    assert compare(spec, a) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("case", ["micro", "three levels"])
def test_denoisers_for_live_of_other_sizes(compare: Any, micro: Architecture, case: str) -> None:
    a = change_unet(micro, case)
    spec = specs_of(a, size=(14, 10), frames=4, face="pose")["denoising_unet_live"]
    gate = np.array([[0.0, 1.0, 1.0]], np.float32)
    assert compare(spec, a, past_gate=gate) < TOLERANCE


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", FAMILY.shares)
def test_a_network_for_live_finds_every_weight_where_the_plain_one_has_it(
    micro: Architecture, name: str, precision: str
) -> None:
    a = replace(micro, audio=replace(micro.audio, context=240))
    sizes = size_networks(a, size=(8, 8), frames=3, face="mask", live=True)
    specs = describe_networks(sizes, precision=precision)
    live = trace_network(specs[name], a)
    plain = trace_network(specs[FAMILY.owner_of(name)], a)
    assert external(live) == external(plain)
    require_shared(live, plain)


@pytest.mark.parametrize("channels", [(4, 6), (3, 5), (2, 7)], ids=str)
def test_landmark_encoders_of_other_sizes(
    compare: Any, micro: Architecture, channels: tuple[int, ...]
) -> None:
    a = replace(micro, landmark=LandmarkArchitecture(3, 5, channels, out_channels=8))
    assert (
        compare(specs_of(a, size=(14, 10), frames=2, face="pose")["landmark_encoder"], a)
        < TOLERANCE
    )


def test_a_network_that_disagrees_with_its_spec_is_refused(micro: Architecture) -> None:
    deeper = replace(micro, landmark=LandmarkArchitecture(1, 4, (4, 6, 6, 6), out_channels=8))
    spec = specs_of(deeper, size=(8, 8), frames=2, face="mask")["landmark_encoder"]
    with pytest.raises(
        GraphError, match=r"face_feature is \(1, 8, 2, 2\), its spec says \(1, 8, 4, 4\)"
    ):
        trace_network(spec, deeper)


class TwoOutputs(nn.Module):
    """A network of two formulas."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Twice the input, and one more than it."""
        return x * 2, x + 1


def describe(name: str, shape: tuple[int, ...]) -> TensorSpec:
    return TensorSpec(name, "float32", tuple((f"axis{i}", side) for i, side in enumerate(shape)))


def test_an_output_may_have_the_name_of_a_value_inside(lower: Any) -> None:
    def compute(m: nn.ModuleDict, out0: Tensor) -> tuple[Tensor, Tensor]:
        doubled = out0 * 2
        return doubled + 1, doubled

    assert lower(compute, (2, 3)).error <= 1


def test_nothing_that_reaches_no_output_is_kept(lower: Any) -> None:
    def compute(m: nn.ModuleDict, x: Tensor) -> Tensor:
        m["unused"](x)
        return m["used"](x)

    lowered = lower(compute, (2, 4), used=nn.Linear(4, 4), unused=nn.Linear(4, 3))
    assert lowered.error <= 1
    assert lowered.operators == ["MatMul", "Add"]
    assert {tensor.name for tensor in lowered.model.graph.initializer} == {
        "layers.used.weight",
        "layers.used.bias",
    }


def test_a_parameter_read_by_a_linear_and_otherwise_is_refused(lower: Any) -> None:
    with pytest.raises(GraphError, match="linear_weight"):
        lower(lambda m, x: m["linear"](x) + m["linear"].weight, (4, 4), linear=nn.Linear(4, 4))


def test_outputs_that_disagree_with_the_spec_are_refused(
    micro: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "build_network", lambda *_, **__: TwoOutputs())
    one = SubnetSpec("sandbox", (describe("x", (2, 3)),), (describe("y", (2, 3)),), {})
    with pytest.raises(GraphError, match="gives 2 outputs, its spec has 1"):
        trace_network(one, micro)
    two = SubnetSpec("sandbox", one.inputs, (describe("y", (2, 3)), describe("z", (3, 2))), {})
    with pytest.raises(GraphError, match=r"z is \(2, 3\), its spec says \(3, 2\)"):
        trace_network(two, micro)
