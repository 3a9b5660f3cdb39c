"""What speaks against a graph, each by a harmless one, and that ours pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixtures.graph_bytes import (
    WrittenGraph,
    write_constant,
    write_field,
    write_graph_of,
    write_node,
    write_parameter,
    write_value,
)
from hypothesis import given
from hypothesis import strategies as st

from echoexport.runtime.bundle.judging import judge as judging
from echoexport.runtime.bundle.judging.judge import judge_graph, judge_optimized_graph
from echoexport.runtime.bundle.judging.wire import MOST_FIELDS
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.contract.spec import TOLERANCES, SubnetSpec, TensorSpec
from echoexport.runtime.errors import BundleError

Judge = Callable[..., None]
PLACE = {"location": "small.bin", "offset": 64, "length": 128}
SUBGRAPH = write_field(1, "body") + write_field(6, b"") + write_field(20, 5)


def test_a_sound_graph_passes(graph: WrittenGraph, judge: Judge) -> None:
    judge(graph)


def test_fields_of_later_releases_are_passed_over(graph: WrittenGraph, judge: Judge) -> None:
    graph.in_file = write_field(900, b"later") + write_field(901, 7) + write_field(14, b"")
    graph.in_graph = write_field(902, 0.5)
    graph.nodes[0] += write_field(903, "later")
    judge(graph)


@pytest.mark.parametrize(
    "place",
    [
        {**PLACE, "location": "other.bin"},
        {**PLACE, "location": "../small.bin"},
        {**PLACE, "location": "./small.bin"},
        {**PLACE, "location": "/small.bin"},
        {**PLACE, "location": "small.bin\0"},
        {**PLACE, "location": ""},
        {"offset": 0, "length": 128},
    ],
)
def test_weights_lie_in_the_networks_own_file_alone(
    graph: WrittenGraph, judge: Judge, place: dict[str, Any]
) -> None:
    graph.tensors[0] = write_parameter("weight", [4, 8], **place)
    with pytest.raises(BundleError, match=r"small\.onnx: constant 'weight' lies in .* small\.bin;"):
        judge(graph)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"offset": 65}, "ends at byte 193 of small.bin, which has 192"),
        ({"offset": -1}, "has the offset '-1'"),
        ({"offset": "0x0"}, "has the offset '0x0'"),
        ({"offset": 1 << 70}, "has the offset"),
        ({"length": 120}, "takes 120 bytes; its shape 128"),
        ({"length": 256}, "takes 256 bytes; its shape 128"),
        ({"checksum": "none"}, "does not say where"),
    ],
)
def test_weights_lie_within_their_file_and_fill_their_shape(
    graph: WrittenGraph, judge: Judge, change: dict[str, Any], said: str
) -> None:
    graph.tensors[0] = write_parameter("weight", [4, 8], **{**PLACE, **change})
    with pytest.raises(BundleError, match=said):
        judge(graph)


@pytest.mark.parametrize("missing", ["offset", "length"])
def test_weights_say_where_they_lie(graph: WrittenGraph, judge: Judge, missing: str) -> None:
    place = {key: value for key, value in PLACE.items() if key != missing}
    graph.tensors[0] = write_parameter("weight", [4, 8], **place)
    with pytest.raises(BundleError, match=r"does not say where in small\.bin it lies"):
        judge(graph)


def test_a_constant_that_lies_inside_may_still_tell_where_it_lay(
    graph: WrittenGraph, judge: Judge
) -> None:
    inside = write_constant("bias", [0.5] * 8, shape=[8])
    entry = write_field(1, "location") + write_field(2, "elsewhere.bin")
    graph.tensors[1] = inside + write_field(13, entry)
    judge(graph)
    graph.tensors[1] = inside + write_field(13, entry) + write_field(14, 1)
    with pytest.raises(BundleError, match="'bias' lies in"):
        judge(graph)


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (
            write_parameter("bias", [8], more=write_field(14, 0), **PLACE),
            "does not say where it lies",
        ),
        (write_constant("bias", [0.5] * 7, shape=[8]), "'bias' is not of 32 bytes"),
        (write_parameter("bias", [8], element=8, **PLACE), "is of ONNX's type 8"),
        (write_parameter("bias", [1 << 20, 1 << 20], **PLACE), "has the sides"),
        (write_parameter("bias", [-8], **PLACE), "has the sides"),
        (write_parameter("bias", [1] * 9, **PLACE), "has the sides"),
        (write_parameter("bias", [8]), "does not say where it lies"),
        (write_field(8, "bias") + write_field(2, 1) + write_field(4, b"\0" * 4), "as a list"),
        (write_constant("weight", [0.5] * 8, shape=[8]), "two constants are called 'weight'"),
        (write_constant("noise", [0.5] * 8, shape=[8]), "'noise' is an input and a constant"),
    ],
)
def test_a_constant_is_whole_and_of_a_size_that_can_be(
    graph: WrittenGraph, judge: Judge, tensor: bytes, said: str
) -> None:
    graph.tensors[1] = tensor
    with pytest.raises(BundleError, match=said):
        judge(graph)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (write_field(5, SUBGRAPH), "a graph in an attribute"),
        (write_field(5, write_field(11, b"") + write_field(20, 10)), "graphs in an attribute"),
        (write_field(5, write_field(5, b"") + write_field(20, 4)), "a tensor in an attribute"),
        (
            write_field(5, write_field(1, "odd") + write_field(20, 4)),
            "'odd' .* is of kind 4",
        ),
        (write_field(5, write_field(1, "fold") + write_field(20, 2)), "has an attribute 'fold'"),
        (write_field(5, b"a" * 70000), "a node takes 70"),
        (write_field(7, "com.example"), "'com.example.MatMul'"),
        (write_field(4, "Loop"), "'Loop', which none of ours has"),
        (write_field(4, "Two\nlines"), r"'Two\\nlines'"),
        (write_field(1, "bias"), "has 3 inputs"),
        (write_field(2, "more"), "has 2 outputs"),
    ],
)
def test_a_node_is_of_the_list_and_written_as_ours_are(
    graph: WrittenGraph, judge: Judge, more: bytes, said: str
) -> None:
    graph.nodes[0] += more
    with pytest.raises(BundleError, match=said):
        judge(graph)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"in_file": write_field(20, b"")}, "a graph for training"),
        ({"in_file": write_field(25, b"")}, "functions of its own"),
        ({"in_file": write_field(7, b"")}, "holds 2 graphs"),
        ({"in_graph": write_field(15, b"")}, "sparse tensors"),
        ({"in_graph": write_field(14, b"")}, "annotations of quantization"),
        ({"format": 3}, "format is version 3"),
        ({"format": 99}, "format is version 99"),
        ({"opsets": {"": 9}}, "opset 9; this release opens 17 to 20"),
        ({"opsets": {"": 21}}, "opset 21"),
        ({"opsets": {"": -1}}, "opset -1"),
        ({"opsets": {}}, "opset 0"),
        ({"opsets": {"": 20, "com.example": 1}}, "operators of 'com.example'"),
        ({"opsets": {"": 20, "com.microsoft": 2}}, "version 2 of com.microsoft"),
        ({"nodes": []}, "has 0 nodes"),
    ],
)
def test_a_file_holds_one_graph_of_a_known_version_and_nothing_else(
    graph: WrittenGraph, judge: Judge, change: dict[str, Any], said: str
) -> None:
    for name, value in change.items():
        setattr(graph, name, value)
    with pytest.raises(BundleError, match=said):
        judge(graph)


@pytest.mark.parametrize(
    ("side", "values", "said"),
    [
        ("inputs", [], "input 'noise' is not there, the manifest says float32 of 2x4"),
        ("inputs", [write_value("sound", [2, 4])], "input 'noise' is not there"),
        ("inputs", [write_value("noise", [2, 5])], "'noise' is float32 of 2x5"),
        ("inputs", [write_value("noise", [2, 4], dtype="float16")], "'noise' is float16 of 2x4"),
        ("inputs", [write_value("noise", [2, 4])] * 2, "two of its inputs have one name"),
        ("outputs", [write_value("between", [2, 8])], "output 'between' is float32 of 2x8"),
        ("outputs", [write_field(1, "product")], "'product' has no type"),
        ("outputs", [write_field(1, "product") + write_field(2, write_field(4, b""))], "no tensor"),
    ],
)
def test_inputs_and_outputs_are_those_of_the_manifest(
    graph: WrittenGraph, judge: Judge, side: str, values: list[bytes], said: str
) -> None:
    setattr(graph, side, values)
    with pytest.raises(BundleError, match=said):
        judge(graph)


def test_an_output_is_given_by_a_node(graph: WrittenGraph, judge: Judge) -> None:
    del graph.nodes[1]
    with pytest.raises(BundleError, match="no node gives its output 'product'"):
        judge(graph)


def test_what_a_graph_says_of_a_value_is_what_its_nodes_give(
    graph: WrittenGraph, judge: Judge
) -> None:
    graph.values = [write_value("between", [2, 9])]
    with pytest.raises(BundleError, match=r"'between' has the sides \[2, 9\], .* give \[2, 8\]"):
        judge(graph)


def test_own_operators_are_for_their_backend_alone(graph: WrittenGraph, judge: Judge) -> None:
    domain = "com.microsoft"
    graph.nodes[0] = write_node("FusedMatMul", ["noise", "weight"], ["between"], domain=domain)
    graph.opsets[domain] = 1
    judge(graph, own="ort_cuda")
    for own in ("", "openvino"):
        with pytest.raises(BundleError, match=r"'com\.microsoft\.FusedMatMul', which none"):
            judge(graph, own=own)


def test_a_graph_of_too_many_nodes_or_bytes_is_refused(
    graph: WrittenGraph, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "MOST_NODES", 1)
    with pytest.raises(BundleError, match="has 2 nodes"):
        judge(graph)
    monkeypatch.setattr(judging, "LARGEST_GRAPH", 100)
    with pytest.raises(BundleError, match=r"bytes; weights belong in small\.bin"):
        judge(graph)


def test_every_part_of_a_graph_that_was_cut_off_is_refused(
    graph: WrittenGraph, judge: Judge
) -> None:
    whole = graph.write()
    for length in range(len(whole)):
        with pytest.raises(BundleError, match="no engine is given such a graph"):
            judge(whole[:length])


def test_a_file_of_nothing_but_fields_is_refused_in_a_second_or_two(judge: Judge) -> None:
    begun = time.process_time()
    with pytest.raises(BundleError, match="made of too many fields"):
        judge(write_field(5, 1) * (2 * MOST_FIELDS))
    assert time.process_time() - begun < 10


@given(data=st.data())
def test_changed_bytes_pass_or_are_refused_in_one_line(data: st.DataObject) -> None:
    tensor = TensorSpec("picture", "float32", (("height", 3), ("width", 5)))
    spec = SubnetSpec("small", (tensor,), (TensorSpec("kept", "float32", tensor.axes),), TOLERANCES)
    content = bytearray(write_graph_of(spec))
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    try:
        judge_graph(bytes(content), spec, path=Path("a"), weights_name="b", weights_bytes=0)
    except BundleError as error:
        assert str(error).startswith("a: ")
        assert len(str(error).splitlines()) == 1


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_line(content: bytes) -> None:
    spec = SubnetSpec("small", (), (), TOLERANCES)
    with pytest.raises(BundleError) as error:
        judge_graph(content, spec, path=Path("a"), weights_name="b", weights_bytes=0)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_graph_that_a_build_writes_passes_and_so_do_their_own_forms(
    build_tiny: Callable[..., Path], precision: str
) -> None:
    from echoexport.calibration.graphs.float_graph import FloatGraph
    from echoexport.export.ort_cuda import GRAPHS_FOR, specialize

    folder = build_tiny(precision=precision)
    manifest = read_manifest(folder)
    for name, entry in manifest.networks.items():
        own, _ = specialize(FloatGraph(folder / entry.graph).model)
        plain = (folder / entry.graph).read_bytes()
        for backend, data in (("", plain), (GRAPHS_FOR, own.SerializeToString())):
            judge_graph(
                data,
                entry.describe(name),
                path=folder / entry.graph,
                weights_name=entry.weights,
                weights_bytes=manifest.files[entry.weights].bytes,
                own=backend,
            )


def test_an_optimized_graph_may_hold_operators_of_the_library_but_no_control_flow(
    graph: WrittenGraph,
) -> None:
    spec = SubnetSpec(
        "small",
        (TensorSpec("noise", "float32", (("batch", 2), ("width", 4))),),
        (TensorSpec("product", "float32", (("batch", 2), ("width", 8))),),
        TOLERANCES,
    )
    place = {"path": Path("a.onnx"), "weights_name": "small.bin", "weights_bytes": 192}
    graph.nodes[0] = write_node("Gemm", ["noise", "weight", "bias"], ["between"], alpha=1.0)
    judge_optimized_graph(graph.write(), spec, **place)  # type: ignore[arg-type]
    graph.nodes[0] = write_node("EPContext", ["noise"], ["between"], domain="com.microsoft")
    with pytest.raises(BundleError, match=r"'com\.microsoft\.EPContext', which none of ours has"):
        judge_optimized_graph(graph.write(), spec, **place)  # type: ignore[arg-type]
    graph.nodes[0] = write_node("Gemm", ["noise", "weight"], ["between"])
    graph.tensors[0] = write_parameter("weight", [4, 8], **{**PLACE, "location": "../other"})
    with pytest.raises(BundleError, match=r"lies in '\.\./other', not in small\.bin"):
        judge_optimized_graph(graph.write(), spec, **place)  # type: ignore[arg-type]
