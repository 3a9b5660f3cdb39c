"""Pose maps are drawn as OpenCV and the originals draw them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoexport.runtime.inputs.pose import draw_pose_map
from echoexport.runtime.inputs.pose_drawing import _draw_stroke

POINTS = st.tuples(st.integers(0, 511), st.integers(0, 511))
NEAR_A_CORNER = st.tuples(st.integers(0, 12), st.integers(500, 511))


@pytest.mark.parametrize("name", ["0", "1", "shifted"])
def test_the_map_equals_the_originals_pixel_for_pixel(name: str, goldens_pipeline: Any) -> None:
    drawn = draw_pose_map(goldens_pipeline[f"pose/{name}/landmarks"], size=(512, 512))
    assert (drawn == goldens_pipeline[f"pose/{name}/image512"]).all()


@pytest.mark.parametrize("name", ["0", "1"])
def test_landmarks_taken_for_pixels_of_a_smaller_picture_draw_as_the_originals(
    name: str, goldens_pipeline: Any
) -> None:
    landmarks = goldens_pipeline[f"pose/{name}/landmarks"]
    drawn = draw_pose_map(landmarks, size=(128, 128), picture=(128, 128))
    assert (drawn == goldens_pipeline[f"pose/{name}/image128"]).all()


@given(st.one_of(st.tuples(POINTS, POINTS), st.tuples(NEAR_A_CORNER, NEAR_A_CORNER)))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_stroke_covers_the_pixels_of_opencvs_line(
    ends: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    cv2 = pytest.importorskip("cv2")
    ours, wanted = np.zeros((2, 512, 512, 3), np.uint8)
    _draw_stroke(ours, *ends, colour=(9, 8, 7))
    cv2.line(wanted, *ends, (9, 8, 7), 2)
    assert (ours == wanted).all()


def test_a_smaller_map_is_the_large_one_resized(make_landmarks: Callable[..., np.ndarray]) -> None:
    cv2 = pytest.importorskip("cv2")
    large = draw_pose_map(make_landmarks(), size=(512, 512))
    for size in [(128, 128), (256, 256), (192, 320)]:
        small = draw_pose_map(make_landmarks(), size=size)
        assert np.abs(small.astype(int) - cv2.resize(large, size)).max() <= 1


def test_a_pupil_at_the_edge_is_cut_there() -> None:
    landmarks = np.full((478, 3), -50.0)
    landmarks[468, :2] = 1, 2
    drawn = draw_pose_map(landmarks, size=(512, 512))
    assert (drawn[:5, :4] == (10, 200, 250)).all()
    assert not drawn[5:].any()
    assert not drawn[:, 4:].any()


def test_a_stroke_with_one_end_outside_is_left_out() -> None:
    landmarks = np.full((478, 3), -50.0)
    landmarks[374, :2] = 100, 100  # joined with 380 and 373
    assert not draw_pose_map(landmarks, size=(512, 512)).any()
    landmarks[380, :2] = 512, 512  # the far edge still counts as inside
    assert draw_pose_map(landmarks, size=(512, 512))[511, 511].tolist() == [180, 200, 10]
