"""What is cut out of a portrait: a face with its mask, or the whole picture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from echoexport.runtime.errors import PortraitError
from echoexport.runtime.inputs.portrait import (
    crop_face,
    parse_face_box,
    read_portrait,
    whole_picture,
)


@pytest.fixture(scope="module")
def drawn_face(reference_dir: Path) -> np.ndarray:
    return read_portrait(reference_dir / "portrait.png")


@pytest.mark.parametrize("case", range(4))
def test_the_crop_equals_the_originals(
    case: int, drawn_face: np.ndarray, goldens_pipeline: Any
) -> None:
    meta = goldens_pipeline.meta["preprocess"][case]
    crop = crop_face(drawn_face, meta["bbox"], size=(512, 512))
    wanted = goldens_pipeline[f"preprocess/{case}/crop_strided"][..., ::-1]  # stored as BGR
    assert crop.rect == tuple(meta["square"])
    assert np.abs(crop.picture[::8, ::8].astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("case", [0, 2, 3])
def test_the_mask_equals_the_originals(
    case: int, drawn_face: np.ndarray, goldens_pipeline: Any
) -> None:
    meta = goldens_pipeline.meta["preprocess"][case]
    mask = crop_face(drawn_face, meta["bbox"], size=(512, 512)).mask
    wanted = goldens_pipeline[f"preprocess/{case}/mask_strided"]
    assert np.abs(mask[::8, ::8].astype(int) - wanted).max() <= 1
    assert hashlib.sha256(mask.tobytes()).hexdigest() == meta["mask_sha256"]


def test_a_mask_at_the_pictures_corner_is_clamped_where_the_originals_is_empty(
    drawn_face: np.ndarray, goldens_pipeline: Any
) -> None:
    meta = goldens_pipeline.meta["preprocess"][1]
    crop = crop_face(drawn_face, meta["bbox"], size=(512, 512))
    assert meta["mask_nonzero"] == 0
    x0, y0, x1, _ = crop.rect
    # The box (5,3,120,140) grown by 11 and 13 pixels and cut to the picture is
    # (0,0,131,153).
    scale = 512 / (x1 - x0)
    right = round((131 - x0) * scale)
    bottom = round((153 - y0) * scale)
    assert (crop.mask[: bottom - 4, : right - 4] == 255).all()
    assert (crop.mask[bottom + 4 :] == 0).all()
    assert (crop.mask[:, right + 4 :] == 0).all()


def test_a_face_at_half_a_pixel_is_rounded_to_even(
    draw_gradient: Callable[..., np.ndarray],
) -> None:
    crop = crop_face(draw_gradient(200, 200), (80.5, 81.5, 120.5, 121.5), size=(64, 64))
    assert crop.rect == (60, 62, 140, 142)  # (80,82,120,122) grown by 20


@st.composite
def faces_in_pictures(
    draw: st.DrawFn,
) -> tuple[tuple[int, int], tuple[float, ...], tuple[int, int]]:
    """A picture's size, a box that overlaps it, and a target size."""
    width = draw(st.integers(64, 300))
    height = draw(st.integers(64, 300))
    x0 = draw(st.floats(-40, width - 20))
    y0 = draw(st.floats(-40, height - 20))
    x1 = x0 + draw(st.floats(10, 300))
    y1 = y0 + draw(st.floats(10, 300))
    assume(x1 > 20 and y1 > 20)
    size = draw(st.sampled_from([(64, 64), (64, 96), (120, 64), (64, 128)]))
    return (width, height), (x0, y0, x1, y1), size


@given(faces_in_pictures())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_crop_lies_in_the_picture_and_has_the_targets_shape(
    draw_gradient: Callable[..., np.ndarray], case: Any
) -> None:
    (width, height), box, size = case
    try:
        crop = crop_face(draw_gradient(height, width), box, size=size)
    except PortraitError as error:
        assert "too little of it" in str(error)
        return
    x0, y0, x1, y1 = crop.rect
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    # A pixel at most from the aspect.
    assert abs((x1 - x0) * size[1] - (y1 - y0) * size[0]) <= max(size)
    assert crop.picture.shape == (size[1], size[0], 3)
    assert crop.mask.shape == (size[1], size[0])
    assert crop.mask.max() > 0


@given(st.integers(0, 200), st.integers(0, 200), st.integers(20, 100), st.integers(20, 100))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_mask_covers_the_grown_box_and_no_more(
    draw_gradient: Callable[..., np.ndarray], x: int, y: int, wide: int, high: int
) -> None:
    picture = draw_gradient(300, 300)
    # With the target of the crop's own size nothing is resized, so the mask can be
    # compared exactly.
    rect = crop_face(picture, (x, y, x + wide, y + high), size=(64, 64)).rect
    side = rect[2] - rect[0]
    crop = crop_face(picture, (x, y, x + wide, y + high), size=(side, side))
    full = np.zeros((300, 300), np.uint8)
    left = max(x - int(0.1 * wide), 0)
    top = max(y - int(0.1 * high), 0)
    full[top : y + high + int(0.1 * high), left : x + wide + int(0.1 * wide)] = 255
    assert crop.rect == rect
    assert (crop.mask == full[rect[1] : rect[3], rect[0] : rect[2]]).all()
    assert (crop.picture == picture[rect[1] : rect[3], rect[0] : rect[2]]).all()


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((10, 10, 10, 50), "at least 8 pixels"),
        ((0.2, 0.1, 0.8, 0.9), "not fractions"),
        ((60, 10, 20, 50), "first corner"),
        ((10, 60, 50, 20), "first corner"),
        ((100, 10, 150, 60), "outside the picture"),
        ((-50, -50, 0, 0), "outside the picture"),
        ((10, 10, float("nan"), 50), "four finite numbers"),
        ((10, 10, float("inf"), 50), "four finite numbers"),
        ((10, 10, 50), "four finite numbers"),
    ],
)
def test_a_box_that_cannot_be_used_is_refused_with_its_values(
    box: tuple[float, ...], reason: str, draw_gradient: Callable[..., np.ndarray]
) -> None:
    with pytest.raises(PortraitError, match=reason) as caught:
        crop_face(draw_gradient(80, 100), box, size=(64, 64))
    assert "picture of 100x80" in str(caught.value)
    assert ",".join(f"{value:g}" for value in box) in str(caught.value)


def test_a_box_with_almost_nothing_in_the_picture_is_refused(
    draw_gradient: Callable[..., np.ndarray],
) -> None:
    with pytest.raises(PortraitError, match="too little of it is in the picture"):
        crop_face(draw_gradient(512, 512), (-1000, 0, 1, 10), size=(64, 64))


def test_a_picture_of_the_right_size_passes_through_untouched(
    draw_gradient: Callable[..., np.ndarray],
) -> None:
    picture = draw_gradient(96, 64)
    crop = whole_picture(picture, size=(64, 96))
    assert (crop.picture == picture).all()
    assert crop.rect == (0, 0, 64, 96)
    assert (crop.mask == 255).all()


@given(st.integers(64, 400), st.integers(64, 400), st.sampled_from([(64, 64), (64, 96), (128, 64)]))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_whole_picture_is_cut_about_its_centre(
    width: int, height: int, size: tuple[int, int]
) -> None:
    crop = whole_picture(np.zeros((height, width, 3), np.uint8), size=size)
    x0, y0, x1, y1 = crop.rect
    assert (x1 - x0 == width) or (y1 - y0 == height)
    assert abs(x0 - (width - x1)) <= 1
    assert abs(y0 - (height - y1)) <= 1
    assert crop.mask.shape == size[::-1]
    assert crop.picture.shape == (*size[::-1], 3)


def test_a_face_box_is_read_from_text() -> None:
    assert parse_face_box(" 1,2.5, 30,40 ") == (1.0, 2.5, 30.0, 40.0)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1 2 3 4"])
def test_a_face_box_that_is_no_four_numbers_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(PortraitError, match="wanted four numbers") as caught:
        parse_face_box(text)
    assert repr(text) in str(caught.value)
