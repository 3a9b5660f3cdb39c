"""Norms over a single group, merged on OpenVINO with the same result; any other is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from echoexport.runtime.engine.openvino.norms import merge_single_group_norms


def test_openvino_normalizes_a_single_group_in_one_operation_with_the_same_result(
    norm_graph: Callable[..., bytes],
) -> None:
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    given = np.random.default_rng(1).standard_normal((2, 4, 6, 5)).astype(np.float32)
    plain, merged = (core.read_model(norm_graph(1)) for _ in range(2))
    assert merge_single_group_norms(merged) == 1
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    results = [core.compile_model(model, "CPU", config)([given])[0] for model in (plain, merged)]
    np.testing.assert_allclose(results[1], results[0], rtol=1e-4, atol=1e-5)
    kinds = [op.get_type_name() for op in merged.get_ordered_ops()]
    assert kinds.count("MVN") == 1


@pytest.mark.parametrize(
    "graph", [{"groups": 2}, {"groups": 1, "scale": 2.0}], ids=["two groups", "a scale of two"]
)
def test_openvino_leaves_any_other_norm_as_it_is(
    graph: dict[str, Any], norm_graph: Callable[..., bytes]
) -> None:
    openvino = pytest.importorskip("openvino")
    assert merge_single_group_norms(openvino.Core().read_model(norm_graph(**graph))) == 0
