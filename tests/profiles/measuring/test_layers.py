"""Layers of an engine in our modules: fused names split, and what cannot be told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.profiles.measuring.layers import (
    LayerTable,
    LayerTime,
    assign_layers,
    group_nodes,
    measure_layers,
)
from echoexport.profiles.measuring.onnx_nodes import GraphNode, OnnxGraph
from echoexport.runtime.backends.ort import read_layer_profile
from echoexport.runtime.bundle.opened import Bundle, open_bundle
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.engine.layer_times import (
    LayerClock,
    LayerRecord,
    make_trt_profiler,
    split_trt_name,
)
from echoexport.runtime.engine.protocol import Backend, Engine, EngineOptions
from echoexport.runtime.errors import BackendError, SettingError

# A resnet's norm and convolution, a query's projection, and scores, which have no
# parameter of their own.
NODES = (
    GraphNode(
        "norm",
        "InstanceNormalization",
        ("x", "down_blocks.0.resnets.0.norm1.weight"),
        ("norm.out",),
    ),
    GraphNode("silu", "Mul", ("norm.out",), ("silu.out",)),
    GraphNode(
        "conv2d", "Conv", ("silu.out", "down_blocks.0.resnets.0.conv1.weight"), ("conv.out",)
    ),
    GraphNode(
        "linear.matmul",
        "MatMul",
        ("conv.out", "mid_block.attentions.0.attn2.to_q.weight"),
        ("product",),
    ),
    GraphNode("linear", "Add", ("product", "mid_block.attentions.0.attn2.to_q.bias"), ("query",)),
    GraphNode("scores", "MatMul", ("query", "key"), ("scores.out",)),
    GraphNode(
        "linear_1",
        "MatMul",
        ("scores.out", "up_blocks.1.motion_modules.0.proj.weight"),
        ("picture",),
    ),
)
PARAMETERS = frozenset(
    name for node in NODES for name in node.inputs if name.endswith((".weight", ".bias"))
)
GRAPH = OnnxGraph(NODES, PARAMETERS)


def groups_of(*records: LayerRecord) -> dict[str, float]:
    table = LayerTable("net", 1, 1.0, assign_layers(records, GRAPH))
    return dict(table.groups)


def test_a_node_without_parameters_is_of_the_group_whose_values_it_reads() -> None:
    groups = group_nodes(GRAPH)
    assert groups["norm"] == groups["silu"] == "down/norm"
    assert groups["conv2d"] == "down/convolution"
    assert groups["linear"] == groups["linear.matmul"] == groups["scores"] == "mid/cross-attention"
    assert groups["linear_1"] == "up/temporal"


def test_a_norm_over_groups_is_of_the_group_of_its_gain() -> None:
    nodes = (
        GraphNode("conv2d", "Conv", ("x", "up_blocks.0.resnets.0.conv1.weight"), ("a",)),
        GraphNode("gn.grouped", "Reshape", ("a", "constant.4"), ("b",)),
        GraphNode("gn.normal", "InstanceNormalization", ("b", "constant.5", "constant.6"), ("c",)),
        GraphNode("gn.map", "Reshape", ("c", "constant.3"), ("d",)),
        GraphNode(
            "gn.scale", "Reshape", ("up_blocks.0.resnets.0.norm2.weight", "constant.7"), ("e",)
        ),
        GraphNode("gn.scaled", "Mul", ("d", "e"), ("f",)),
    )
    parameters = {name for node in nodes for name in node.inputs if "." in name}
    groups = group_nodes(OnnxGraph(nodes, frozenset(parameters)))
    assert (
        groups["gn.normal"]
        == groups["gn.map"]
        == groups["gn.scale"]
        == groups["gn.scaled"]
        == "up/norm"
    )
    assert groups["gn.grouped"] == "up/convolution"


def test_a_product_with_a_dequantized_weight_is_of_the_weights_group() -> None:
    weight = "mid_block.attentions.0.attn1.to_k.weight"
    nodes = (
        GraphNode(
            "dequantize", "DequantizeLinear", (f"{weight}.int8", f"{weight}.scale"), (weight,)
        ),
        GraphNode("product", "MatMul", ("x", weight), ("y",)),
    )
    groups = group_nodes(OnnxGraph(nodes, frozenset({f"{weight}.int8", f"{weight}.scale"})))
    assert groups == {"dequantize": "mid/self-attention", "product": "mid/self-attention"}


def test_a_value_that_is_called_like_a_parameter_is_none() -> None:
    nodes = (
        GraphNode(
            "only", "Add", ("group_norm.scaled", "reference_key.up_blocks.0.attn1.to_k"), ("y",)
        ),
    )
    assert group_nodes(OnnxGraph(nodes)) == {"only": "other"}


def test_a_fused_layer_is_of_the_group_of_its_product() -> None:
    assert groups_of(
        LayerRecord("conv2d/WithoutBiases", "Convolution", 2.0, ("conv2d/WithoutBiases", "silu"))
    ) == {"down/convolution": 2.0}
    assert groups_of(LayerRecord("MVN_17", "MVN", 2.0, ("MVN_17", "norm", "silu"))) == {
        "down/norm": 2.0
    }


def test_a_layer_fused_from_products_of_several_groups_is_shared_among_them() -> None:
    fused = LayerRecord("all", "ForeignNode", 3.0, ("conv2d", "linear.matmul", "scores", "norm"))
    assert groups_of(fused) == pytest.approx({"mid/cross-attention": 2.0, "down/convolution": 1.0})


def test_a_range_of_nodes_is_all_that_lies_between() -> None:
    fused = LayerRecord("{ForeignNode[norm...linear_1]}", "ForeignNode", 4.0, ("norm...linear_1",))
    assert groups_of(fused) == {
        "mid/cross-attention": 2.0,
        "down/convolution": 1.0,
        "up/temporal": 1.0,
    }


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("conv2d_nchwc", "down/convolution"),
        ("linear.matmul/MatMulAddFusion", "mid/cross-attention"),
        ("conv2d/WithoutBiases_acdb_abcd_linear", "down/convolution"),
        ("picture_nchwc", "up/temporal"),  # named after the value that it makes
        ("linear_12", "other"),  # another node, which the graph does not have
        ("ReorderOutput_token_3", "other"),
        ("", "other"),
    ],
)
def test_a_layer_without_origins_goes_by_what_its_name_begins_with(name: str, group: str) -> None:
    assert groups_of(LayerRecord(name, "Reorder", 1.0)) == {group: 1.0}


def test_a_layer_without_nodes_goes_with_the_first_that_it_reads_from() -> None:
    split = LayerRecord("Split_9", "Split", 1.0, after=("Constant_1", "conv2d"))
    after_split = LayerRecord("Reorder_10", "Reorder", 1.0, after=("Split_9",))
    assert groups_of(LayerRecord("conv2d", "Convolution", 1.0), split, after_split) == {
        "down/convolution": 3.0
    }
    assert groups_of(split) == {"other": 1.0}


@given(
    st.lists(
        st.tuples(
            st.lists(
                st.sampled_from([*(node.name for node in NODES), "unknown", "norm...scores"]),
                max_size=4,
            ),
            st.floats(0, 1e3),
        ),
        max_size=8,
    )
)
def test_however_layers_were_fused_their_groups_add_up_to_their_time(
    layers: list[tuple[list[str], float]],
) -> None:
    records = [
        LayerRecord(f"layer-{i}", "Any", seconds, tuple(names))
        for i, (names, seconds) in enumerate(layers)
    ]
    table = LayerTable("net", 1, 1.0, assign_layers(records, GRAPH))
    assert table.seconds == pytest.approx(sum(seconds for _, seconds in layers))
    assert sum(table.groups.values()) == pytest.approx(table.seconds)
    assert 0 <= table.other_share <= 1


def test_the_share_of_what_cannot_be_told_is_shown() -> None:
    layers = (
        LayerTime("a", "Conv", 3.0, "up/convolution"),
        LayerTime("b", "Reorder", 1.0, "other"),
    )
    assert LayerTable("net", 1, 5.0, layers).other_share == 0.25
    assert LayerTable("net", 1, 5.0, ()).other_share == 0.0


@pytest.mark.parametrize("backend", ["openvino", "ort"])
@pytest.mark.parametrize("network", ["vae_decoder", "denoising_unet"])
def test_an_engines_own_profile_is_told_in_our_modules(
    build_tiny: Any, backend: str, network: str
) -> None:
    pytest.importorskip({"ort": "onnxruntime"}.get(backend, backend))
    with open_bundle(build_tiny(), backend=backend) as bundle:
        table = measure_layers(bundle, network, calls=3)
        assert bundle.calls()[network] == 0  # an engine of its own
    assert table.seconds > 0
    kinds = {group.rpartition("/")[2] for group in table.groups}
    wanted = {"convolution", "norm", "self-attention"}
    if network == "denoising_unet":
        wanted |= {"cross-attention", "temporal", "feed-forward"}
    assert wanted <= kinds
    assert table.other_share < 0.5
    assert all(layer.seconds >= 0 and layer.kind for layer in table.layers)


@pytest.mark.parametrize("backend", ["openvino", "ort"])
def test_an_engine_that_is_not_profiled_has_no_layers(build_tiny: Any, backend: str) -> None:
    pytest.importorskip({"ort": "onnxruntime"}.get(backend, backend))
    with open_bundle(build_tiny(), backend=backend) as bundle:
        network = bundle.network("landmark_encoder")
        bundle.self_test("landmark_encoder")
        assert network.read_layers() == ()


def test_a_profiled_engine_computes_what_the_plain_one_does(build_tiny: Any) -> None:
    pytest.importorskip("openvino")
    from echoexport.profiles.measuring.latency import read_self_test_inputs

    with open_bundle(build_tiny(), backend="openvino") as bundle:
        inputs = read_self_test_inputs(bundle, "landmark_encoder")
        profiled = bundle.open_profiled("landmark_encoder")
        difference = (
            profiled(inputs)["face_feature"]
            - bundle.network("landmark_encoder")(inputs)["face_feature"]
        )
        profiled.close()
    assert abs(difference).max() < 1e-5


def test_onnx_runtime_leaves_no_profile_behind(
    build_tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_bundle(build_tiny(), backend="ort") as bundle:
        assert measure_layers(bundle, "landmark_encoder", calls=1).layers
        bundle.open_profiled("landmark_encoder").close()  # never read
    assert list(tmp_path.iterdir()) == []


def test_the_null_backend_is_one_layer_of_no_group(null_bundle: Path) -> None:
    with open_bundle(null_bundle) as bundle:
        table = measure_layers(bundle, "vae_decoder", calls=2)
    assert [(layer.name, layer.group) for layer in table.layers] == [("vae_decoder", "other")]
    assert (table.other_share, table.calls) == (1.0, 2)


def test_a_backend_that_times_no_layers_is_refused_in_one_line(null_bundle: Path) -> None:
    class Plain(Engine):
        precision = "fp32"

        def __call__(self, inputs: Any) -> Any:
            return {}

        def close(self) -> None:
            """Nothing to close."""

    class PlainBackend(Backend):
        name = "plain"

        def unavailable(self) -> str | None:
            return None

        def describe(self) -> str:
            return "plain"

        def open(self, graph: Path, spec: Any, options: EngineOptions) -> Plain:
            assert options.profile
            return Plain()

    backend = PlainBackend()
    manifest = read_manifest(null_bundle)
    with (
        Bundle(null_bundle, manifest, backend=backend, options=EngineOptions()) as bundle,
        pytest.raises(BackendError, match="vae_decoder: its backend times no layers"),
    ):
        measure_layers(bundle, "vae_decoder")


def test_no_calls_are_no_measurement(null_bundle: Path) -> None:
    with open_bundle(null_bundle) as bundle, pytest.raises(SettingError, match="0 calls"):
        measure_layers(bundle, "vae_decoder", calls=0)


def test_the_first_call_warms_up_and_the_rest_give_the_median() -> None:
    clock = LayerClock()
    clock.report_layer_time("conv", 900.0)
    assert clock.medians() == {"conv": 0.9}
    for ms in (1.0, 2.0, 500.0):
        clock.report_layer_time("conv", ms)
    assert clock.medians() == {"conv": 0.002}


def test_tensorrt_reports_to_an_object_of_its_own_class() -> None:
    class Library:
        class IProfiler:
            """Stands in for the binding's: it must have been initialized."""

            def __init__(self) -> None:
                self.ready = True

    clock = LayerClock()
    profiler = make_trt_profiler(Library, clock)
    assert isinstance(profiler, Library.IProfiler)
    assert profiler.ready
    for ms in (9.0, 3.0):  # as a context does at each call
        profiler.report_layer_time("conv2d + silu", ms)
        profiler.report_layer_time("{ForeignNode[norm...scores]}", 2 * ms)
    records = clock.read_layers()
    assert [(record.kind, record.seconds, record.origins) for record in records] == [
        ("Layer", 0.003, ("conv2d", "silu")),
        ("ForeignNode", 0.006, ("norm...scores",)),
    ]
    assert groups_of(*records)["down/convolution"] == pytest.approx(0.003 + 0.002)


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("conv2d_1", ("conv2d_1",)),
        ("conv2d_1 + PWN(silu_1.gate, silu_1)", ("conv2d_1", "silu_1.gate", "silu_1")),
        ("PWN(PWN(sigmoid), mul)", ("sigmoid", "mul")),
        ("{ForeignNode[linear_1.matmul...linear_9]}", ("linear_1.matmul...linear_9",)),
        ("Reformatting CopyNode for Input Tensor 0 to conv2d + add", ("conv2d", "add")),
        ("__myl_MulAdd_myl0_5", ("__myl_MulAdd_myl0_5",)),
    ],
)
def test_a_tensorrt_layers_name_is_split_at_its_nodes(name: str, nodes: tuple[str, ...]) -> None:
    assert split_trt_name(name) == nodes


def test_onnx_runtimes_profile_is_read_by_its_node_events(tmp_path: Path) -> None:
    events = [
        {"cat": "Session", "name": "model_run", "ph": "X", "ts": 0, "dur": 900, "args": {}},
        {
            "cat": "Node",
            "name": "conv2d_nchwc_kernel_time",
            "ph": "X",
            "ts": 1,
            "dur": 70,
            "args": {"op_name": "Conv"},
        },
        {
            "cat": "Node",
            "name": "conv2d_nchwc_fence_before",
            "ph": "X",
            "ts": 1,
            "dur": 5,
            "args": {"op_name": "Conv"},
        },
        {
            "cat": "Node",
            "name": "conv2d_nchwc_kernel_time",
            "ph": "X",
            "ts": 9,
            "dur": 40,
            "args": {"op_name": "Conv"},
        },
    ]
    (tmp_path / "profile.json").write_text(json.dumps(events))
    records = read_layer_profile(tmp_path / "profile.json")
    assert [(record.name, record.kind, record.origins) for record in records] == [
        ("conv2d_nchwc", "Conv", ("conv2d_nchwc",))
    ]
    assert records[0].seconds == pytest.approx(40e-6)
