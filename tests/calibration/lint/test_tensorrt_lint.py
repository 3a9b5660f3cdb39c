"""What TensorRT's parsers refuse is found, with the versions that refuse and the fix."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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

Spoil = Callable[[onnx.ModelProto], object]
FLOAT = TensorProto.FLOAT
HALF = TensorProto.FLOAT16
EVERY = tuple(LINES)
SIDES = [1, 4, 6, 6]


def constant(name: str, values: object, dtype: type[np.generic] = np.float16) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


@pytest.fixture
def model() -> onnx.ModelProto:
    return make_model()


def make_model() -> onnx.ModelProto:
    """x padded, convolved with an int8 weight, normalized, doubled in size, in fp16.

    Every parser takes it.
    """
    scaling = ["x.scale", "zero"]
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["padded"], name="pad"),
        helper.make_node("QuantizeLinear", ["padded", *scaling], ["x.q"], name="x.q"),
        helper.make_node("DequantizeLinear", ["x.q", *scaling], ["x.dq"], name="x.dq"),
        helper.make_node(
            "DequantizeLinear", ["w.int8", "w.scale", "w.zero"], ["w"], name="w.dq", axis=0
        ),
        helper.make_node("Conv", ["x.dq", "w", "bias"], ["seen"], name="conv", kernel_shape=[3, 3]),
        helper.make_node(
            "InstanceNormalization", ["seen", "ones", "bias"], ["normed"], name="norm"
        ),
        helper.make_node(
            "Resize",
            ["normed", "", "scales"],
            ["big"],
            name="resize",
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        ),
        helper.make_node("Cast", ["big"], ["wide"], name="widen", to=FLOAT),
        helper.make_node("Mul", ["wide", "wide"], ["squared"], name="square"),
        helper.make_node("Cast", ["squared"], ["y"], name="narrow", to=HALF),
    ]
    tensors = [
        constant("pads", [0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        constant("x.scale", 0.5),
        constant("zero", 0, np.int8),
        constant("w.int8", np.ones((4, 4, 3, 3)), np.int8),
        constant("w.scale", [0.5] * 4),
        constant("w.zero", [0] * 4, np.int8),
        constant("bias", [1] * 4),
        constant("ones", [1] * 4),
        constant("scales", [1, 1, 2, 2], np.float32),
    ]
    graph = helper.make_graph(
        nodes,
        "sandbox",
        [helper.make_tensor_value_info("x", HALF, SIDES)],
        [helper.make_tensor_value_info("y", HALF, [1, 4, 12, 12])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def find(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name == name)


def insert(
    op: str,
    *inputs: str,
    output: str = "other",
    constants: tuple[TensorProto, ...] = (),
    **how: object,
) -> Spoil:
    """One more node, called "culprit", at the graph's end: it may read every value."""

    def spoil(model: onnx.ModelProto) -> None:
        model.graph.initializer.extend(constants)
        outputs = output.split() if output else []
        model.graph.node.append(helper.make_node(op, list(inputs), outputs, name="culprit", **how))  # type: ignore[arg-type]

    return spoil


def set_attribute(name: str, **values: object) -> Spoil:
    def spoil(model: onnx.ModelProto) -> None:
        node = find(model, name)
        for key, value in values.items():
            kept = [one for one in node.attribute if one.name != key]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute(key, value)])

    return spoil


def replace_constant(name: str, values: object, dtype: type[np.generic]) -> Spoil:
    def spoil(model: onnx.ModelProto) -> None:
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
        tensor.CopyFrom(constant(name, values, dtype))

    return spoil


def store_outside(location: str, length: int = 8) -> Spoil:
    def spoil(model: onnx.ModelProto) -> None:
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "bias")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)

    return spoil


def read_from_data(place: int, name: str) -> Spoil:
    """An input of a node that was a constant comes from the graph's input."""

    def spoil(model: onnx.ModelProto) -> None:
        find(model, name).input[place] = "x"

    return spoil


def set_opset(version: int) -> Spoil:
    return lambda model: setattr(model.opset_import[0], "version", version)


def free_side(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def quantize_bias(model: onnx.ModelProto) -> None:
    model.graph.initializer.extend(
        [constant("bias.int32", [1] * 4, np.int32), constant("bias.scale", [1] * 4)]
    )
    made = helper.make_node(
        "DequantizeLinear", ["bias.int32", "bias.scale"], ["bias.dq"], name="culprit", axis=0
    )
    model.graph.node.insert(0, made)
    find(model, "conv").input[2] = "bias.dq"


WIDE = constant("more", [[1, 2]], np.float32)
AXES = constant("axes", [2, 3], np.int64)
PADS = constant("two", [1, 1, 1, 1], np.int64)
# What is planted: the rule that must name it, the node or value, the versions that
# refuse it.
FAULTS: dict[str, tuple[str, str, tuple[str, ...], Spoil]] = {
    "an opset of TensorRT 10.9": ("parser opset", "model", ("10.3",), set_opset(21)),
    "an opset of the future": ("parser opset", "model", EVERY, set_opset(25)),
    "an opset of the past": ("parser opset", "model", EVERY, set_opset(8)),
    "attention in one operator": (
        "parser operator",
        "culprit",
        ("10.3",),
        insert("Attention", "big", "big", "big"),
    ),
    "opset-21 group normalization": (
        "parser operator",
        "culprit",
        ("10.3",),
        insert("GroupNormalization", "big", "ones", "bias", num_groups=2),
    ),
    "an operator of ONNX Runtime's": (
        "parser operator",
        "culprit",
        EVERY,
        insert("FusedMatMul", "big", "big", domain="com.microsoft"),
    ),
    "an integer convolution": (
        "parser operator",
        "culprit",
        EVERY,
        insert("ConvInteger", "x.q", "w.int8"),
    ),
    "an operator nobody parses": ("parser operator", "culprit", EVERY, insert("Unique", "big")),
    "fp16 and fp32 in one sum": ("mixed types", "culprit", EVERY, insert("Add", "big", "wide")),
    "an fp32 weight in an fp16 product": (
        "mixed types",
        "culprit",
        EVERY,
        insert("MatMul", "big", "m32", constants=(constant("m32", np.ones((12, 2)), np.float32),)),
    ),
    "a softmax of whole numbers": (
        "parser type",
        "culprit",
        EVERY,
        insert("Softmax", "axes", constants=(AXES,)),
    ),
    "a sum in fp64": (
        "parser type",
        "culprit",
        EVERY,
        insert("Add", "d", "d", constants=(constant("d", [1.0], np.float64),)),
    ),
    "a bias in int32": ("parser type", "culprit", EVERY, quantize_bias),
    "a weight in uint8": (
        "parser type",
        "w.dq",
        EVERY,
        replace_constant("w.int8", np.ones((4, 4, 3, 3)), np.uint8),
    ),
    "a cast to int8": ("cast", "culprit", EVERY, insert("Cast", "big", to=TensorProto.INT8)),
    "a cast to fp64": ("cast", "culprit", EVERY, insert("Cast", "big", to=TensorProto.DOUBLE)),
    "a cubic resize": ("resize", "resize", EVERY, set_attribute("resize", mode="cubic")),
    "a resize without aliasing": ("resize", "resize", EVERY, set_attribute("resize", antialias=1)),
    "a resize that crops": (
        "resize",
        "resize",
        EVERY,
        set_attribute("resize", coordinate_transformation_mode="tf_crop_and_resize"),
    ),
    "a resize of a kept aspect": (
        "resize",
        "resize",
        EVERY,
        set_attribute("resize", keep_aspect_ratio_policy="not_larger"),
    ),
    "a resize of some axes": ("resize", "resize", EVERY, set_attribute("resize", axes=[2, 3])),
    "a size from data": ("constant input", "resize", EVERY, read_from_data(2, "resize")),
    "a scale from data": ("constant input", "x.q", EVERY, read_from_data(1, "x.q")),
    "pads of named axes": (
        "pad",
        "culprit",
        ("10.3",),
        insert("Pad", "big", "two", "", "axes", constants=(AXES, PADS)),
    ),
    "a pad of an unknown mode": ("pad", "pad", EVERY, set_attribute("pad", mode="mirror")),
    "scales of blocks": ("qdq block", "w.dq", EVERY, set_attribute("w.dq", block_size=2)),
    "a layer norm with its mean": (
        "normalization",
        "culprit",
        EVERY,
        insert(
            "LayerNormalization",
            "big",
            "twelve",
            output="n mean",
            constants=(constant("twelve", [1] * 12),),
        ),
    ),
    "an instance norm over rows": (
        "normalization",
        "culprit",
        EVERY,
        insert(
            "InstanceNormalization",
            "flat",
            "ones",
            "bias",
            constants=(constant("flat", np.ones((2, 4))),),
        ),
    ),
    "a pool with holes": (
        "pool",
        "culprit",
        EVERY,
        insert("MaxPool", "big", kernel_shape=[2, 2], dilations=[2, 2]),
    ),
    "a value of nine axes": (
        "rank",
        "culprit",
        EVERY,
        insert("Reshape", "big", "nine", constants=(constant("nine", [1] * 8 + [576], np.int64),)),
    ),
    "an input of any length": ("static shape", "x", EVERY, free_side),
    "weights at an absolute place": (
        "external data",
        "bias",
        EVERY,
        store_outside("/models/weights.bin"),
    ),
    "weights outside the folder": ("external data", "bias", EVERY, store_outside("../weights.bin")),
    "weights of another length": ("external data", "bias", EVERY, store_outside("weights.bin", 12)),
}


def check_all(model: onnx.ModelProto) -> list[Finding]:
    return check_tensorrt(model, LINES)


def test_a_graph_that_every_parser_takes_has_no_findings(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    assert check_all(model) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_each_planted_fault_is_found_with_its_versions_and_a_fix(
    model: onnx.ModelProto, fault: str
) -> None:
    rule, where, versions, spoil = FAULTS[fault]
    spoil(model)
    found = [one for one in check_all(model) if (one.rule, one.where) == (rule, where)]
    named = [name for one in found for name in one.library.removeprefix("TensorRT ").split(", ")]
    assert named == list(versions)
    assert found[0].fix
    assert f"{rule}: {where}: " in str(found[0]) and "; fix: " in str(found[0])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_breaks_no_rule_of_another_node(model: onnx.ModelProto, fault: str) -> None:
    _, where, _, spoil = FAULTS[fault]
    spoil(model)
    spoiled = {"model", "culprit", where}
    assert {one.where for one in check_all(model)} <= spoiled


def test_weights_beside_the_graph_are_in_order(model: onnx.ModelProto) -> None:
    store_outside("weights.bin")(model)
    assert check_all(model) == []


def test_a_message_that_is_too_long_to_read_is_found(
    model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt_lint, "_LARGEST_MESSAGE", model.ByteSize() - 1)
    (finding,) = check_all(model)
    assert (finding.rule, finding.fix) == (
        "parser size",
        "keep the weights in a file beside the graph",
    )


def test_a_value_of_two_thousand_million_is_too_much_before_10_10(model: onnx.ModelProto) -> None:
    sides = [1, 4, 2**15, 2**15]
    model.graph.value_info.append(helper.make_tensor_value_info("seen", HALF, sides))
    found = [one for one in check_all(model) if one.rule == "volume"]
    assert "conv" in {one.where for one in found}
    assert {one.library for one in found} == {"TensorRT 10.3"}


@pytest.mark.parametrize("version", ["8.6", "10.2.0", "9"])
def test_a_version_before_all_lines_is_refused_with_the_way_out(
    version: str, model: onnx.ModelProto
) -> None:
    with pytest.raises(
        GraphError, match=r"graphs are made for 10\.3 and newer; update JetPack to 6\.1"
    ):
        check_tensorrt(model, [version])


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
    tensors = [constant("a", [1], ELEMENTS[left]), constant("b", [1], ELEMENTS[right])]
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
    for name in FAMILY.networks:
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


def test_the_whole_lint_names_the_version_beside_its_own_rules(model: onnx.ModelProto) -> None:
    from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec

    axes = tuple((f"axis{i}", n) for i, n in enumerate(SIDES))
    spec = SubnetSpec(
        "sandbox", (TensorSpec("x", "float16", axes),), (TensorSpec("y", "float16", axes),), {}
    )
    insert("Attention", "big", "big", "big")(model)
    libraries = {one.library for one in lint_graph(model, spec, tensorrt=["10.3", "10.16.2"])}
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
    tmp_path: Path,
) -> None:
    written = {}
    for number, (fault, (rule, _, versions, spoil)) in enumerate(
        {"none": ("", "", EVERY, list), **FAULTS}.items()
    ):
        model = make_model()
        if fault != "none":
            spoil(model)
        if versions == EVERY and rule != "external data" and show_output(model):
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
