"""What each layer costs, and the fewest that must stay float."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.calibration.choosing.sensitivity import (
    Damage,
    LayerChoice,
    choose_layers,
    group_layers,
    measure_damage,
    measure_psnr,
    relative_error,
)
from echoexport.calibration.graphs.float_graph import Layer
from echoexport.runtime.errors import QualityError


def layer(name: str, value: str) -> Layer:
    return Layer(name, "MatMul", name, value, f"{name}.weight", name, (2, 2), 1)


LAYERS = [
    layer("down.0.attn.to_q", "norm"),
    layer("down.0.attn.to_k", "norm"),
    layer("down.0.ff", "other"),
    layer("down.1.conv", "third"),
    layer("up.0.conv", "fourth"),
]


def test_layers_that_read_one_activation_are_judged_together() -> None:
    groups = group_layers(LAYERS, most=10)
    assert groups == [
        ("down.0.attn.to_q", "down.0.attn.to_k"),
        ("down.0.ff",),
        ("down.1.conv",),
        ("up.0.conv",),
    ]


@pytest.mark.parametrize(("most", "wanted"), [(4, 4), (3, 3), (2, 2), (1, 2)])
def test_modules_are_joined_until_there_are_few_enough_groups(most: int, wanted: int) -> None:
    groups = group_layers(LAYERS, most=most)
    assert len(groups) == wanted
    assert sorted(name for group in groups for name in group) == sorted(one.name for one in LAYERS)


def spoil(quantized: Collection[str]) -> list[np.ndarray]:
    """A result that each layer spoils in an element of its own, later layers more."""
    result = np.ones(len(LAYERS), np.float32)
    for index, one in enumerate(LAYERS):
        result[index] += 0.1 * index * (one.name in quantized)
    return [result]


def test_the_damage_of_a_group_is_the_error_it_leaves_alone() -> None:
    damages = measure_damage(spoil, [("down.0.ff",), ("down.1.conv", "up.0.conv")])
    assert [damage.layers for damage in damages] == [("down.0.ff",), ("down.1.conv", "up.0.conv")]
    assert damages[0].error == pytest.approx(0.2**2 / 5)
    assert damages[1].error == pytest.approx((0.3**2 + 0.4**2) / 5)
    assert damages[0].snr == pytest.approx(10 * np.log10(5 / 0.04))


def test_what_an_earlier_run_measured_is_not_measured_again() -> None:
    runs: list[tuple[str, ...]] = []
    told: list[Damage] = []

    def run(quantized: Collection[str]) -> list[np.ndarray]:
        runs.append(tuple(quantized))
        return spoil(quantized)

    groups = [("down.0.ff",), ("up.0.conv",)]
    damages = measure_damage(run, groups, known={("down.0.ff",): 0.5}, on_damage=told.append)
    assert runs == [(), ("up.0.conv",)]
    assert damages[0].error == 0.5
    assert told == [damages[1]]


def to_db(errors: Iterable[float]) -> float:
    """The quality that errors leave together; they add up, as independent roundings do."""
    total = math.fsum(errors)
    return 200.0 if total == 0 else -10 * math.log10(total)


@given(st.lists(st.floats(1e-6, 1e-2), min_size=2, max_size=40), st.floats(25, 60))
def test_no_layer_more_than_needed_stays_float(errors: list[float], budget: float) -> None:
    table = {f"layer{i}": error for i, error in enumerate(errors)}
    damages = [Damage((name,), error) for name, error in table.items()]
    by_error = sorted(errors, reverse=True)

    def choose() -> LayerChoice:
        return choose_layers(
            damages, lambda names: to_db(table[name] for name in names), budget=budget
        )

    if to_db(by_error[(len(errors) + 1) // 2 :]) < budget:
        with pytest.raises(QualityError):
            choose()
        return
    choice = choose()
    count = len(choice.kept)
    assert [damage.error for damage in choice.kept] == by_error[:count]
    assert choice.reached == to_db(by_error[count:]) >= budget
    assert count == 0 or to_db(by_error[count - 1 :]) < budget


def test_nothing_is_kept_where_all_in_int8_is_good_enough() -> None:
    damages = [Damage((f"layer{i}",), 1e-5) for i in range(8)]
    choice = choose_layers(damages, lambda quantized: 41.0, budget=40)
    assert (choice.layers, choice.reached, choice.all_int8, choice.evaluations) == (
        (),
        41.0,
        41.0,
        1,
    )


def test_a_budget_out_of_reach_says_what_was_reached() -> None:
    damages = [Damage((f"layer{i}",), 1e-2) for i in range(8)]
    with pytest.raises(
        QualityError,
        match=r"quality 90 dB cannot be met in int8: with the 4 most harmful of 8 .* 20\.0",
    ):
        choose_layers(damages, lambda quantized: 20.0, budget=90)


def test_a_result_that_is_not_finite_is_an_error_without_bound() -> None:
    assert relative_error([np.array([np.nan], np.float32)], [np.ones(1, np.float32)]) == np.inf


def test_psnr_counts_levels_of_255() -> None:
    black = np.zeros((2, 2), np.uint8)
    grey = np.full((2, 2), 51, np.uint8)
    assert measure_psnr(black, grey) == pytest.approx(20 * np.log10(5))
    assert measure_psnr(grey, grey) == 200
