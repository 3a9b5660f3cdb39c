"""Group norms as the export writes them, made one operator; and what only looks like them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from echoexport.export.graphs.edited_graph import EditedGraph
from echoexport.export.ort_cuda import group_norms
from echoexport.export.ort_cuda.channels_last import lay_channels_last
from echoexport.export.ort_cuda.group_norms import find_norms

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
    ("pictures", "wanted"), [(group_norms.LARGEST_BATCH, 1), (group_norms.LARGEST_BATCH + 1, 0)]
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
    found, error = rewritten(draft.finish(norm.write(draft)["shifted"]), lay_channels_last)
    assert error <= EXACT
    assert (found["GroupNorm"], found["InstanceNormalization"]) == (0, 1)


def test_the_group_norm_whose_parts_those_are_is_one(sketch: Any, rewritten: Any) -> None:
    draft = sketch()
    found, error = rewritten(draft.finish(Norm().write(draft)["shifted"]), lay_channels_last)
    assert error <= EXACT
    assert found["GroupNorm"] == 1


@pytest.mark.parametrize("part", ["normal", "scaled"])
def test_a_group_norm_of_which_a_part_is_wanted_stays_plain(
    sketch: Any, rewritten: Any, part: str
) -> None:
    draft = sketch()
    parts = Norm().write(draft)
    found, error = rewritten(draft.finish(parts["shifted"], parts[part]), lay_channels_last)
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
        draft.model(*outputs) if given_out else draft.finish(*outputs), lay_channels_last
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
    found, error = rewritten(draft.finish(draft.add("Mul", gated, shifted)), lay_channels_last)
    assert error <= EXACT
    assert (found["GroupNorm"], found["Sigmoid"]) == (1, 1)
