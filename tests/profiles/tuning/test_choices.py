"""What there is to choose from: every choice once, and what cannot be tried is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from echoexport.profiles.tuning.choices import TuningChoice, TuningSide, lay_grid
from echoexport.runtime.contract.manifest import Manifest, read_manifest
from echoexport.runtime.errors import SettingError

SIDES = (
    TuningSide("fp32", Path("a"), "fp32", own=True),
    TuningSide("bf16", Path("a"), "", own=True),
)


@pytest.fixture
def manifest(null_bundle: Path) -> Manifest:
    return read_manifest(null_bundle)


def test_every_number_of_steps_meets_every_overlap_on_every_side(manifest: Manifest) -> None:
    grid = lay_grid(manifest, SIDES, present="bf16", steps=(1, 2), overlaps=(0, 1))
    assert len(set(grid.choices)) == len(grid.choices) == 8
    assert len(grid.of_side(SIDES[1])) == 4


def test_the_reference_has_the_most_steps_in_the_first_side(manifest: Manifest) -> None:
    grid = lay_grid(manifest, SIDES, present="bf16", steps=(1, 4), overlaps=(0,))
    assert grid.reference == TuningChoice("fp32", 4, 1)
    assert lay_grid(manifest, SIDES, present="bf16", steps=(1,)).reference.steps == 2  # its own


def test_the_default_as_it_is_is_always_measured(manifest: Manifest) -> None:
    grid = lay_grid(manifest, SIDES, present="bf16", steps=(1,), overlaps=(0,))
    assert grid.present == TuningChoice("bf16", 2, 1)
    assert {grid.present, grid.reference} <= set(grid.choices)


def test_no_overlap_at_all_is_tried_beside_the_bundle_s_own(manifest: Manifest) -> None:
    grid = lay_grid(manifest, SIDES, present="bf16", steps=(1,))
    assert {choice.overlap for choice in grid.choices if choice.steps == 1} == {0, 1}


def test_sides_that_nobody_asked_for_have_reference_and_default_alone(manifest: Manifest) -> None:
    grid = lay_grid(manifest, SIDES, present="bf16", steps=(1, 2), overlaps=(1,), tried=["bf16"])
    assert grid.of_side(SIDES[0]) == [grid.reference]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"steps": (0,)}, "0"),
        ({"steps": ()}, "no steps or overlaps"),
        ({"steps": (1,), "overlaps": (4,)}, "overlap 4: 0 to 3 frames fit"),
    ],
)
def test_what_cannot_be_tried_is_refused(
    manifest: Manifest, more: dict[str, tuple[int, ...]], told: str
) -> None:
    with pytest.raises(SettingError, match=told):
        lay_grid(manifest, SIDES, present="bf16", **more)  # type: ignore[arg-type]


def test_a_choice_is_told_in_a_few_words() -> None:
    assert TuningChoice("bf16", 1, 0).describe() == "1 step, overlap 0, bf16"
    assert TuningChoice("bf16", 2, 1).describe() == "2 steps, overlap 1, bf16"
