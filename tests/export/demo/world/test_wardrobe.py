"""Hair styles and outfits by lot: whole, within their style, all in the layout."""

from __future__ import annotations

import numpy as np
import pytest

from echoexport.export.demo.world.layout import SLICES
from echoexport.export.demo.world.wardrobe import (
    HAIR_STYLES,
    NAMES,
    NO_LENGTH,
    Parts,
    draw_hair,
    draw_outfit,
)


@pytest.fixture(scope="module")
def heads() -> list[Parts]:
    return [draw_hair(np.random.default_rng(seed), hair=0.0) for seed in range(300)]


def value(parts: Parts, name: str) -> float:
    return float(np.asarray(parts[name]))


def test_every_style_has_a_number_for_every_name() -> None:
    assert {len(numbers) for numbers in HAIR_STYLES.values()} == {len(NAMES)}


def test_all_that_is_drawn_has_its_place_in_the_layout(heads: list[Parts]) -> None:
    outfit = draw_outfit(np.random.default_rng(0))
    assert set(heads[0]) | set(outfit) <= set(SLICES)
    assert set(NAMES) <= set(heads[0])
    assert not set(heads[0]) & set(outfit)


def test_a_generator_in_the_same_state_draws_the_same_head() -> None:
    one, other = (draw_hair(np.random.default_rng(9), hair=0.0) for _ in range(2))
    assert one == other


def test_a_style_varies_by_a_fifth_at_most(heads: list[Parts]) -> None:
    for parts in heads:
        power = value(parts, "hairline_power")  # what nothing varies names the style
        low = value(parts, "hair_low")
        top = value(parts, "hair_top")
        fitting = [
            numbers
            for numbers in HAIR_STYLES.values()
            if (numbers[NAMES.index("hairline_power")], numbers[NAMES.index("hair_low")])
            == (power, low)
            and 0.82 * numbers[1] <= top <= 1.2 * numbers[1]
        ]
        assert fitting


def test_hair_without_length_stays_without(heads: list[Parts]) -> None:
    bottoms = [value(parts, "hair_bottom") for parts in heads]
    assert NO_LENGTH in bottoms
    assert all(bottom == NO_LENGTH or bottom >= 0.2 for bottom in bottoms)


def test_about_one_in_eleven_is_bald(heads: list[Parts]) -> None:
    amounts = [value(parts, "hair_amount") for parts in heads]
    assert set(amounts) == {0.0, 1.0}
    assert amounts.count(0.0) / len(heads) == pytest.approx(1 / 11, abs=0.05)


def test_beards_go_with_short_hair_and_moustaches_with_beards(heads: list[Parts]) -> None:
    bearded = [parts for parts in heads if value(parts, "beard") > 0]
    assert 0.1 < len(bearded) / len(heads) < 0.35
    assert {value(parts, "hair_bottom") for parts in bearded} == {NO_LENGTH}
    assert all(0.30 <= value(parts, "beard") <= 0.95 for parts in bearded)
    for parts in heads:
        assert value(parts, "moustache") == 0 or value(parts, "beard") > 0


def test_a_neckline_is_round_or_pointed() -> None:
    outfits = [draw_outfit(np.random.default_rng(seed)) for seed in range(200)]
    assert {(value(one, "neck_round"), value(one, "neck_pointed")) for one in outfits} == {
        (0.0, 1.0),
        (1.0, 0.0),
    }
    assert {value(one, "glasses") for one in outfits} == {0.0, 1.0}
    assert all(2.0 <= value(one, "glasses_round") <= 4.5 for one in outfits)
