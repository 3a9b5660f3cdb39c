"""Which landmarks a pose map joins."""

from __future__ import annotations

from typing import Any

from echoexport.runtime.inputs.pose_topology import DOTS, STROKES


def test_the_table_of_strokes_is_the_originals(goldens_pipeline: Any) -> None:
    meta = goldens_pipeline.json("meta_pose")
    ours = [
        [first, second, list(colour), 2] for colour, pairs in STROKES for first, second in pairs
    ]
    assert ours == meta["connections_in_draw_order"]
    assert {str(landmark): list(colour) for landmark, colour in DOTS} == meta["points"]
