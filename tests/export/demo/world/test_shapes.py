"""Distances worked out by hand, coverage of pixels, and paint that covers what is below."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from echoexport.export.demo.world.shapes import (
    Canvas,
    band,
    cover,
    ellipse,
    fall_off,
    namespace_of,
    slot,
    smoothstep,
)


def array(*values: float) -> Any:
    return np.array(values, np.float32)


def test_a_pixel_is_covered_by_how_far_its_middle_is_inside() -> None:
    distances = array(-3, -1, -0.5, 0, 0.5, 1, 3)
    np.testing.assert_allclose(cover(distances, 2.0), [1, 1, 0.75, 0.5, 0.25, 0, 0])


@pytest.mark.parametrize(
    ("y", "top", "bottom", "share"),
    [
        (0.0, -9, 9, 1.0),
        (0.25, 0, 0.5, 0.5),
        (0.5, 0, 0.25, 0.25),
        (0.0, 0, 9, 0.5),
        (0.0, 0.1, 0.1, 0.0),
        (0.0, 0.2, -0.2, 0.0),
        (5.0, 0, 1, 0.0),
    ],
)
def test_a_band_covers_what_lies_between_its_curves(
    y: float, top: float, bottom: float, share: float
) -> None:
    found = band(array(y), array(top), array(bottom), footprint=array(1))
    assert float(found[0]) == pytest.approx(share, abs=1e-6)


def test_an_ellipse_with_equal_radii_is_a_circle() -> None:
    distances = ellipse(array(0.5, 2, 4, 0), array(0, 0, 0, 5), array(2), array(2))
    np.testing.assert_allclose(distances, [-1.5, 0, 2, 3], atol=1e-3)


@given(st.floats(0, 6.28), st.floats(0.2, 3), st.floats(0.2, 3))
def test_the_rim_of_an_ellipse_is_at_no_distance(turn: float, width: float, height: float) -> None:
    x, y = width * np.cos(turn), height * np.sin(turn)
    assert abs(float(ellipse(array(x), array(y), array(width), array(height))[0])) < 1e-4


@pytest.mark.parametrize(
    ("x", "y", "corner", "distance"),
    [
        (5, 0, 0, 2),
        (0, -3, 0, 1),
        (0, 0, 0, -2),
        (6, 6, 0, 5),
        (3, 2, 1, 2**0.5 - 1),
        (0, 0, 1, -2),
    ],
)
def test_a_slot_is_a_rectangle_with_round_corners(
    x: float, y: float, corner: float, distance: float
) -> None:
    found = slot(array(x), array(y), array(3), array(2), corner=corner)
    assert float(found[0]) == pytest.approx(distance, abs=1e-6)


def test_a_smooth_step_rises_from_0_to_1() -> None:
    found = smoothstep(array(-1, 0, 0.25, 0.5, 0.75, 1, 2))
    np.testing.assert_allclose(found, [0, 0, 0.15625, 0.5, 0.84375, 1, 1])


def test_a_spot_falls_off_to_a_third_at_its_radii() -> None:
    found = fall_off(array(0, 2, 0, 2), array(0, 0, 3, 3), width=2, height=3)
    np.testing.assert_allclose(found, np.exp([0, -1, -1, -2]), rtol=1e-6)


@pytest.mark.parametrize("name", ["cover", "ellipse", "slot", "smoothstep", "fall_off", "band"])
def test_numpy_and_torch_agree_on_every_shape(name: str) -> None:
    lot = np.random.default_rng(2)
    x, y = lot.uniform(-2, 2, (2, 50)).astype(np.float32)
    calls: dict[str, Any] = {
        "cover": lambda a, b: cover(a, 0.7),
        "ellipse": lambda a, b: ellipse(a, b, 1.2, 0.6),
        "slot": lambda a, b: slot(a, b, 1.2, 0.6, corner=0.2),
        "smoothstep": lambda a, b: smoothstep(a),
        "fall_off": lambda a, b: fall_off(a, b, width=1.2, height=0.6),
        "band": lambda a, b: band(a, b, b + 1.0, footprint=0.0 * a + 0.5),
    }
    found = calls[name](torch.from_numpy(x), torch.from_numpy(y))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), calls[name](x, y), atol=1e-6)


def test_the_module_of_an_array_is_its_own() -> None:
    assert namespace_of(array(1)) is np
    assert namespace_of(torch.zeros(1)) is torch


def test_paint_lies_over_the_picture_by_its_share() -> None:
    canvas = Canvas(np.full((1, 3, 1, 3), 0.2, np.float32))
    canvas.paint(array(0, 0.5, 1).reshape(1, 1, 3), array(1, 0.2, 0).reshape(1, 3, 1, 1))
    wanted = [[0.2, 0.6, 1.0], [0.2, 0.2, 0.2], [0.2, 0.1, 0.0]]
    np.testing.assert_allclose(canvas.picture[0, :, 0], wanted, atol=1e-6)


def test_shade_darkens_where_its_share_is_1() -> None:
    canvas = Canvas(np.full((1, 3, 1, 3), 0.8, np.float32))
    canvas.shade(array(0, 0.5, 1).reshape(1, 1, 3), 0.5)
    np.testing.assert_allclose(canvas.picture[0, 0, 0], [0.8, 0.6, 0.4], atol=1e-6)
