"""ONNX Runtime on CUDA: what its provider is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoexport.runtime.contract.spec import SubnetSpec
from echoexport.runtime.engine.ort_providers import CUDA_PROVIDER

Make = Callable[..., Any]
Graph = tuple[Path, SubnetSpec]


@pytest.mark.parametrize(
    ("arithmetic_graph", "wanted"),
    [("float32", "0"), ("float16", "1")],
    indirect=["arithmetic_graph"],
)
def test_cuda_keeps_fp32_whole_and_fp16_on_tensor_cores_within_its_memory_limit(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph, wanted: str
) -> None:
    fake = make_ort()
    open_ort("ort_cuda", arithmetic_graph, device_memory=6 * 2**30)
    ((provider, options),) = fake.asked[0]
    assert provider == CUDA_PROVIDER
    assert options["use_tf32"] == wanted
    assert options["gpu_mem_limit"] == str(6 * 2**30)
    assert all(isinstance(value, str) for value in options.values())


def test_cuda_takes_the_convolutions_that_cudnn_expects_to_be_quickest(
    make_ort: Make, open_ort: Make, arithmetic_graph: Graph
) -> None:
    fake = make_ort()
    open_ort("ort_cuda", arithmetic_graph)
    assert fake.asked[0][0][1]["cudnn_conv_algo_search"] == "HEURISTIC"
