"""Strips: frames chosen, laid out, packed, enlarged about grey, and refused."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from echoexport.profiles.quality.strips import (
    GAIN,
    choose_frames,
    draw_closely,
    draw_difference,
    draw_strip,
)
from echoexport.runtime.errors import InputError


def test_differences_are_enlarged_about_grey() -> None:
    frames = np.full((1, 4, 4, 3), 100, np.uint8)
    other = frames.copy()
    other[0, 0, 0] = 102
    other[0, 1, 1] = 97
    other[0, 2, 2] = 255
    found = draw_difference(other, frames)[0, :, :, 0]
    assert (found[0, 0], found[1, 1], found[2, 2], found[3, 3]) == (
        128 + 2 * GAIN,
        128 - 3 * GAIN,
        255,
        128,
    )


def test_a_single_frame_is_lossless_and_a_strip_has_its_size(
    make_frames: Callable[..., np.ndarray],
) -> None:
    frames = {"a": make_frames(side=40), "b": make_frames(side=40, seed=1)}
    closely = draw_closely("x", frames, number=2)
    strip = draw_strip("x", frames, numbers=(0, 7))
    shown = Image.open(io.BytesIO(base64.b64decode(closely.rows[1].picture.partition(",")[2])))
    assert np.array_equal(np.asarray(shown), frames["b"][2])
    assert [(row.width, row.height) for row in strip.rows] == [(82, 40)] * 3


@given(st.integers(1, 500), st.integers(1, 12))
def test_chosen_frames_are_there_and_in_order(count: int, wanted: int) -> None:
    chosen = choose_frames(count, wanted=wanted)
    assert len(chosen) == min(count, wanted)
    assert sorted(set(chosen)) == list(chosen) and chosen[0] >= 0 and chosen[-1] < count


def test_frames_that_do_not_fit_are_refused(make_frames: Callable[..., np.ndarray]) -> None:
    with pytest.raises(InputError, match="of one shape"):
        draw_strip("x", {"a": make_frames(), "b": make_frames(side=64)}, numbers=(0,))
    with pytest.raises(InputError, match="of one shape"):
        draw_strip("x", {"a": make_frames()}, numbers=(0,))
    with pytest.raises(InputError, match="have no"):
        draw_closely("x", {"a": make_frames(2), "b": make_frames(2)}, number=2)
