"""Pixels: cut, not rounded, and still where nothing moves."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from echoexport.runtime.decoding.pixels import fade, hold_still, to_pixels


def test_pixels_are_cut_not_rounded_and_clamped() -> None:
    picture = np.array([-2.0, -1.0, 0.0, 0.999, 1.0, 3.0], np.float32)
    levels = to_pixels(np.broadcast_to(picture, (1, 3, 1, 6)))
    assert levels[0, :, 0].tolist() == [0, 0, 127, 254, 255, 255]
    assert levels.flags.c_contiguous


def test_small_changes_of_a_pixel_are_held_and_large_ones_shown() -> None:
    shown = np.full((2, 2, 3), 100, np.uint8)
    frame = shown.copy()
    frame[0, 0] += 1
    frame[0, 1, 2] -= 2
    held = hold_still(frame, shown, levels=1)
    assert (held[0, 0] == 100).all()
    assert held[0, 1].tolist() == [100, 100, 98]


def test_nothing_is_held_at_the_start_nor_without_levels() -> None:
    frame = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert hold_still(frame, None, levels=3) is frame
    assert hold_still(frame, frame + np.uint8(1), levels=0) is frame


def test_a_fade_goes_from_one_picture_to_the_other_either_way() -> None:
    dark, bright = np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 200, np.uint8)
    assert [int(fade(dark, bright, share=share)[0, 0, 0]) for share in (0, 0.25, 1)] == [0, 50, 200]
    assert int(fade(bright, dark, share=0.25)[0, 0, 0]) == 150


@given(seed=st.integers(0, 2**32 - 1), levels=st.integers(0, 20))
def test_a_held_video_is_never_further_from_its_own_than_the_levels(seed: int, levels: int) -> None:
    draw = np.random.default_rng(seed)
    frame = draw.integers(0, 256, (3, 3, 3)).astype(np.uint8)
    shown = None
    for _ in range(12):
        frame = np.clip(frame.astype(np.int16) + draw.integers(-3, 4, frame.shape), 0, 255).astype(
            np.uint8
        )
        shown = hold_still(frame, shown, levels=levels)
        assert int(np.abs(shown.astype(np.int16) - frame).max()) <= levels
