"""Fixtures of the judge's tests: a sound graph, whose parts a test may change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.graph_bytes import (
    WrittenGraph,
    write_constant,
    write_node,
    write_parameter,
    write_value,
)

from echoexport.runtime.bundle.judging.judge import judge_graph
from echoexport.runtime.contract.spec import TOLERANCES, SubnetSpec, TensorSpec

WEIGHTS = "small.bin"
SPEC = SubnetSpec(
    "small",
    (TensorSpec("noise", "float32", (("batch", 2), ("width", 4))),),
    (TensorSpec("product", "float32", (("batch", 2), ("width", 8))),),
    TOLERANCES,
)


@pytest.fixture
def graph() -> WrittenGraph:
    """``product`` is ``noise`` times weights in the file beside it, and a bias in the graph."""
    return WrittenGraph(
        nodes=[
            write_node("MatMul", ["noise", "weight"], ["between"]),
            write_node("Add", ["between", "bias"], ["product"]),
        ],
        tensors=[
            write_parameter("weight", [4, 8], location=WEIGHTS, offset=64, length=128),
            write_constant("bias", [0.5] * 8, shape=[8]),
        ],
        inputs=[write_value("noise", [2, 4])],
        outputs=[write_value("product", [2, 8])],
        values=[write_value("between", [2, 8])],
    )


@pytest.fixture
def judge() -> Callable[..., None]:
    """A function that judges a graph, or bytes, with a file of 192 bytes beside it."""

    def run(graph: WrittenGraph | bytes, *, own: str = "") -> None:
        data = graph if isinstance(graph, bytes) else graph.write()
        path = Path("bundle/small.onnx")
        judge_graph(data, SPEC, path=path, weights_name=WEIGHTS, weights_bytes=192, own=own)

    return run
