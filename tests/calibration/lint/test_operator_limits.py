"""Limits of single operators: modes, axes and inputs that parsers take, and those they refuse."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from echoexport.calibration.lint.operator_limits import LIMITS
from echoexport.calibration.lint.tensorrt_operators import LINES
from echoexport.calibration.lint.typed_graph import TypedGraph

FLOAT = TensorProto.FLOAT
SIDES = [1, 4, 6, 6]


def constant(name: str, values: object, dtype: type[np.generic] = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def check(node: onnx.NodeProto, *constants: TensorProto, line: str = "10.3") -> list[str]:
    """Rules that one node breaks, which reads an x of SIDES and these constants."""
    x = helper.make_tensor_value_info("x", FLOAT, SIDES)
    body = helper.make_graph([node], "one", [x], [], list(constants))
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 20)])
    graph = TypedGraph(model)
    limits = LIMITS.get(node.op_type, ())
    return [found.rule for limit in limits for found in limit(node, graph, LINES[line])]


@given(
    mode=st.sampled_from(["nearest", "linear", "cubic"]),
    nearest=st.sampled_from(
        ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil", "nearest_even"]
    ),
    place=st.sampled_from(
        [
            "half_pixel",
            "pytorch_half_pixel",
            "asymmetric",
            "align_corners",
            "half_pixel_symmetric",
            "tf_crop_and_resize",
        ]
    ),
    antialias=st.integers(0, 1),
)
def test_a_resize_passes_with_the_documented_modes_only(
    mode: str, nearest: str, place: str, antialias: int
) -> None:
    how = {
        "mode": mode,
        "nearest_mode": nearest,
        "coordinate_transformation_mode": place,
        "antialias": antialias,
    }
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], name="resize", **how)  # type: ignore[arg-type]
    found = check(node, constant("scales", [1, 1, 2, 2]))
    wrong = [
        mode == "cubic",
        nearest == "nearest_even",
        place in ("half_pixel_symmetric", "tf_crop_and_resize"),
        antialias == 1,
    ]
    assert found == ["resize"] * sum(wrong)


AXES = constant("axes", [2, 3], np.int64)
PADS = constant("pads", [1, 1, 1, 1], np.int64)


def test_pads_may_name_their_axes_from_10_16_on() -> None:
    node = helper.make_node("Pad", ["x", "pads", "", "axes"], ["y"], name="pad")
    assert check(node, AXES, PADS, line="10.3") == ["pad"]
    assert check(node, AXES, PADS, line="10.16") == []


@pytest.mark.parametrize(
    ("to", "rules"),
    [
        (TensorProto.FLOAT16, []),
        (TensorProto.INT64, []),
        (TensorProto.INT8, ["cast"]),
        (TensorProto.DOUBLE, ["cast"]),
    ],
)
def test_a_cast_leads_to_types_that_a_parser_has(to: int, rules: list[str]) -> None:
    assert check(helper.make_node("Cast", ["x"], ["y"], name="cast", to=to)) == rules


@pytest.mark.parametrize(("sides", "rules"), [([1, 4, 6], []), ([2, 4], ["normalization"])])
def test_an_instance_norm_has_three_to_five_axes(sides: list[int], rules: list[str]) -> None:
    node = helper.make_node("InstanceNormalization", ["v", "ones", "ones"], ["y"], name="norm")
    assert check(node, constant("v", np.ones(sides)), constant("ones", [1] * 4)) == rules


def test_a_pool_has_neither_holes_nor_indices() -> None:
    how = {"kernel_shape": [2, 2]}
    assert check(helper.make_node("MaxPool", ["x"], ["y"], name="pool", **how)) == []
    holes = helper.make_node("MaxPool", ["x"], ["y"], name="pool", dilations=[2, 2], **how)
    places = helper.make_node("MaxPool", ["x"], ["y", "places"], name="pool", **how)
    assert check(holes) == check(places) == ["pool"]


def test_what_a_shape_is_made_of_must_be_constant() -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"], name="reshape")
    assert check(node) == ["constant input"]
    assert check(node, constant("shape", [4, 36], np.int64)) == []


def test_scales_of_blocks_are_refused() -> None:
    inputs = ["w", "scale"]
    stored = (constant("w", np.ones((4, 4)), np.int8), constant("scale", np.ones((2, 4))))
    node = helper.make_node("DequantizeLinear", inputs, ["y"], name="dq", axis=0, block_size=2)
    assert check(node, *stored) == ["qdq block"]
