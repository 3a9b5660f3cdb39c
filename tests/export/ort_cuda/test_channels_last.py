"""Maps laid channels-last: every operator on its own, and whatever cannot be laid so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from echoexport.export.graphs.edited_graph import EditedGraph
from echoexport.export.ort_cuda.channels_last import lay_channels_last

pytest.importorskip("onnxruntime")

EXACT = 1e-5
SHAPE = (2, 8, 3, 4)
PADDED = {"pads": [1, 1, 1, 1]}


def convolve(
    draft: Any, value: str, *, size: int = 3, channels: tuple[int, int] = (8, 8), **attributes: Any
) -> str:
    attributes = attributes or {"pads": [size // 2] * 4}
    return str(
        draft.add("Conv", value, draft.weight(channels[1], channels[0], size, size), **attributes)
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        PADDED,
        {"pads": [0, 1, 2, 1]},
        {"strides": [2, 2], **PADDED},
        {"dilations": [1, 2], **PADDED},
        {"strides": [1, 2], "kernel_shape": [3, 3]},
    ],
)
def test_a_convolution_of_any_kind_is_channels_last(
    sketch: Any, rewritten: Any, attributes: dict[str, Any], bias: bool
) -> None:
    draft = sketch()
    weights = [draft.weight(6, 8, 3, 3), *([draft.weight(6)] if bias else [])]
    found, error = rewritten(
        draft.model(draft.add("Conv", draft.input(*SHAPE), *weights, **attributes)),
        lay_channels_last,
    )
    assert error <= EXACT
    assert (found["NhwcConv"], found["Conv"], found["Add"]) == (1, 0, int(bias))


@pytest.mark.parametrize("bias", [True, False])
def test_a_pointwise_convolution_is_a_product(sketch: Any, rewritten: Any, bias: bool) -> None:
    draft = sketch()
    weights = [draft.weight(6, 8, 1, 1), *([draft.weight(6)] if bias else [])]
    found, error = rewritten(
        draft.model(draft.add("Conv", draft.input(*SHAPE), *weights)), lay_channels_last
    )
    assert error <= EXACT
    assert (found["NhwcConv"], found["Conv"], found["MatMul"]) == (0, 0, 1)


@pytest.mark.parametrize("attributes", [{"strides": [2, 2]}, {"pads": [1, 1, 1, 1]}])
def test_one_that_strides_or_pads_is_none(
    sketch: Any, rewritten: Any, attributes: dict[str, Any]
) -> None:
    draft = sketch()
    found, error = rewritten(
        draft.model(convolve(draft, draft.input(*SHAPE), size=1, **attributes)), lay_channels_last
    )
    assert error <= EXACT
    assert (found["NhwcConv"], found["MatMul"]) == (1, 0)


def in_groups(draft: Any) -> str:
    return str(draft.add("Conv", draft.input(*SHAPE), draft.weight(8, 4, 3, 3), group=2))


def of_a_sound(draft: Any) -> str:
    return str(draft.add("Conv", draft.input(2, 8, 9), draft.weight(8, 8, 3)))


def padded_by_itself(draft: Any) -> str:
    return str(
        draft.add("Conv", draft.input(*SHAPE), draft.weight(8, 8, 3, 3), auto_pad="SAME_UPPER")
    )


@pytest.mark.parametrize("make", [in_groups, of_a_sound, padded_by_itself])
def test_other_convolutions_stay_as_they_are(
    sketch: Any, rewritten: Any, make: Callable[[Any], str]
) -> None:
    draft = sketch()
    found, error = rewritten(draft.model(make(draft)), lay_channels_last)
    assert error == 0
    assert found == {"Conv": 1}


def test_a_chain_of_maps_is_turned_once_and_back_once(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    source = draft.input(*SHAPE)
    first = draft.norm(convolve(draft, source), SHAPE, groups=4, silu=True)
    total = draft.add("Add", convolve(draft, first), convolve(draft, first, size=1))
    wide = draft.add("Concat", total, first, axis=1)
    large = draft.add(
        "Resize",
        wide,
        "",
        draft.constant(np.array([1, 1, 2, 2], np.float32)),
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )
    model = draft.model(convolve(draft, large, channels=(16, 8)))
    graph = EditedGraph(model)
    lay_channels_last(graph)
    turned = [node for node in graph.finish().graph.node if node.op_type == "Transpose"]
    weights = {
        name for name, shape in graph.shapes.items() if name in graph._tensors and len(shape) == 4
    }
    assert rewritten(model, lay_channels_last)[1] <= EXACT
    assert (
        len(
            [
                node
                for node in turned
                if node.input[0] not in weights and len(node.attribute[0].ints) == 4
            ]
        )
        == 2
    )


@pytest.mark.parametrize(
    "sizes", [{"scales": [1, 1, 2, 3]}, {"scales": [2, 1, 1, 2]}, {"sizes": [2, 8, 6, 8]}], ids=str
)
def test_a_map_is_resized_as_it_lies(
    sketch: Any, rewritten: Any, sizes: dict[str, list[int]]
) -> None:
    draft = sketch()
    how = [
        draft.constant(np.array(sizes.get("scales", []), np.float32)),
        draft.integers(*sizes.get("sizes", [])),
    ]
    inputs = ["", how[0]] if "scales" in sizes else ["", "", how[1]]
    large = draft.add(
        "Resize",
        convolve(draft, draft.input(*SHAPE)),
        *inputs,
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )
    found, error = rewritten(draft.finish(large), lay_channels_last)
    assert error <= EXACT
    assert (found["Resize"], found["NhwcConv"]) == (1, 1)


def test_a_map_that_becomes_tokens_is_a_view(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    flat = draft.reshape(convolve(draft, draft.input(*SHAPE)), 2, 8, 12)
    tokens = draft.add("MatMul", draft.add("Transpose", flat, perm=[0, 2, 1]), draft.weight(8, 8))
    back = draft.reshape(draft.add("Transpose", tokens, perm=[0, 2, 1]), *SHAPE)
    found, error = rewritten(draft.model(convolve(draft, back)), lay_channels_last)
    assert error <= EXACT
    assert found["Transpose"] == 4  # the map in, the map out, and each kernel


def test_a_map_that_is_given_out_and_read_on_is_the_same_in_both(
    sketch: Any, rewritten: Any
) -> None:
    draft = sketch()
    middle = convolve(draft, draft.input(*SHAPE))
    tokens = draft.add("Transpose", draft.reshape(middle, 2, 8, 12), perm=[0, 2, 1])
    found, error = rewritten(
        draft.model(middle, tokens, convolve(draft, middle)), lay_channels_last
    )
    assert error <= EXACT
    assert found["NhwcConv"] == 2


def test_maps_of_one_shape_that_lie_otherwise_are_added_as_they_are(
    sketch: Any, rewritten: Any
) -> None:
    draft = sketch()
    tokens = draft.add("Transpose", draft.input(4, 6, 4), perm=[0, 2, 1])
    views = draft.reshape(tokens, 1, 4, 4, 6)
    total = draft.add("Add", convolve(draft, draft.input(1, 4, 4, 6), channels=(4, 4)), views)
    found, error = rewritten(draft.finish(total), lay_channels_last)
    assert error <= EXACT
    assert found["NhwcConv"] == 1
