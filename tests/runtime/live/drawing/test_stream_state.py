"""A stream's state is followed by another, and is itself never changed."""

from __future__ import annotations

import numpy as np

from echoexport.runtime.live.drawing.stream_state import PastFrame, StreamState


def make_frames(*numbers: int) -> list[PastFrame]:
    nothing = np.zeros(1, np.float32)
    return [PastFrame(number, nothing, nothing) for number in numbers]


def list_numbers(state: StreamState) -> list[int]:
    return [frame.number for frame in state.past]


def test_a_stream_begins_with_nothing() -> None:
    assert StreamState() == StreamState((), 0, None)


def test_the_latest_frames_are_kept_in_their_order() -> None:
    state = StreamState().follow(make_frames(0, 1), keep=3).follow(make_frames(2, 3), keep=3)
    assert list_numbers(state) == [1, 2, 3]
    assert state.next_number == 4


def test_more_frames_than_are_kept_at_once_leave_the_last() -> None:
    assert list_numbers(StreamState().follow(make_frames(*range(9)), keep=2)) == [7, 8]


def test_the_next_number_never_goes_back() -> None:
    state = StreamState(next_number=20).follow(make_frames(4, 3, 2), keep=5)
    assert state.next_number == 20
    assert state.follow(make_frames(31, 30), keep=5).next_number == 32
    assert state.follow([], keep=5).next_number == 20


def test_features_of_other_frames_are_not_passed_on() -> None:
    features = {999: {"past.a": np.zeros(1, np.float32)}}
    state = StreamState(tuple(make_frames(0)), 1, features)
    assert state.follow(make_frames(1), keep=3).features is None
    assert state.features is features
    assert list_numbers(state) == [0]
