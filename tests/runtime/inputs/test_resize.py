"""Bilinear resizing against OpenCV, and averaging before strong reductions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoexport.runtime.errors import SettingError
from echoexport.runtime.inputs.resize import average_boxes, resize_bilinear, resize_picture

SIDES = st.integers(1, 90)


def draw_noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


@given(
    rows=SIDES,
    columns=SIDES,
    width=SIDES,
    height=SIDES,
    channels=st.sampled_from([(), (1,), (3,), (4,)]),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_bilinear_equals_opencvs(
    rows: int, columns: int, width: int, height: int, channels: tuple[int, ...]
) -> None:
    cv2 = pytest.importorskip("cv2")
    picture = draw_noise(rows, columns, *channels)
    wanted = cv2.resize(picture, (width, height)).reshape(height, width, *channels)
    found = resize_bilinear(picture, size=(width, height))
    # Equal with the OpenCV this was made with; other builds may take other code paths.
    assert np.abs(found.astype(int) - wanted).max() <= 1
    assert (found != wanted).mean() < 0.01


@pytest.mark.parametrize(
    ("side", "target"), [(433, 512), (100, 512), (512, 256), (512, 128), (700, 512)]
)
def test_bilinear_equals_opencvs_at_the_sizes_in_use(side: int, target: int) -> None:
    cv2 = pytest.importorskip("cv2")
    picture = draw_noise(side, side, 3)
    found = resize_bilinear(picture, size=(target, target)).astype(int)
    assert np.abs(found - cv2.resize(picture, (target, target))).max() <= 1


def test_the_same_size_comes_back_untouched() -> None:
    picture = draw_noise(40, 30, 3)
    assert resize_bilinear(picture, size=(30, 40)) is picture
    assert resize_picture(picture, size=(30, 40)) is picture


@pytest.mark.parametrize("value", [0, 1, 127, 255])
@pytest.mark.parametrize("size", [(7, 5), (64, 200), (300, 300)])
def test_a_plain_picture_stays_plain(value: int, size: tuple[int, int]) -> None:
    picture = np.full((120, 95, 3), value, np.uint8)
    assert (resize_bilinear(picture, size=size) == value).all()
    assert (resize_picture(picture, size=size) == value).all()


def test_below_a_factor_of_four_nothing_is_averaged_first() -> None:
    picture = draw_noise(199, 150, 3)
    assert (resize_picture(picture, size=(50, 50)) == resize_bilinear(picture, size=(50, 50))).all()


def test_a_strong_reduction_does_not_alias() -> None:
    stripes = np.zeros((1600, 1600), np.uint8)
    stripes[:, ::2] = 255  # too fine for the target: a fair picture of it is even grey
    reduced = resize_picture(stripes, size=(100, 100)).astype(int)
    assert np.abs(reduced - 127.5).max() < 2


def test_a_strong_reduction_keeps_things_in_place() -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 1601).astype(np.uint8), (1603, 1601))
    reduced = resize_picture(np.ascontiguousarray(ramp), size=(100, 100)).astype(int)
    assert np.abs(reduced - resize_bilinear(ramp, size=(100, 100))).max() <= 2


def test_boxes_are_averaged_with_what_is_left_at_the_border() -> None:
    picture = np.array([[0, 2, 10], [4, 6, 20], [9, 9, 7]], np.uint8)
    assert average_boxes(picture, boxes=(2, 2)).tolist() == [[3, 15], [9, 7]]


@pytest.mark.parametrize("size", [(0, 10), (10, 0), (-1, 10)])
def test_a_size_without_pixels_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(SettingError, match=f"{size[0]}x{size[1]}"):
        resize_picture(draw_noise(8, 8), size=size)
