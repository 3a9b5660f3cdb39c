"""Any chain of what networks are made of gives the same channels-last, and all fused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from echoexport.export.ort_cuda import fusions, norm_fusions
from echoexport.export.ort_cuda.channels_last import lay_channels_last

pytest.importorskip("onnxruntime")

EXACT = 2e-5
CHANNELS = (1, 2, 4, 6)
SIDES = (1, 2, 3, 4)
FUSED = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@dataclass
class Walk:
    """A graph that grows by one drawn operator at a time; values are kept with their shapes."""

    draft: Any
    data: st.DataObject
    values: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def pick(self, *ranks: int) -> tuple[str, tuple[int, ...]]:
        """A value of one of these ranks, the latest first; an input where there is none."""
        known = [(name, shape) for name, shape in self.values.items() if len(shape) in ranks][::-1]
        if known:
            return self.data.draw(st.sampled_from(known))
        return self.input(ranks[0])

    def input(self, rank: int) -> tuple[str, tuple[int, ...]]:
        sides = [
            self.data.draw(st.sampled_from(CHANNELS if axis == 1 else SIDES))
            for axis in range(rank)
        ]
        return self.keep(self.draft.input(*sides), sides)

    def keep(self, name: str, shape: Any) -> tuple[str, tuple[int, ...]]:
        self.values[name] = tuple(shape)
        return name, tuple(shape)

    def flag(self) -> bool:
        return self.data.draw(st.booleans())


def convolve(walk: Walk) -> None:
    name, shape = walk.pick(4)
    made = walk.data.draw(st.sampled_from(CHANNELS))
    size = walk.data.draw(st.sampled_from((1, 3)))
    weights = [
        walk.draft.weight(made, shape[1], size, size),
        *([walk.draft.weight(made)] if walk.flag() else []),
    ]
    walk.keep(
        walk.draft.add("Conv", name, *weights, pads=[size // 2] * 4), (shape[0], made, *shape[2:])
    )


def normalize(walk: Walk) -> None:
    name, shape = walk.pick(4)
    groups = walk.data.draw(
        st.sampled_from([groups for groups in (1, 2, 3) if shape[1] % groups == 0])
    )
    walk.keep(walk.draft.norm(name, shape, groups=groups, silu=walk.flag()), shape)


def add(walk: Walk) -> None:
    name, shape = walk.pick(3, 4)
    alike = [other for other, found in walk.values.items() if found == shape]
    if walk.flag() and alike:
        other = walk.data.draw(st.sampled_from(alike))
    else:
        other = walk.draft.weight(*(side if walk.flag() else 1 for side in shape))
    names = [name, other] if walk.flag() else [other, name]
    walk.keep(walk.draft.add("Add", *names), shape)


def add_bias(walk: Walk) -> None:
    name, shape = walk.pick(3, 4)
    walk.keep(walk.draft.add("Add", name, walk.draft.weight(shape[-1])), shape)


def concatenate(walk: Walk) -> None:
    name, shape = walk.pick(4)
    other, second = walk.pick(4)
    if (second[0], *second[2:]) != (shape[0], *shape[2:]):
        other = name
        second = shape
    walk.keep(
        walk.draft.add("Concat", name, other, axis=1), (shape[0], shape[1] + second[1], *shape[2:])
    )


def resize(walk: Walk) -> None:
    name, shape = walk.pick(4)
    scales = walk.draft.constant(np.array([1, 1, 2, 2], np.float32))
    large = walk.draft.add(
        "Resize",
        name,
        "",
        scales,
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )
    walk.keep(large, (*shape[:2], 2 * shape[2], 2 * shape[3]))


def view(walk: Walk) -> None:
    name, shape = walk.pick(3, 4)
    views = {
        (*shape[:2], int(np.prod(shape[2:]))),
        (1, *shape[:1], *shape[1:])[-4:],
        (*shape[:2], 1, shape[-1])[:4],
        (shape[0], shape[-1], -1),
        (1, *shape[:3]),
        (*shape[1:], shape[0])[:4],
        (*shape[:2], *shape[:1:-1]),
    }
    total = int(np.prod(shape))
    fitting = sorted(each for each in views if len(each) in (3, 4) and np.prod(each) == total)
    if fitting:
        chosen = walk.data.draw(st.sampled_from(fitting))
        walk.keep(walk.draft.reshape(name, *chosen), chosen)


def transpose(walk: Walk) -> None:
    name, shape = walk.pick(3, 4)
    ways = [[0, 2, 1], [1, 0, 2]] if len(shape) == 3 else [[0, 2, 3, 1], [0, 3, 1, 2], [0, 2, 1, 3]]
    way = walk.data.draw(st.sampled_from(ways))
    walk.keep(walk.draft.add("Transpose", name, perm=way), [shape[axis] for axis in way])


def normalize_tokens(walk: Walk) -> None:
    name, shape = walk.pick(3)
    gain = walk.draft.weight(shape[-1])
    shift = walk.draft.weight(shape[-1])
    walk.keep(walk.draft.add("LayerNormalization", name, gain, shift, epsilon=0.5), shape)


def scale(walk: Walk) -> None:
    name, shape = walk.pick(3, 4)
    product = walk.draft.add("MatMul", name, walk.draft.weight(shape[-1], 4))
    total = walk.draft.add("Add", product, walk.draft.weight(4))
    walk.keep(walk.draft.add("Mul", total, walk.draft.number(0.5)), (*shape[:-1], 4))


MAPS: list[Callable[[Walk], None]] = [
    convolve,
    normalize,
    add,
    concatenate,
    resize,
    view,
    transpose,
]
ALL = [*MAPS, add_bias, normalize_tokens, scale]


def take(data: st.DataObject, draft: Any, steps: list[Callable[[Walk], None]]) -> Any:
    """The model of a walk; what nobody reads is given out, and with it any of the values."""
    walk = Walk(draft, data)
    walk.input(4)
    for step in steps:
        step(walk)
    read = {name for node in draft.nodes for name in node.input}
    wanted = data.draw(st.sets(st.sampled_from(sorted(walk.values)), max_size=2))
    made = [node.output[0] for node in draft.nodes]
    return draft.model(*(name for name in made if name not in read or name in wanted))


@FUSED
@given(data=st.data(), steps=st.lists(st.sampled_from(MAPS), min_size=1, max_size=8))
def test_a_walk_over_maps_is_the_same_channels_last(
    data: st.DataObject, steps: list[Callable[[Walk], None]], sketch: Any, rewritten: Any
) -> None:
    model = take(data, sketch(), steps)
    assert rewritten(model, lay_channels_last)[1] <= EXACT


@FUSED
@given(data=st.data(), steps=st.lists(st.sampled_from(ALL), min_size=1, max_size=10))
def test_a_walk_over_all_operators_is_the_same_with_everything_fused(
    data: st.DataObject, steps: list[Callable[[Walk], None]], sketch: Any, rewritten: Any
) -> None:
    model = take(data, sketch(), steps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(norm_fusions, "RESIDUAL_WIDTHS", (*CHANNELS, *SIDES))
        found, error = rewritten(model, lay_channels_last, fusions.fuse)
    assert error <= EXACT
    assert found
