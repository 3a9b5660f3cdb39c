"""What TensorRT's parsers refuse is found, with the versions that refuse and the fix."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from echoexport.calibration.graphs.float_graph import FloatGraph
from echoexport.calibration.graphs.float_islands import keep_float32
from echoexport.calibration.lint import tensorrt_lint
from echoexport.calibration.lint.finding import Finding
from echoexport.calibration.lint.graph_lint import lint_graph, require_clean
from echoexport.calibration.lint.tensorrt_lint import check_tensorrt
from echoexport.calibration.lint.tensorrt_operators import LINES
from echoexport.export.engines.tensorrt_rtx import is_installed
from echoexport.runtime.contract.families.echomimic_v1 import FAMILY
from echoexport.runtime.contract.manifest import read_manifest
from echoexport.runtime.errors import GraphError


def check_all(model: onnx.ModelProto) -> list[Finding]:
    return check_tensorrt(model, LINES)


def test_a_graph_that_every_parser_takes_has_no_findings(parsed_model: onnx.ModelProto) -> None:
    onnx.checker.check_model(parsed_model, full_check=True)
    assert check_all(parsed_model) == []


def test_each_planted_fault_is_found_with_its_versions_and_a_fix(
    parsed_model: onnx.ModelProto, parser_fault: str, faults: dict[str, Any]
) -> None:
    rule, where, versions, spoil = faults[parser_fault]
    spoil(parsed_model)
    found = [one for one in check_all(parsed_model) if (one.rule, one.where) == (rule, where)]
    named = [name for one in found for name in one.library.removeprefix("TensorRT ").split(", ")]
    assert named == list(versions)
    assert found[0].fix
    assert f"{rule}: {where}: " in str(found[0]) and "; fix: " in str(found[0])


def test_a_planted_fault_breaks_no_rule_of_another_node(
    parsed_model: onnx.ModelProto, parser_fault: str, faults: dict[str, Any]
) -> None:
    _, where, _, spoil = faults[parser_fault]
    spoil(parsed_model)
    spoiled = {"model", "culprit", where}
    assert {one.where for one in check_all(parsed_model)} <= spoiled


def test_weights_beside_the_graph_are_in_order(
    parsed_model: onnx.ModelProto, move_weights: Callable[..., Any]
) -> None:
    move_weights("weights.bin")(parsed_model)
    assert check_all(parsed_model) == []


def test_a_message_that_is_too_long_to_read_is_found(
    parsed_model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_lint, "_LARGEST_MESSAGE", parsed_model.ByteSize() - 1)
    (finding,) = check_all(parsed_model)
    assert (finding.rule, finding.fix) == (
        "parser size",
        "keep the weights in a file beside the graph",
    )


def test_a_value_of_two_thousand_million_is_too_much_before_10_10(
    parsed_model: onnx.ModelProto,
) -> None:
    sides = [1, 4, 2**15, 2**15]
    parsed_model.graph.value_info.append(
        helper.make_tensor_value_info("seen", TensorProto.FLOAT16, sides)
    )
    found = [one for one in check_all(parsed_model) if one.rule == "volume"]
    assert "conv" in {one.where for one in found}
    assert {one.library for one in found} == {"TensorRT 10.3"}


@pytest.mark.parametrize("version", ["8.6", "10.2.0", "9"])
def test_a_version_before_all_lines_is_refused_with_the_way_out(
    version: str, parsed_model: onnx.ModelProto
) -> None:
    with pytest.raises(
        GraphError, match=r"graphs are made for 10\.3 and newer; update JetPack to 6\.1"
    ):
        check_tensorrt(parsed_model, [version])


ELEMENTS = {
    "float32": np.float32,
    "float16": np.float16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "bool": np.bool_,
    "float64": np.float64,
    "int8": np.int8,
}


@given(left=st.sampled_from(sorted(ELEMENTS)), right=st.sampled_from(sorted(ELEMENTS)))
def test_a_sum_passes_where_both_types_are_one_that_is_summed(left: str, right: str) -> None:
    tensors = [
        numpy_helper.from_array(np.array([1], ELEMENTS[kind]), name)
        for name, kind in (("a", left), ("b", right))
    ]
    node = helper.make_node("Add", ["a", "b"], ["y"], name="sum")
    body = helper.make_graph([node], "sum", [], [], tensors)
    rules = {
        one.rule
        for one in check_all(helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)]))
    }
    summed = {"float32", "float16", "int32", "int64"}
    wanted = ({"mixed types"} if left != right else set()) | (
        {"parser type"} if {left, right} - summed else set()
    )
    assert rules == wanted


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_network_of_a_tiny_bundle_passes_for_every_line(
    build_tiny: Callable[..., Path], precision: str
) -> None:
    folder = build_tiny(precision=precision)
    manifest = read_manifest(folder)
    for name in FAMILY.required:
        model = FloatGraph(folder / f"{name}.onnx").model
        assert check_all(model) == []
        require_clean(model, manifest.networks[name].describe(name), tensorrt=LINES)


def test_a_graph_with_parts_in_fp32_passes_for_every_line(build_tiny: Callable[..., Path]) -> None:
    """Casts around them are what a strongly typed network wants."""
    model = FloatGraph(build_tiny(precision="fp16") / "denoising_unet.onnx").model
    chosen = [
        node.name
        for node in model.graph.node
        if node.op_type in ("Softmax", "InstanceNormalization")
    ][:6]
    assert len(chosen) == 6
    mixed = keep_float32(model, chosen)
    assert check_all(mixed) == []


def test_a_cast_forgotten_in_such_a_graph_is_found(build_tiny: Callable[..., Path]) -> None:
    model = FloatGraph(build_tiny(precision="fp16") / "denoising_unet.onnx").model
    target = next(node for node in model.graph.node if node.op_type == "InstanceNormalization")
    mixed = keep_float32(model, [target.name])
    widened = next(node for node in mixed.graph.node if node.name == target.name)
    widened.input[0] = widened.input[0].removesuffix(".float32")
    assert ("mixed types", target.name) in {(one.rule, one.where) for one in check_all(mixed)}


def test_the_whole_lint_names_the_version_beside_its_own_rules(
    parsed_model: onnx.ModelProto, plant: Callable[..., Any]
) -> None:
    from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec

    axes = tuple((f"axis{i}", n) for i, n in enumerate([1, 4, 6, 6]))
    spec = SubnetSpec(
        "sandbox", (TensorSpec("x", "float16", axes),), (TensorSpec("y", "float16", axes),), {}
    )
    plant("Attention", "big", "big", "big")(parsed_model)
    libraries = {
        one.library for one in lint_graph(parsed_model, spec, tensorrt=["10.3", "10.16.2"])
    }
    assert libraries == {"", "TensorRT 10.3"}


PARSE = """
import json, sys
import tensorrt_rtx_libs
import tensorrt_rtx_bindings as trt

logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
for path in sys.argv[1:]:
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    with open(path, "rb") as file:
        parsed = parser.parse(file.read())
    config = builder.create_builder_config()
    built = parsed and builder.build_serialized_network(network, config) is not None
    print(json.dumps([path, bool(built)]), flush=True)
"""

# What TensorRT-RTX 1.7 takes beyond what NVIDIA documents for the parser's operators;
# fp64 it makes fp32 of, silently.
TAKEN = {
    "an opset of the future",
    "a cubic resize",
    "scales of blocks",
    "a cast to int8",
    "a cast to fp64",
    "a sum in fp64",
}


def show_output(model: onnx.ModelProto) -> bool:
    """Make the culprit's outputs the graph's, so that no parser leaves them out.

    Whether their type is known.
    """
    culprits = [
        node
        for node in model.graph.node
        if node.name == "culprit" and node.op_type != "DequantizeLinear"
    ]
    try:
        inferred = {
            info.name: info for info in onnx.shape_inference.infer_shapes(model).graph.value_info
        }
    except onnx.shape_inference.InferenceError:  # an operator that ONNX itself does not know
        return False
    for name in (name for node in culprits for name in node.output[:1]):
        if name not in inferred:
            return False
        model.graph.output.append(inferred[name])
    return True


@pytest.mark.slow
@pytest.mark.skipif(not is_installed(), reason="TensorRT-RTX is not installed")
def test_nvidias_own_parser_and_builder_refuse_what_we_say_every_version_refuses(
    tmp_path: Path, faults: dict[str, Any], parsed_model: onnx.ModelProto
) -> None:
    written = {}
    for number, (fault, (rule, _, versions, spoil)) in enumerate(
        {"none": ("", "", tuple(LINES), list), **faults}.items()
    ):
        model = onnx.ModelProto()
        model.CopyFrom(parsed_model)
        if fault != "none":
            spoil(model)
        if versions == tuple(LINES) and rule != "external data" and show_output(model):
            written[str(tmp_path / f"{number}.onnx")] = fault
            (tmp_path / f"{number}.onnx").write_bytes(model.SerializeToString())
    done = subprocess.run(
        [sys.executable, "-c", PARSE, *written],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    answers = dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
    assert set(answers) == set(written), done.stderr[-500:]
    assert {written[path] for path, built in answers.items() if built} - TAKEN == {"none"}
    assert len(answers) >= 18
