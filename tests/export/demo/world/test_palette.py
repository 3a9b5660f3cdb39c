"""Colours of a person go together, and are shares of one."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from echoexport.export.demo.world.layout import FIELDS, SLICES
from echoexport.export.demo.world.palette import draw_colours, draw_skin, mix, read_colour
from echoexport.export.demo.world.person import draw_person, stack_people


def test_colours_are_shares_of_one() -> None:
    people = stack_people([draw_person(seed) for seed in range(200)])
    for name, width in FIELDS:
        if width == 3:
            assert people[:, SLICES[name]].min() >= 0
            assert people[:, SLICES[name]].max() <= 1


def test_a_colours_code_is_read_as_shares_of_1() -> None:
    assert read_colour("ff0033") == (1.0, 0.0, 0.2)


@pytest.mark.parametrize(
    ("share", "wanted"), [(0.0, (0.2, 0.4, 0.6)), (1.0, (1.0, 0.0, 0.6)), (0.25, (0.4, 0.3, 0.6))]
)
def test_a_mixture_holds_so_much_of_the_second_colour(
    share: float, wanted: tuple[float, float, float]
) -> None:
    assert mix((0.2, 0.4, 0.6), (1.0, 0.0, 0.6), share=share) == pytest.approx(wanted)


def test_a_skin_is_lighter_than_its_shadows_and_says_how_dark_it_is() -> None:
    skins = [draw_skin(np.random.default_rng(seed)) for seed in range(100)]
    assert all(sum(shade) < sum(skin) for skin, shade, _ in skins if sum(skin) > 0.9)
    depths = np.array([depth for _, _, depth in skins])
    light = np.array([sum(skin) for skin, _, _ in skins])
    assert depths.min() >= 0
    assert depths.max() <= 1
    assert np.corrcoef(depths, light)[0, 1] < -0.95


def test_clothes_stand_out_from_the_background_in_hue() -> None:
    apart = []
    for seed in range(100):
        colours = draw_colours(np.random.default_rng(seed))
        hues = [
            colorsys.rgb_to_hsv(*np.asarray(colours[name]).tolist())[0]
            for name in ("backdrop", "cloth")
        ]
        away = abs(hues[0] - hues[1])
        apart.append(min(away, 1 - away))
    assert min(apart) >= 0.25 - 1e-6
