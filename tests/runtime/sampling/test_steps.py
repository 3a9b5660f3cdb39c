"""What a sampling holds between steps: frames while they are needed, sums until they are whole."""

from __future__ import annotations

import numpy as np

from echoexport.runtime.sampling.steps import FrameLatents, StepSums
from echoexport.runtime.sampling.windows import StepWindows


def numbered(frames: list[int]) -> np.ndarray:
    """Latents (1, 2, n, 3, 3) full of their frames' numbers."""
    numbers = np.array(frames, np.float32)[None, None, :, None, None]
    return np.broadcast_to(numbers, (1, 2, len(frames), 3, 3)).copy()


def test_frames_are_gathered_in_the_order_asked_for() -> None:
    held = FrameLatents()
    held.put([4, 7, 9], numbered([4, 7, 9]))
    np.testing.assert_array_equal(held.gather([9, 4]), numbered([9, 4]))


def test_a_dropped_frame_is_held_no_more() -> None:
    held = FrameLatents()
    held.put([4, 7], numbered([4, 7]))
    held.drop([4, 5])
    assert (len(held), 4 in held, 7 in held) == (1, False, True)


def test_what_is_not_there_is_drawn_once_and_again_after_it_was_dropped() -> None:
    drawn: list[int] = []

    def draw(frame: int) -> np.ndarray:
        drawn.append(frame)
        return numbered([frame])[0, :, 0]

    held = FrameLatents(draw)
    np.testing.assert_array_equal(held.gather([2, 3, 2]), numbered([2, 3, 2]))
    held.drop([2])
    held.gather([2, 3])
    assert drawn == [2, 3, 2]


def test_a_frame_held_keeps_no_other_in_memory() -> None:
    held = FrameLatents()
    given = numbered([4, 7])
    held.put([4, 7], given)
    given[:] = 0
    np.testing.assert_array_equal(held.gather([7]), numbered([7]))


def test_velocities_are_averaged_over_the_windows_that_hold_a_frame() -> None:
    sums = StepSums(StepWindows(6, context=4, overlap=2), guidance=1.0)
    assert list(sums.windows) == [(0, 1, 2, 3), (2, 3, 4, 5), (4, 5, 0, 1)]
    assert sums.add(0, [numbered([1, 1, 1, 1])]) == []
    assert sums.add(1, [numbered([3, 3, 5, 5])]) == [2, 3]
    np.testing.assert_array_equal(sums.combine([2, 3]), numbered([2, 2]))
    assert sums.find_windows(range(6)) == [2]
    assert sums.add(2, [numbered([7, 7, 9, 9])]) == [4, 5, 0, 1]
    np.testing.assert_array_equal(sums.combine([0, 4]), numbered([5, 6]))
    assert sums.left == 0


def test_sums_are_held_for_frames_that_were_not_dropped_alone() -> None:
    sums = StepSums(StepWindows(6, context=4, overlap=2), guidance=1.0)
    sums.add(0, [numbered([1, 1, 1, 1])])
    sums.add(1, [numbered([3, 3, 5, 5])])
    sums.drop([2, 3])
    assert len(sums) == 4


def test_guidance_is_applied_to_the_means() -> None:
    sums = StepSums(StepWindows(2, context=2, overlap=0), guidance=3.0)
    sums.add(0, [numbered([5, 7]), numbered([1, 1])])
    np.testing.assert_array_equal(sums.combine([0, 1]), numbered([13, 19]))
