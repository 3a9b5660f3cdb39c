"""A graph that is small enough to be built by a double of the library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Two outputs of one input."""
    weights = numpy_helper.from_array(np.eye(4, dtype=np.float16), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Relu", ["x"], ["z"])]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, [2, 4]) for name in "xyz"]
    model = helper.make_model(
        helper.make_graph(nodes, "tiny", tensors[:1], tensors[1:], [weights]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    path = tmp_path / "bundle" / "tiny.onnx"
    path.parent.mkdir()
    onnx.save(model, path)
    return path
