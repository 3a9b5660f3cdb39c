"""Context windows: exactly the original's, and every frame seen at every step."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoexport.runtime.errors import SettingError
from echoexport.runtime.sampling.windows import StepWindows, context_windows, shifted_windows

lengths = st.integers(1, 400)
contexts = st.integers(1, 32)


def test_windows_are_the_originals_for_every_recorded_length(goldens_pipeline: Any) -> None:
    recorded = goldens_pipeline.meta["context_windows"]
    assert len(recorded) >= 10
    for key, wanted in recorded.items():
        frames, context, overlap = map(int, key.split(","))
        actual = context_windows(frames, context=context, overlap=overlap)
        assert [list(window) for window in actual] == wanted, key


@pytest.mark.parametrize("run", ["acc", "acc_cfg", "base", "pose", "pose_acc"])
def test_shifted_windows_are_the_originals_at_every_step(run: str, goldens_pipeline: Any) -> None:
    settings = goldens_pipeline.meta["runs"][run]
    frames = settings["frames"]
    shift = settings["shift_per_step"]
    windows = context_windows(frames, context=12, overlap=3)
    actual = [
        shifted_windows(windows, step, shift=shift, frames=frames)
        for step in range(settings["steps"])
    ]
    np.testing.assert_array_equal(actual, goldens_pipeline[f"pipeline/{run}/windows"])


@given(lengths, contexts, st.data())
def test_every_frame_is_covered_and_no_window_sees_one_twice(
    frames: int, context: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, context - 1))
    windows = context_windows(frames, context=context, overlap=overlap)
    assert set().union(*windows) == set(range(frames))
    assert all(len(set(window)) == len(window) == min(frames, context) for window in windows)


@given(lengths, contexts, st.data())
def test_neighbouring_windows_share_exactly_the_overlap(
    frames: int, context: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, context - 1))
    windows = context_windows(frames, context=context, overlap=overlap)
    for first, second in itertools.pairwise(windows):
        assert first[context - overlap :] == second[:overlap]


@given(lengths, st.integers(0, 60), st.integers(0, 5))
def test_a_shift_moves_every_index_and_keeps_the_coverage(
    frames: int, step: int, shift: int
) -> None:
    windows = context_windows(frames, context=12, overlap=3)
    shifted = shifted_windows(windows, step, shift=shift, frames=frames)
    flat = np.concatenate(windows)
    moved = np.concatenate(shifted)
    np.testing.assert_array_equal((moved - flat - step * shift) % frames, 0)
    assert set(moved) == set(range(frames))


def test_the_first_step_is_not_shifted() -> None:
    windows = context_windows(20, context=12, overlap=3)
    assert shifted_windows(windows, 0, shift=2, frames=20) == windows


def test_a_clip_shorter_than_the_window_is_one_short_window() -> None:
    assert context_windows(5, context=12, overlap=3) == ((0, 1, 2, 3, 4),)


@pytest.mark.parametrize(
    ("frames", "context", "overlap"),
    [(0, 12, 3), (20, 0, 0), (20, 12, 12), (20, 12, 13), (20, 12, -1)],
)
def test_values_that_cannot_work_are_refused(frames: int, context: int, overlap: int) -> None:
    with pytest.raises(SettingError, match=r"frame|overlap"):
        context_windows(frames, context=context, overlap=overlap)


def test_shifting_within_an_empty_clip_is_refused() -> None:
    with pytest.raises(SettingError, match="at least 1 frame"):
        shifted_windows(((0,),), 1, shift=2, frames=0)


@given(lengths, contexts, st.integers(0, 200), st.data())
def test_a_steps_windows_say_which_of_them_hold_a_frame(
    frames: int, context: int, offset: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, context - 1))
    plain = context_windows(frames, context=context, overlap=overlap)
    wanted = shifted_windows(plain, 1, shift=offset, frames=frames)
    found = StepWindows(frames, context=context, overlap=overlap, offset=offset)
    assert tuple(found) == wanted
    assert found[1:] == wanted[1:]
    for frame in range(frames):
        holders = [number for number, window in enumerate(wanted) if frame in window]
        assert found.find_holders(frame) == holders
