"""Maps laid channels-last: every operator on its own, and whatever cannot be laid so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from echoexport.export.ort_cuda import channels_last
from echoexport.export.ort_cuda.channels_last import find_norms, lay_channels_last
from echoexport.export.ort_cuda.edited_graph import EditedGraph

pytest.importorskip("onnxruntime")

EXACT = 1e-5
SHAPE = (2, 8, 3, 4)
PADDED = {"pads": [1, 1, 1, 1]}


def finish(draft: Any, *outputs: str) -> Any:
    """The model of outputs that are copied: the values themselves are not given out."""
    return draft.model(*(draft.add("Identity", name) for name in outputs))


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


@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_group_norm_is_one_operator_with_the_silu_behind_it(
    sketch: Any, rewritten: Any, groups: int, silu: bool
) -> None:
    draft = sketch()
    found, error = rewritten(
        draft.model(draft.norm(draft.input(*SHAPE), SHAPE, groups=groups, silu=silu)),
        lay_channels_last,
    )
    assert error <= EXACT
    assert found == {"Transpose": 2, "Cast": 2, "GroupNorm": 1}


def test_gain_and_shift_of_a_norm_in_fp16_are_float32(sketch: Any, rewritten: Any) -> None:
    draft = sketch("float16")
    found, error = rewritten(
        draft.model(draft.norm(draft.input(*SHAPE), SHAPE, groups=4)), lay_channels_last
    )
    assert error <= 4e-3
    assert found["GroupNorm"] == 1


def test_the_published_networks_norms_fit_the_kernel_and_larger_ones_do_not(
    sketch: Any, rewritten: Any
) -> None:
    draft = sketch()
    shapes = [(1, 64, 2, 2), (1, 66, 2, 2)]
    norms = [draft.norm(draft.input(*shape), shape, groups=shape[1] // 2) for shape in shapes]
    found, error = rewritten(draft.model(*norms), lay_channels_last)
    assert error <= EXACT
    assert (found["GroupNorm"], found["InstanceNormalization"]) == (1, 1)


@pytest.mark.parametrize(
    ("pictures", "wanted"), [(channels_last.LARGEST_BATCH, 1), (channels_last.LARGEST_BATCH + 1, 0)]
)
def test_more_pictures_than_the_kernel_takes_stay_plain(
    sketch: Any, rewritten: Any, pictures: int, wanted: int
) -> None:
    draft = sketch()
    shape = (pictures, 4, 2, 2)
    found, error = rewritten(
        draft.model(draft.norm(draft.input(*shape), shape, groups=2)), lay_channels_last
    )
    assert error <= EXACT
    assert found["GroupNorm"] == wanted


def test_an_odd_number_of_channels_a_group_stays_plain(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    shape = (2, 6, 3, 4)
    found, error = rewritten(
        draft.model(draft.norm(draft.input(*shape), shape, groups=2)), lay_channels_last
    )
    assert error <= EXACT
    assert found["GroupNorm"] == 0


class Norm:
    """A group norm whose parts can be changed one at a time."""

    shape = (2, 4, 4, 4)
    groups = 2
    grouped = (2, 2, -1)
    back = (2, 4, 4, 4)
    gain = (4, 1, 1)
    ones = 1.0
    zeros = 0.0
    constant = True

    def write(self, draft: Any) -> dict[str, str]:
        source = draft.input(*self.shape)
        grouped = draft.reshape(source, *self.grouped)
        fills = (
            draft.constant(np.full(self.groups, fill, np.float32))
            for fill in (self.ones, self.zeros)
        )
        normal = draft.add("InstanceNormalization", grouped, *fills, epsilon=1e-5)
        back = draft.reshape(normal, *self.back)
        gain = draft.reshape(draft.weight(4) if self.constant else draft.input(4), *self.gain)
        scaled = draft.add("Mul", back, gain)
        shifted = draft.add("Add", scaled, draft.reshape(draft.weight(4), 4, 1, 1))
        return {
            "grouped": grouped,
            "normal": normal,
            "gain": gain,
            "scaled": scaled,
            "shifted": shifted,
        }


@pytest.mark.parametrize(
    "changes",
    [
        {"ones": 2.0},
        {"zeros": 0.5},
        {"constant": False},
        {"gain": (1, 1, 4)},
        {"gain": (1, 4, 1)},
        {"gain": (4,)},
        {"back": (2, 4, 2, 8)},
        {"grouped": (4, 2, -1)},
        {"shape": (8, 4, 4), "grouped": (2, 2, -1)},
    ],
    ids=str,
)
def test_what_only_looks_like_a_group_norm_stays_plain(
    sketch: Any, rewritten: Any, changes: dict[str, Any]
) -> None:
    draft = sketch()
    norm = Norm()
    vars(norm).update(changes)
    found, error = rewritten(finish(draft, norm.write(draft)["shifted"]), lay_channels_last)
    assert error <= EXACT
    assert (found["GroupNorm"], found["InstanceNormalization"]) == (0, 1)


def test_the_group_norm_whose_parts_those_are_is_one(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    found, error = rewritten(finish(draft, Norm().write(draft)["shifted"]), lay_channels_last)
    assert error <= EXACT
    assert found["GroupNorm"] == 1


@pytest.mark.parametrize("part", ["normal", "scaled"])
def test_a_group_norm_of_which_a_part_is_wanted_stays_plain(
    sketch: Any, rewritten: Any, part: str
) -> None:
    draft = sketch()
    parts = Norm().write(draft)
    found, error = rewritten(finish(draft, parts["shifted"], parts[part]), lay_channels_last)
    assert error <= EXACT
    assert found["GroupNorm"] == 0


@pytest.mark.parametrize("part", ["grouped", "gain"])
@pytest.mark.parametrize("given_out", [True, False])
def test_views_that_others_want_stay_beside_the_norm(
    sketch: Any, rewritten: Any, part: str, given_out: bool
) -> None:
    draft = sketch()
    parts = Norm().write(draft)
    outputs = [parts["shifted"], parts[part]]
    found, error = rewritten(
        draft.model(*outputs) if given_out else finish(draft, *outputs), lay_channels_last
    )
    assert error <= EXACT
    assert (found["GroupNorm"], found["InstanceNormalization"]) == (1, 0)


def test_a_norm_that_others_read_before_its_silu_has_none_in_it(sketch: Any) -> None:
    draft = sketch()
    shifted = Norm().write(draft)["shifted"]
    product = draft.add("Mul", shifted, draft.add("Sigmoid", shifted))
    inside = draft.model(product)
    outside = draft.model(product, shifted)
    assert [
        norm.silu for model in (inside, outside) for norm in find_norms(EditedGraph(model))
    ] == [True, False]


def test_a_sigmoid_times_something_else_is_no_silu(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    shifted = Norm().write(draft)["shifted"]
    gated = draft.add("Mul", draft.input(2, 4, 4, 4), draft.add("Sigmoid", shifted))
    found, error = rewritten(finish(draft, draft.add("Mul", gated, shifted)), lay_channels_last)
    assert error <= EXACT
    assert (found["GroupNorm"], found["Sigmoid"]) == (1, 1)


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
    found, error = rewritten(finish(draft, large), lay_channels_last)
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
    found, error = rewritten(finish(draft, total), lay_channels_last)
    assert error <= EXACT
    assert found["NhwcConv"] == 1
