"""A small network of one product, written with its weights beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from echoexport.runtime.contract.spec import SubnetSpec, TensorSpec

SIDE = 64


@pytest.fixture
def product_spec() -> SubnetSpec:
    """``y`` of ``x``, both (2, 64)."""
    axes = (("rows", 2), ("columns", SIDE))
    return SubnetSpec(
        "product", (TensorSpec("x", "float32", axes),), (TensorSpec("y", "float32", axes),), {}
    )


@pytest.fixture
def product_graph(tmp_path: Path) -> Path:
    """The graph of y = 2 x, its weights in a file of their own."""
    weights = numpy_helper.from_array(2 * np.eye(SIDE, dtype=np.float32), "w")
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, SIDE]) for name in ("x", "y")
    ]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = helper.make_model(
        helper.make_graph([node], "product", values[:1], values[1:], [weights]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    folder = tmp_path / "bundle"
    folder.mkdir()
    onnx.save_model(
        model,
        folder / "product.onnx",
        save_as_external_data=True,
        location="product.bin",
        size_threshold=0,
    )
    return folder / "product.onnx"
