"""Colours of a person go together, and are shares of one."""

from __future__ import annotations

from echoexport.export.demo.world.layout import FIELDS, SLICES
from echoexport.export.demo.world.person import draw_person, stack_people


def test_colours_are_shares_of_one() -> None:
    people = stack_people([draw_person(seed) for seed in range(200)])
    for name, width in FIELDS:
        if width == 3:
            assert people[:, SLICES[name]].min() >= 0
            assert people[:, SLICES[name]].max() <= 1
