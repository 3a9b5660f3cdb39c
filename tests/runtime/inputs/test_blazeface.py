"""The arithmetic around BlazeFace: anchors, boxes, letterbox, overlaps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from echoexport.runtime.inputs.blazeface import (
    FaceBox,
    FaceNetwork,
    _letterbox,
    _list_anchors,
    find_boxes,
    measure_overlap,
    merge_boxes,
)


def test_anchors_lie_at_the_cells_centres() -> None:
    anchors = _list_anchors()
    assert anchors.shape == (896, 2)
    assert anchors[0].tolist() == [0.5 / 16, 0.5 / 16]
    assert anchors[2].tolist() == [1.5 / 16, 0.5 / 16]  # two anchors a cell, to the right first
    assert anchors[511].tolist() == [15.5 / 16, 15.5 / 16]
    assert anchors[512].tolist() == [0.5 / 8, 0.5 / 8]
    assert anchors[895].tolist() == [7.5 / 8, 7.5 / 8]


def test_values_are_decoded_from_their_anchor_to_picture_pixels(
    answer: Callable[..., FaceNetwork],
) -> None:
    # Fitted at a quarter, 32 rows of bars above and below.
    picture = np.zeros((256, 512, 3), np.uint8)
    network = answer((512, (20.0, 30.0, 40.0, 24.0), 2.0))  # anchor at (8,8) of 128
    (face,) = find_boxes(picture, network)
    # centre (28,38), 40x24 of 128 -> x 8..48, y 26..50 -> x4, minus the bar of 128 rows
    assert face.corners == pytest.approx((32, -24, 192, 72))
    assert face.score == pytest.approx(1 / (1 + np.exp(-2)))


def test_scores_below_a_half_are_no_faces(answer: Callable[..., FaceNetwork]) -> None:
    network = answer((5, (0, 0, 30, 30), -0.01), (600, (0, 0, 30, 30), 0.01))
    assert len(find_boxes(np.zeros((128, 128, 3), np.uint8), network)) == 1


def test_a_wild_logit_raises_no_overflow(answer: Callable[..., FaceNetwork]) -> None:
    assert find_boxes(np.zeros((128, 128, 3), np.uint8), answer((0, (0, 0, 9, 9), -1e30))) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_box_that_is_no_number_is_no_face(
    answer: Callable[..., FaceNetwork], value: float
) -> None:
    network = answer((5, (0, value, 30, 30), 3.0), (600, (0, 0, 30, 30), 2.0))
    (face,) = find_boxes(np.zeros((128, 128, 3), np.uint8), network)
    assert face.score == pytest.approx(1 / (1 + np.exp(-2)))


def test_the_letterbox_keeps_the_aspect_and_fills_with_black() -> None:
    square = _letterbox(np.full((100, 200, 3), 255, np.uint8))
    assert square.shape == (1, 128, 128, 3)
    assert (square[0, 32:96] == 1).all()
    assert (square[0, :32] == -1).all()
    assert (square[0, 96:] == -1).all()


def test_overlap_is_intersection_over_union() -> None:
    first = FaceBox(0, 0, 10, 10, 1)
    second = FaceBox(5, 0, 15, 10, 1)
    assert measure_overlap(first, second) == pytest.approx(50 / 150)
    assert measure_overlap(first, FaceBox(10, 0, 20, 10, 1)) == 0
    assert measure_overlap(first, first) == 1


def test_overlapping_boxes_become_their_weighted_mean() -> None:
    boxes = [FaceBox(2, 0, 12, 10, 0.5), FaceBox(0, 0, 10, 10, 1.0), FaceBox(50, 50, 60, 60, 0.7)]
    merged = merge_boxes(boxes)
    assert [face.score for face in merged] == [1.0, 0.7]
    assert merged[0].corners == pytest.approx((2 / 3, 0, 32 / 3, 10))
    assert merged[1].corners == pytest.approx((50, 50, 60, 60))
