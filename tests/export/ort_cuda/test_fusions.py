"""Fusions one after another: each makes room for the next."""

from __future__ import annotations

from typing import Any

import pytest

from echoexport.export.ort_cuda import fusions

pytest.importorskip("onnxruntime")

EXACT = 1e-5
B = 2
T = 5
C = 6


def test_a_residual_of_a_single_row_goes_into_its_norm(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    total = draft.add("Add", draft.input(1, T, C), draft.input(1, T, C))
    normal = draft.add("LayerNormalization", total, draft.weight(C), draft.weight(C))
    found, error = rewritten(draft.finish(normal), fusions.fuse)
    assert error <= EXACT
    assert found == {"SkipLayerNormalization": 1, "Identity": 1}
