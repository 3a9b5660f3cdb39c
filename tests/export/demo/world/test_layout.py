"""A person's vector: every part has a name, a place and a width."""

from __future__ import annotations

from echoexport.export.demo.world.layout import FIELDS, PERSON_WIDTH, SLICES
from echoexport.export.demo.world.state import FaceState


def test_the_layout_covers_the_vector_without_gaps() -> None:
    assert [SLICES[name].stop - SLICES[name].start for name, _ in FIELDS] == [
        width for _, width in FIELDS
    ]
    assert SLICES[FIELDS[-1][0]].stop == PERSON_WIDTH
    assert len(SLICES) == len(FIELDS)


def test_no_name_of_the_layout_is_one_of_a_state() -> None:
    # A painter reads both by name from the same place.
    assert not {name for name, _ in FIELDS} & set(FaceState.__dataclass_fields__)


def test_parts_follow_one_another_in_the_order_of_the_fields() -> None:
    ends = [0, *(SLICES[name].stop for name, _ in FIELDS)]
    assert [SLICES[name].start for name, _ in FIELDS] == ends[:-1]
