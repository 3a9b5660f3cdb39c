"""A person's vector: every part has a name, a place and a width."""

from __future__ import annotations

from echoexport.export.demo.world.layout import FIELDS, PERSON_WIDTH, SLICES


def test_the_layout_covers_the_vector_without_gaps() -> None:
    assert [SLICES[name].stop - SLICES[name].start for name, _ in FIELDS] == [
        width for _, width in FIELDS
    ]
    assert SLICES[FIELDS[-1][0]].stop == PERSON_WIDTH
    assert len(SLICES) == len(FIELDS)
