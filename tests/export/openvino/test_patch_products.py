"""Convolutions as products of patches: the same numbers, and which are left alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from echoexport.export.graphs.edited_graph import EditedGraph
from echoexport.export.openvino.patch_products import FEW_PIXELS, PatchProducts, list_patches

pytest.importorskip("onnxruntime")

CLOSE = 100.0  # dB


def convolution(
    draft: Any,
    *,
    source: tuple[int, ...] = (2, 16, 4, 4),
    made: int = 24,
    kernel: tuple[int, int] = (3, 3),
    bias: bool = True,
    group: int = 1,
    **attributes: Any,
) -> str:
    weight = draft.weight(made, source[1] // group, *kernel)
    biases = (draft.weight(made),) if bias else ()
    given = {"pads": [1, 1, 1, 1], **attributes}
    return str(draft.add("Conv", draft.input(*source), weight, *biases, group=group, **given))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bias": False},
        {"source": (3, 16, 2, 5)},
        {"source": (1, 32, 8, 8)},
        {"strides": [2, 2]},
        {"strides": [2, 1], "pads": [0, 1, 1, 0], "source": (2, 16, 5, 4)},
        {"pads": [0, 0, 0, 0], "source": (2, 16, 6, 5)},
        {"kernel": (1, 3), "pads": [0, 1, 0, 1]},
        {"kernel": (2, 2), "pads": [0, 0, 0, 0]},
    ],
)
def test_a_product_gives_what_the_convolution_gives(
    sketch: Any, rewrite_all: Any, decibels: Any, changes: dict[str, Any]
) -> None:
    draft = sketch()
    model = draft.finish(convolution(draft, **changes))
    result, found = rewrite_all(model, PatchProducts(), 1)
    used = Counter(node.op_type for node in result.graph.node)
    assert found == 1
    assert decibels(model, result) >= CLOSE
    assert (used["Conv"], used["MatMul"]) == (0, 1)


def test_weights_stay_as_they_are_stored(sketch: Any, rewrite_all: Any) -> None:
    draft = sketch()
    model = draft.finish(convolution(draft))
    result, _ = rewrite_all(model, PatchProducts(), 1)
    stored = {one.name: one.raw_data for one in model.graph.initializer}
    kept = {one.name: one.raw_data for one in result.graph.initializer if one.name in stored}
    assert kept == stored
    new = [one for one in result.graph.initializer if one.name not in stored]
    assert all(one.data_type == 7 for one in new)  # numbers of places and shapes alone


@pytest.mark.parametrize(
    "changes",
    [
        {"group": 2},
        {"dilations": [2, 2], "pads": [2, 2, 2, 2]},
        {"source": (2, 16, 9, 8)},  # more than FEW_PIXELS
        {"kernel": (1, 1), "pads": [0, 0, 0, 0]},
        {"source": (2, 4, 4, 4)},  # too few channels to read
        {"made": 8},  # too few to make
    ],
)
def test_other_convolutions_are_not_found(sketch: Any, changes: dict[str, Any]) -> None:
    draft = sketch()
    model = draft.finish(convolution(draft, **changes))
    assert PatchProducts().find(EditedGraph(model)) == []
    assert FEW_PIXELS == 64


def test_a_convolution_with_computed_weights_is_not_found(sketch: Any) -> None:
    draft = sketch()
    weight = draft.add("Mul", draft.weight(16, 16, 3, 3), draft.number(2.0))
    node = draft.add("Conv", draft.input(1, 16, 4, 4), weight, pads=[1, 1, 1, 1])
    assert PatchProducts().find(EditedGraph(draft.finish(node))) == []


def test_a_patch_names_the_pixels_that_its_taps_read(sketch: Any) -> None:
    draft = sketch()
    graph = EditedGraph(draft.finish(convolution(draft, source=(1, 16, 2, 2))))
    node = next(one for one in graph.nodes if one.op_type == "Conv")
    found = np.reshape(list_patches(node, (2, 2), kernel=(3, 3)), (4, 9))
    outside = 4
    assert found[0].tolist() == [outside] * 3 + [outside, 0, 1] + [outside, 2, 3]
    assert found[3].tolist() == [0, 1, outside] + [2, 3, outside] + [outside] * 3
