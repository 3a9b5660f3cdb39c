"""A float network of a convolution and five linears, its weights in a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from echoexport.calibration.graphs.float_graph import FloatGraph


@pytest.fixture(scope="session")
def make_graph() -> Callable[..., FloatGraph]:
    """A function that writes a convolution, three linears on it, two more on their sum past it."""

    def run(
        folder: Path, *, dtype: type[np.floating[Any]] = np.float32, width: int = 8
    ) -> FloatGraph:
        draw = np.random.default_rng(5)
        values: dict[str, np.ndarray] = {
            "conv.weight": draw.normal(size=(4, 4, 3, 3)),
            "conv.bias": draw.normal(size=4),
        }
        for name in ("to_k", "to_v", "to_q", "out", "last"):
            values[f"{name}.weight"] = draw.normal(size=(width, width))
        values["constant"] = np.ones(1)
        nodes = [
            helper.make_node(
                "Conv", ["x", "conv.weight", "conv.bias"], ["seen"], name="conv", pads=[1, 1, 1, 1]
            ),
            *(
                helper.make_node("MatMul", ["seen", f"to_{k}.weight"], [k], name=f"linear_{k}")
                for k in "kvq"
            ),
            helper.make_node("Add", ["k", "v"], ["kv"], name="add"),
            helper.make_node("Add", ["kv", "q"], ["kvq"], name="add_1"),
            helper.make_node("MatMul", ["kvq", "out.weight"], ["o"], name="linear_o"),
            helper.make_node("MatMul", ["o", "last.weight"], ["l"], name="linear_l"),
            helper.make_node("Mul", ["l", "constant"], ["y"], name="scale"),
        ]
        element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        sides = [1, 4, 6, width]
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("x", element, sides)],
            [helper.make_tensor_value_info("y", element, sides)],
            [numpy_helper.from_array(array.astype(dtype), name) for name, array in values.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        folder.mkdir(exist_ok=True, parents=True)
        onnx.save_model(
            model,
            folder / "net.onnx",
            save_as_external_data=True,
            location="net.bin",
            size_threshold=60,
        )
        return FloatGraph(folder / "net.onnx")

    return run
