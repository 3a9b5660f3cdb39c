"""Seams: changes where blocks begin, against changes elsewhere and a reference's."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from echoexport.profiles.quality.motion import flicker
from echoexport.profiles.quality.seams import SeamChanges, compare_seams, split_changes
from echoexport.runtime.errors import InputError


def make_frames(*levels: int) -> NDArray[np.uint8]:
    """Grey frames of these levels."""
    return np.array(levels, np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)


def test_changes_into_a_blocks_first_frame_stand_apart() -> None:
    changes = split_changes(make_frames(0, 1, 2, 12, 13), [0, 3])
    assert changes == SeamChanges(at_starts=10.0, starts=1, elsewhere=3.0, others=3)
    assert changes.ratio == 10.0


def test_all_changes_together_are_the_flicker() -> None:
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)
    changes = split_changes(frames, [4, 8])
    assert changes.starts + changes.others == 8
    assert (changes.at_starts + changes.elsewhere) / 8 == pytest.approx(flicker(frames))


def test_a_change_outside_the_mask_is_not_seen() -> None:
    frames = make_frames(0, 1, 2, 3)
    frames[2:, 0] += 100
    mask = np.ones((4, 4), bool)
    mask[0] = False
    assert split_changes(frames, [2]).ratio > 1
    assert split_changes(frames, [2], mask).ratio == 1.0


def test_motion_that_the_reference_has_too_is_no_seam() -> None:
    reference = split_changes(make_frames(0, 2, 12, 14), [2])
    assert compare_seams([reference], [reference]) == 1.0
    jumps = split_changes(make_frames(0, 2, 22, 24), [2])
    assert compare_seams([jumps], [reference]) == 2.0


def test_clips_count_by_their_frames() -> None:
    still = split_changes(make_frames(0, 1, 2, 3, 4, 5), [3])
    jumps = split_changes(make_frames(0, 1, 4, 5), [2])
    even = split_changes(make_frames(0, 1, 2, 3), [2])
    assert compare_seams([still, jumps], [still, even]) == 2.0


def test_clips_without_a_block_after_the_first_have_no_ratio() -> None:
    with pytest.raises(InputError, match="some of both"):
        _ = split_changes(make_frames(0, 1, 2), [0]).ratio


def test_a_block_that_begins_beyond_the_clip_is_refused() -> None:
    with pytest.raises(InputError, match="in 3 frames"):
        split_changes(make_frames(0, 1, 2), [3])
